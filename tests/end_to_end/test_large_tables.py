"""Tables larger than memory: memory grows far less than the table does."""

import json
import os
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
import danlu.data.preprocessing as prepare
from danlu.data.sources import scans
scans.LARGE = prepare.LARGE = 0
scans.PASS_BYTES = 1 << 24  # as much smaller as the table is smaller than one that does not fit
from danlu.core.seeds import Seed
from danlu.recipe.load import check_recipe
from danlu.experiment.data_context import fit_preprocessing, load_data

def anonymous():
    lines = [line.split() for line in open("/proc/self/smaps_rollup").read().splitlines()[1:]]
    sizes = {line[0]: int(line[1]) * 1024 for line in lines}
    return sizes["Anonymous:"] - sizes["LazyFree:"]  # the kernel may take back what is lazily free

def watch():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.02)

peak = [anonymous()]
before = peak[0]
threading.Thread(target=watch, daemon=True).start()
clean = {"duplicates": "drop", "outliers": {}}
opened = load_data(check_recipe({"data": {"source": sys.argv[1], "target": "y", "clean": clean}, "model": "linear"}))
prepared = fit_preprocessing(opened)
examples = prepare.prepare_training(prepared.preprocessor, opened.splits.train, opened.dataset, Seed(0))
print(json.dumps({"grown": peak[0] - before, "rows": len(examples)}))
"""


# Many threads, as on a large machine: what polars reads ahead, and what allocators keep, is a matter of their number.
# Allocators give memory back at once: what sixteen threads keep for later depends on who happened to run when.
MACHINE = {
    "POLARS_MAX_THREADS": "16",
    "MALLOC_ARENA_MAX": "1",
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0",
}
SIZES = (200_000, 800_000)


def grown(path: Path, cache: Path) -> int:
    """Bytes of memory that reading, cleaning, splitting, auditing and preparing a file takes at its peak."""
    environment = {**os.environ, **MACHINE, "DANLU_CACHE": str(cache)}
    command = [sys.executable, "-c", PROGRAM, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["grown"])


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="asks Linux for the memory of a process")
@pytest.mark.slow
def test_memory_grows_far_less_than_the_table(tmp_path: Path) -> None:
    # Both tables are larger than all that is read at a time; else the larger one would be blamed for that too.
    for rows in SIZES:
        generator = np.random.default_rng(0)
        columns = {f"x{index}": generator.normal(size=rows) for index in range(COLUMNS)}
        frame = pl.DataFrame({**columns, "y": generator.integers(0, 2, rows)})
        frame.write_parquet(tmp_path / f"{rows}.parquet", compression="uncompressed")
    small, large = (grown(tmp_path / f"{rows}.parquet", tmp_path / "cache") for rows in SIZES)
    table_grew = (SIZES[1] - SIZES[0]) * COLUMNS * 8
    assert large - small < table_grew / 4
