"""Tables larger than memory: memory grows far less than the table does."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

COLUMNS = 40
PROGRAM = """
import json, sys, threading, time
import torch
import danlu.data.prepare as prepare, danlu.data.tables as tables
tables.LARGE = prepare.LARGE = 0
from danlu.core.seeds import Seed
from danlu.recipe.load import check_recipe
from danlu.verbs.prepare import fit_preparation, open_data

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

def watch():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.005)

peak = [anonymous()]
before = peak[0]
threading.Thread(target=watch, daemon=True).start()
clean = {"duplicates": "drop", "outliers": {}}
opened = open_data(check_recipe({"data": {"source": sys.argv[1], "target": "y", "clean": clean}, "model": "linear"}))
prepared = fit_preparation(opened)
examples = prepare.prepare_training(prepared.preprocessor, opened.splits.train, opened.dataset, Seed(0))
print(json.dumps({"grown": peak[0] - before, "rows": len(examples)}))
"""


def grown(path: Path) -> int:
    """Bytes of memory that reading, cleaning, splitting, auditing and preparing a file takes at its peak."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["grown"])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the memory of a process")
def test_memory_grows_far_less_than_the_table(tmp_path: Path) -> None:
    sizes = (150_000, 600_000)
    for rows in sizes:
        generator = np.random.default_rng(0)
        columns = {f"x{index}": generator.normal(size=rows) for index in range(COLUMNS)}
        pl.DataFrame({**columns, "y": generator.integers(0, 2, rows)}).write_parquet(tmp_path / f"{rows}.parquet")
    small, large = (grown(tmp_path / f"{rows}.parquet") for rows in sizes)
    table_grew = (sizes[1] - sizes[0]) * COLUMNS * 8
    assert large - small < table_grew / 2
