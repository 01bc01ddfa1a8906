"""What predicting a file costs as it grows: seconds, and memory at the peak, from CSV, JSON lines and Parquet.

    OMP_NUM_THREADS=1 python benchmarks/large_files.py                       # 0.5 and 5 million rows of CSV
    OMP_NUM_THREADS=1 python benchmarks/large_files.py --forms jsonl parquet --rows 500000 5000000

The table is builtin:wine drawn with replacement, with what real files have beside numbers: an identifier, a category, a
date, a text, missing values, and a few words in a column of numbers, whose rows are answered by an error. `danlu
predict` runs in a process of its own; its memory is what it had resident at most (VmHWM), mapped files included.
Answers are held against those of the first rows as a small file.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

BLOCK = 250_000  # rows made at a time
COMPARED = 2000  # first rows, answered as a small file too
FORMS = ("csv", "jsonl", "parquet")
RECIPE: dict[str, Any] = {
    "data": {"target": "cultivar"},
    "model": {"name": "mlp", "hidden": [16]},
    "training": {"epochs": 3, "device": "cpu"},
    "evaluation": {"baselines": False, "resamples": 20},
}
WORDS = ("dry", "sweet", "dark", "old", "light", "fruit", "oak", "smoke")
WRONG_EVERY = 100_003  # one row in so many holds a word where a number belongs


def rows_of(count: int, seed: int) -> pl.DataFrame:
    """Wine, drawn with replacement, with a text, a date, a category and gaps."""
    from danlu.data.builtin import read_builtin

    wine = read_builtin("builtin:wine").frame
    generator = np.random.default_rng(seed)
    drawn = wine.lazy().collect()[generator.integers(0, wine.height, count)]
    words = np.array(WORDS)[generator.integers(0, len(WORDS), (count, 4))]
    return drawn.with_columns(
        pl.Series("id", [f"W{seed:03}{row:07}" for row in range(count)]),
        pl.Series("shelf", np.array(["red", "white", "rosé"])[generator.integers(0, 3, count)]),
        pl.Series("bottled", generator.integers(18262, 20000, count)).cast(pl.Int32).cast(pl.Date),
        pl.Series("note", [" ".join(row) for row in words]),
        pl.when(pl.Series(generator.random(count)) < 0.1).then(None).otherwise("ash").alias("ash"),
    )


def write(path: Path, rows: int) -> None:
    """A file of so many rows, in the form of its suffix, written piece by piece."""
    from pyarrow import parquet  # type: ignore[import-untyped]

    writer: Any = None
    with path.open("wb") as file:
        for number, start in enumerate(range(0, rows, BLOCK)):
            frame = rows_of(min(BLOCK, rows - start), number)
            places = np.arange(start, start + frame.height)
            if path.suffix != ".parquet":  # whose columns have one type
                wrong = pl.Series((places + 1) % WRONG_EVERY == 0)
                frame = frame.with_columns(
                    pl.when(wrong).then(pl.lit("much")).otherwise(pl.col("proline").cast(pl.String)).alias("proline")
                )
            if path.suffix == ".csv":
                frame.write_csv(file, include_header=start == 0)
            elif path.suffix == ".jsonl":
                frame.write_ndjson(file)
            else:
                table = frame.to_arrow()
                writer = writer or parquet.ParquetWriter(file, table.schema)
                writer.write_table(table)
        if writer is not None:
            writer.close()


PREDICT = """
import sys, threading, time
from danlu.cli.main import main

def sizes():
    rows = (line.split() for line in open("/proc/self/smaps_rollup").read().splitlines()[1:])
    return {row[0]: int(row[1]) for row in rows}

peak = [0]
def watch():
    while True:
        now = sizes()
        peak[0] = max(peak[0], now["Anonymous:"] - now["LazyFree:"])
        time.sleep(0.5)
threading.Thread(target=watch, daemon=True).start()
code = 0
try:
    main()
except SystemExit as ended:
    code = ended.code
high = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("PEAK", high, peak[0], file=sys.stderr)
raise SystemExit(code)
"""


def predicted(bundle: Path, source: Path, output: Path, cache: Path) -> dict[str, float]:
    """Seconds, and the peak of resident and of anonymous memory in MB."""
    environment = {**os.environ, "DANLU_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PREDICT, "predict", str(bundle), str(source), "-o", str(output), "--overwrite"]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - began
    told = [line for line in done.stderr.splitlines() if line.startswith("PEAK ")]
    if done.returncode or not told:
        sys.exit(f"danlu predict {source}: {done.stderr[-2000:]}")
    _, resident, anonymous = told[-1].split()
    return {"seconds": round(seconds, 1), "resident_mb": int(resident) // 1024, "anonymous_mb": int(anonymous) // 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[500_000, 5_000_000])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["csv"])
    parser.add_argument("--out", choices=FORMS, default=None, help="the form of the answers; that of the rows")
    parser.add_argument("--folder", type=Path, default=None, help="where the files are kept; a temporary one")
    chosen = parser.parse_args()
    import danlu

    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        run = folder / "run" / "wine"
        if not run.exists():
            data = {"source": str(folder / "train.csv"), **RECIPE["data"]}
            rows_of(2000, 999).write_csv(folder / "train.csv")
            danlu.run({**RECIPE, "data": data}, output=folder / "run", name="wine")
        print("| form | rows | file, MB | seconds | resident at most, MB | of it anonymous, MB |")
        print("|---|---|---|---|---|---|")
        for form in chosen.forms:
            for rows in chosen.rows:
                source = folder / f"{rows}.{form}"
                if not source.exists():
                    write(source, rows)
                answers = folder / f"answers-{rows}.{chosen.out or form}"
                found = predicted(run, source, answers, folder / "cache")
                size = source.stat().st_size / 1e6
                print(f"| {form} | {rows:,} | {size:,.0f} | {found['seconds']} | {found['resident_mb']:,} "
                      f"| {found['anonymous_mb']:,} |", flush=True)  # fmt: skip
                compare(run, source, answers)


def compare(run: Path, source: Path, answers: Path) -> None:
    """Hold the first answers against those of the same rows as a file of their own."""
    import danlu

    small = source.with_name(f"first{source.suffix}")
    if source.suffix == ".parquet":
        pl.scan_parquet(source).head(COMPARED).collect().write_parquet(small)
    else:
        with source.open() as file, small.open("w") as copy:
            for _ in range(COMPARED + (source.suffix == ".csv")):
                copy.write(file.readline())
    expected = danlu.predict(run, small)
    scan: Any = {".csv": pl.scan_csv, ".jsonl": pl.scan_ndjson, ".parquet": pl.scan_parquet}[answers.suffix]
    found = scan(answers).head(COMPARED).collect()
    same = found["prediction"].to_list() == expected["prediction"].to_list()
    near = np.allclose(found["probability"].to_numpy(), expected["probability"].to_numpy(), rtol=1e-5, atol=1e-6)
    if not (same and near):
        sys.exit(f"{answers}: the first rows are answered otherwise than as a small file")


if __name__ == "__main__":
    main()
