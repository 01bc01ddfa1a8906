"""Measure engines: cold `danlu predict` against an older checkout, and steady answers of each engine by family.

    python benchmarks/engines.py [--other OLDER_CHECKOUT] [--pairs 30] [--only cold|steady] [--family mlp ...]

Whatever is compared runs in interleaved pairs, one after the other in alternating order; printed is the median of the
ratios over pairs with a 95 % interval by bootstrap over pairs, so that a machine that drifts slows both. Wall time and
peak memory (maximum resident set) of a cold command are those of its process. Steady answers are calls of an open
engine on prepared rows; LightGBM's are calls of its own `Booster.predict` with its own defaults.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parents[1]
FAMILIES: dict[str, dict[str, Any]] = {
    "linear": {},
    "mlp": {},
    "additive": {},
    "resnet": {},
    "tabm": {},
    "ft-transformer": {},
    "tree": {},
    "boosting": {"rounds": 100},
}
BATCHES = (1, 32, 1024)
MAIN = "from danlu.cli.main import main; main()"
CALLS = {1: 50, 32: 10, 1024: 1}  # within a timing, so that the clock's own cost is nothing
Figure = tuple[float, float, float]


def interval(ratios: list[float]) -> Figure:
    """Return the median and its 95 % interval by bootstrap."""
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def shown(figure: Figure) -> str:
    """Return a figure as text."""
    return f"{figure[0]:.2f} ({figure[1]:.2f} to {figure[2]:.2f})"


def cold(checkout: Path, run: Path, rows: Path, folder: Path) -> tuple[float, float]:
    """Return wall seconds and peak MiB of one `danlu predict` with a checkout's source."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", MAIN, "predict", str(run), str(rows), "-o", str(folder / "answers.csv")]
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, f"danlu predict failed in {checkout}"
    return time.perf_counter() - begun, used.ru_maxrss / 1024


def compare_cold(other: Path, runs: dict[str, tuple[Path, Path]], pairs: int, folder: Path) -> None:
    """Print the ratios of a cold command to those of an older checkout."""
    print("\n| cold `danlu predict` | before: s, MiB | now: s, MiB | wall time | peak memory |\n|---|---|---|---|---|")
    for name, (run, rows) in runs.items():
        sides = (HERE, other)
        for side in sides:
            cold(side, run, rows, folder)  # writes bytecode and fills the disk's cache
        seen: dict[Path, list[tuple[float, float]]] = {side: [] for side in sides}
        for pair in range(pairs):
            for side in sides if pair % 2 else reversed(sides):
                seen[side].append(cold(side, run, rows, folder))
        now, before = np.array(seen[HERE]), np.array(seen[other])
        ratios = [shown(interval((now[:, at] / before[:, at]).tolist())) for at in (0, 1)]
        told = [f"{np.median(both[:, 0]):.2f}, {np.median(both[:, 1]):.0f}" for both in (before, now)]
        print(f"| {name} | {told[0]} | {told[1]} | {ratios[0]} | {ratios[1]} |", flush=True)


def timed(call: Callable[[], object], calls: int) -> float:
    """Return the microseconds of one call."""
    begun = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begun) / calls * 1e6


def faster(first: Callable[[], object], other: Callable[[], object], calls: int, pairs: int) -> tuple[Figure, float]:
    """Return how many times as long `other` takes, and the median microseconds of `first`."""
    first(), other()
    seen: list[tuple[float, float]] = []
    for pair in range(pairs):
        if pair % 2:
            mine, theirs = timed(first, calls), timed(other, calls)
        else:
            theirs, mine = timed(other, calls), timed(first, calls)
        seen.append((mine, theirs))
    return interval([theirs / mine for mine, theirs in seen]), float(np.median([mine for mine, _ in seen]))


