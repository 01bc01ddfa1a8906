"""Measure engines: cold `danlu predict` against an older checkout, and steady answers of each engine by family.

    python benchmarks/engines.py [--other OLDER_CHECKOUT] [--pairs 30] [--seconds 3] [--only cold|steady] [--family mlp]

Whatever is compared runs in interleaved pairs, one after the other in alternating order; printed is the median of the
ratios over pairs with a 95 % interval by bootstrap over pairs, so that a machine that drifts slows both. Wall time and
peak memory (maximum resident set) of a cold command are those of its process. Steady answers are calls of an open
engine on prepared rows; LightGBM's are calls of its own `Booster.predict` with its own defaults; treelite's (where it
is installed) of `treelite.gtil.predict`. onnxruntime and OpenVINO answer bundles of `danlu export --into`.

A comparison ends after `--seconds`, with five pairs at least, so that all of it takes some minutes.
"""

import argparse
import json
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
LAUNCH = """import os, sys, time
begun = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(child, 0)
print(time.perf_counter() - begun, used.ru_maxrss, status)"""
TRAIN = "import json, sys, danlu; danlu.run(json.loads(sys.argv[1]), output=sys.argv[2], name=sys.argv[3])"
CALLS = {1: 50, 32: 10, 1024: 1}  # within a timing, so that the clock's own cost is nothing
FEWEST = 5  # pairs of a comparison, however long they take
Figure = tuple[float, float, float]
Runs = dict[str, tuple[Path, Path]]  # name -> a run's or bundle's folder, its rows


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
    answers = folder / "answers.csv"
    answers.unlink(missing_ok=True)
    command = [sys.executable, "-c", MAIN, "predict", str(run), str(rows), "-o", str(answers)]
    # A process begins with the peak memory of the one that starts it, so a small one does.
    launched = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCH, *command], env=environment, capture_output=True, text=True
    )
    seconds, kilobytes, status = launched.stdout.split()[-3:]
    assert status == "0", f"danlu predict failed in {checkout}: {launched.stderr}"
    return float(seconds), int(kilobytes) / 1024


def compare_cold(other: Path, now: Runs, before: Runs, pairs: int, folder: Path) -> None:
    """Print the ratios of a cold command to those of an older checkout.

    Args:
        other: the older checkout.
        now, before: what each checkout answers, by name.
        pairs: how many are measured.
        folder: for answers.
    """
    print("\n| cold `danlu predict` | before: s, MiB | now: s, MiB | wall time | peak memory |\n|---|---|---|---|---|")
    for name in now:
        sides = ((HERE, *now[name]), (other, *before[name]))
        for side in sides:
            cold(*side, folder)  # writes bytecode and fills the disk's cache
        seen: dict[Path, list[tuple[float, float]]] = {side[0]: [] for side in sides}
        for pair in range(pairs):
            for side in sides if pair % 2 else reversed(sides):
                seen[side[0]].append(cold(*side, folder))
        after, earlier = np.array(seen[HERE]), np.array(seen[other])
        ratios = [shown(interval((after[:, at] / earlier[:, at]).tolist())) for at in (0, 1)]
        told = [f"{np.median(both[:, 0]):.2f}, {np.median(both[:, 1]):.0f}" for both in (earlier, after)]
        print(f"| {name} | {told[0]} | {told[1]} | {ratios[0]} | {ratios[1]} |", flush=True)


def timed(call: Callable[[], object], calls: int) -> float:
    """Return the microseconds of one call."""
    begun = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begun) / calls * 1e6


def faster(
    first: Callable[[], object], other: Callable[[], object], calls: int, pairs: int, seconds: float
) -> tuple[Figure, float]:
    """Return how many times as long `other` takes, and the median microseconds of `first`."""
    first(), other()
    seen: list[tuple[float, float]] = []
    begun = time.perf_counter()
    for pair in range(pairs):
        if pair % 2:
            mine, theirs = timed(first, calls), timed(other, calls)
        else:
            theirs, mine = timed(other, calls), timed(first, calls)
        seen.append((mine, theirs))
        if len(seen) >= FEWEST and time.perf_counter() - begun > seconds:
            break
    return interval([theirs / mine for mine, theirs in seen]), float(np.median([mine for mine, _ in seen]))


def kept_forms(run: Path, folder: Path) -> dict[str, Path]:
    """Return bundles that hold the network for another engine, by the engine's name."""
    import danlu

    found = {}
    for engine, form in (("onnxruntime", "onnx"), ("openvino", "openvino")):
        found[engine] = danlu.export(run, folder / f"{run.name}-{form}", to=form, into=True)
    return found


def rivals(booster: Any, matrix: np.ndarray) -> dict[str, Callable[[], object]]:
    """Return what else answers boosted trees: LightGBM itself, and treelite where it is installed."""
    found: dict[str, Callable[[], object]] = {"LightGBM": partial(booster.predict, matrix)}
    try:
        import treelite
    except ImportError:
        return found
    model = treelite.frontend.from_lightgbm(booster)
    single = np.ascontiguousarray(matrix)
    return found | {"treelite": lambda: treelite.gtil.predict(model, single)}


