"""How long `danlu check` takes for few rows of many columns, and whether the time grows with the columns alone.

    OMP_NUM_THREADS=1 python benchmarks/wide_tables.py [COLUMNS ...]

CPU seconds are of the process, after a first check has imported everything; on a busy machine they tell more than the
clock does.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import danlu
from danlu.core.console import silenced

ROWS, COLUMNS = 20, (2_500, 5_000, 10_000, 20_000)


def write_table(file: Path, columns: int) -> None:
    values = np.random.default_rng(0).normal(size=(ROWS, columns))
    lines = [",".join([*(f"c{number}" for number in range(columns)), "y"])]
    lines += [",".join([*(f"{value:.3f}" for value in row), "ab"[number % 2]]) for number, row in enumerate(values)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    asked = tuple(map(int, sys.argv[1:])) or COLUMNS
    with tempfile.TemporaryDirectory() as held, silenced():
        danlu.check("wine")
        for columns in asked:
            file = Path(held) / "wide.csv"
            write_table(file, columns)
            began, wall = time.process_time(), time.perf_counter()
            found = danlu.check({"data": {"source": str(file), "target": "y"}})
            spent, waited = time.process_time() - began, time.perf_counter() - wall
            assert len(found["columns"]) == columns
            each = f"{spent / columns * 1e3:.2f} ms a column"
            print(f"{columns:>7,} columns: {spent:5.1f} s of CPU, {waited:5.1f} s by the clock, {each}", flush=True)


if __name__ == "__main__":
    main()