def compare_steady(runs: dict[str, tuple[Path, Path]], pairs: int) -> None:
    """Print how much faster each engine answers than torch, and than LightGBM."""
    import torch

    from danlu.artifacts.bundle import open_bundle
    from danlu.data.descriptors import Origin
    from danlu.models.engines.table import ENGINES
    from danlu.models.predictor import Predictor
    from danlu.models.read_for import read_for

    print(f"\nSteady answers, torch {torch.__version__} with {torch.get_num_threads()} threads; times as fast as:\n")
    print("| family | engine | batch | us a call | torch eager | LightGBM's predict |\n|---|---|---|---|---|---|")
    for family, (run, rows) in runs.items():
        bundle = open_bundle(run)
        eager = Predictor.load(bundle, engine="torch")
        frame = read_for(bundle, str(rows)).frame.lazy().collect()
        (prepared, _), *_ = eager.preprocessor.iter_arrays(frame, Origin("rows", Path.cwd()), frame.height)
        for name, engine in ENGINES.items():
            if name == "torch" or engine.obstacle(eager._source) is not None:
                continue
            opened = engine.open(eager._source)
            for size in BATCHES:
                given = {key: np.resize(values, (size, *values.shape[1:])) for key, values in prepared.items()}
                tensors = {key: torch.from_numpy(values) for key, values in given.items()}

                def forward(network: Any = eager.model, tensors: Any = tensors) -> object:
                    with torch.inference_mode():
                        return network(**tensors)

                def answer(opened: Any = opened, given: Any = given) -> object:
                    return opened.run(given)

                against, mine = faster(answer, forward, CALLS[size], pairs)
                rival = "–"
                if family == "boosting":
                    import lightgbm

                    booster: Any = lightgbm.Booster(model_str=eager.model.text)  # type: ignore[arg-type]
                    matrix = np.concatenate([values.astype(np.float64) for values in given.values()], axis=1)
                    rival = shown(faster(answer, partial(booster.predict, matrix), CALLS[size], pairs)[0])
                print(f"| {family} | {name} | {size} | {mine:.0f} | {shown(against)} | {rival} |", flush=True)


def trained(families: list[str], folder: Path) -> dict[str, tuple[Path, Path]]:
    """Train a small model of each family on a table of numbers and categories; return runs and rows."""
    import polars as pl

    import danlu

    random = np.random.default_rng(0)
    columns: dict[str, Any] = {f"n{at}": random.normal(size=2000).round(4) for at in range(10)}
    columns |= {f"c{at}": random.integers(0, size, 2000).astype(str) for at, size in enumerate((5, 12, 30))}
    score = columns["n0"] + columns["n1"] * columns["n2"] + (columns["c1"].astype(int) % 3)
    frame = pl.DataFrame({**columns, "answer": np.where(score + random.normal(size=2000) > 1, "yes", "no")})
    rows = folder / "rows.csv"
    frame.with_columns(pl.col("^c.$").map_elements(lambda word: f"w{word}", return_dtype=pl.String)).write_csv(rows)
    found: dict[str, tuple[Path, Path]] = {}
    for family in families:
        recipe = {
            "name": family,
            "data": {"source": str(rows), "target": "answer"},
            "model": {"name": family, **FAMILIES[family]},
            "training": {} if family in ("tree", "boosting") else {"max_steps": 20},
            "evaluation": {"baselines": False},
        }
        found[family] = danlu.run(recipe, output=folder / "runs", name=family).path, rows
    return found


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="an older checkout, for the cold command")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--only", choices=("cold", "steady"))
    parser.add_argument("--family", nargs="+", choices=tuple(FAMILIES), default=list(FAMILIES))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        runs = trained(asked.family, folder)
        print(f"`python benchmarks/engines.py {' '.join(sys.argv[1:])}`, {asked.pairs} pairs, {os.cpu_count()} cores")
        if asked.only != "steady" and asked.other is not None:
            some = {name: run for name, run in runs.items() if name in ("mlp", "boosting")}
            compare_cold(asked.other, some, asked.pairs, folder)
        if asked.only != "cold":
            compare_steady(runs, asked.pairs)


if __name__ == "__main__":
    main()