def compare_steady(runs: Runs, kept: dict[str, dict[str, Path]], pairs: int, seconds: float) -> None:
    """Print how much faster each engine answers than torch, and than LightGBM and treelite.

    Args:
        runs: by family.
        kept: family -> engine -> the bundle that it answers.
        pairs, seconds: of a comparison, at most.
    """
    import torch

    from danlu.artifacts.bundle import open_bundle
    from danlu.data.descriptors import Origin
    from danlu.models.engines.table import ENGINES
    from danlu.models.predictor import Predictor
    from danlu.models.read_for import read_for

    print(f"\nSteady answers, torch {torch.__version__} with {torch.get_num_threads()} threads; times as fast as:\n")
    print("| family | engine | batch | us a call | torch eager | rivals |\n|---|---|---|---|---|---|")
    for family, (run, rows) in runs.items():
        bundle = open_bundle(run)
        eager = Predictor.load(bundle, engine="torch")
        frame = read_for(bundle, str(rows)).frame.lazy().collect()
        (prepared, _), *_ = eager.preprocessor.iter_arrays(frame, Origin("rows", Path.cwd()), frame.height)
        for name in ENGINES:
            if name == "torch":
                continue
            source = Predictor.load(open_bundle(kept[family].get(name, run)), engine="torch")._source
            if ENGINES[name].obstacle(source) is not None:
                continue
            opened = ENGINES[name].open(source)
            for size in BATCHES:
                given = {key: np.resize(values, (size, *values.shape[1:])) for key, values in prepared.items()}
                tensors = {key: torch.from_numpy(values) for key, values in given.items()}

                def forward(network: Any = eager.model, tensors: Any = tensors) -> object:
                    with torch.inference_mode():
                        return network(**tensors)

                def answer(opened: Any = opened, given: Any = given) -> object:
                    return opened.run(given)

                against, mine = faster(answer, forward, CALLS[size], pairs, seconds)
                others = []
                if family == "boosting":
                    import lightgbm

                    booster: Any = lightgbm.Booster(model_str=eager.model.text)  # type: ignore[arg-type]
                    matrix = np.concatenate([values.astype(np.float64) for values in given.values()], axis=1)
                    for rival, call in rivals(booster, matrix).items():
                        others.append(f"{rival} {shown(faster(answer, call, CALLS[size], pairs, seconds)[0])}")
                told = ", ".join(others) or "–"
                print(f"| {family} | {name} | {size} | {mine:.0f} | {shown(against)} | {told} |", flush=True)


def trained(families: list[str], folder: Path) -> Runs:
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
    return {
        family: (danlu.run(recipe_of(family, rows), output=folder / "runs", name=family).path, rows)
        for family in families
    }


def recipe_of(family: str, rows: Path) -> dict[str, Any]:
    """Return the recipe of a family."""
    return {
        "name": family,
        "data": {"source": str(rows), "target": "answer"},
        "model": {"name": family, **FAMILIES[family]},
        "training": {} if family in ("tree", "boosting") else {"max_steps": 20},
        "evaluation": {"baselines": False},
    }


def trained_by(checkout: Path, family: str, rows: Path, folder: Path) -> Path:
    """Train a family with a checkout's source, since older ones do not open newer bundles; return the run."""
    told = [json.dumps(recipe_of(family, rows)), str(folder / "older"), family]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    subprocess.run([sys.executable, "-c", TRAIN, *told], env=environment, check=True)
    return folder / "older" / family


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="an older checkout, for the cold command")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a comparison of steady answers")
    parser.add_argument("--only", choices=("cold", "steady"))
    parser.add_argument("--family", nargs="+", choices=tuple(FAMILIES), default=list(FAMILIES))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        runs = trained(asked.family, folder)
        print(f"`python benchmarks/engines.py {' '.join(sys.argv[1:])}`, {asked.pairs} pairs, {os.cpu_count()} cores")
        kept = {family: kept_forms(run, folder) for family, (run, _) in runs.items()}
        if asked.only != "steady" and asked.other is not None:
            now, before = dict[str, Any](), dict[str, Any]()
            for family in (name for name in ("mlp", "boosting") if name in runs):
                run, rows = runs[family]
                now |= {family: (run, rows), f"{family}, onnxruntime": (kept[family]["onnxruntime"], rows)}
                older = trained_by(asked.other, family, rows, folder)
                before |= {family: (older, rows), f"{family}, onnxruntime": (older, rows)}
            compare_cold(asked.other, now, before, asked.pairs, folder)
        if asked.only != "cold":
            compare_steady(runs, kept, asked.pairs, asked.seconds)


if __name__ == "__main__":
    main()
