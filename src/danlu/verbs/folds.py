"""Cross-validation of a run's recipe: split the rows outside the test split into folds and train one model per fold.

Each fold is a run of its own below `folds/`, kept without checkpoints; finished folds are not trained again. The run's
own model is trained on the training split, or with `folds.final: refit` on all rows.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.artifacts.bundle import MANIFEST, open_bundle
from danlu.artifacts.files import write_frame
from danlu.artifacts.run import RECIPE, RunDirectory
from danlu.artifacts.trials import SEARCH, is_search, kept_trials
from danlu.core.component import components
from danlu.core.console import say
from danlu.core.errors import DanluError
from danlu.core.seeds import Seed
from danlu.core.world import this_world
from danlu.data.folds import fold_dataset
from danlu.data.splits import Part, Splits
from danlu.data.targets import Classes, Labels
from danlu.evaluation.evaluate import Question, truth
from danlu.evaluation.over_folds import Fold, judge_folds
from danlu.recipe.judging import Folds
from danlu.recipe.load import load_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.sections import Split
from danlu.verbs.deciding import decide
from danlu.verbs.prepare import Opened, reopen
from danlu.verbs.recording import record

FOLDS, OUT_OF_FOLD = "folds", "folds.parquet"
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class CrossValidation:
    """Hold the results of cross-validation.

    Attributes:
        figures: for evaluation.json; empty if the recipe asks for no folds.
        decides: for classification, the rows tested in the first repeat and their out-of-fold head outputs, neither
            calibrated nor thresholded, [rows, classes]; they serve to calibrate a refitted model.
    """

    figures: dict[str, Any]
    decides: tuple[Part, np.ndarray] | None = None


def cross_validated(opened: Opened, run: RunDirectory, question: Question) -> CrossValidation:
    """Train and evaluate every fold; an empty result if the recipe asks for none.

    Raises:
        DataError: the rows cannot be split into that many folds.
    """
    asked = opened.recipe.evaluation.cross_validation
    if asked is None:
        return CrossValidation({})
    splits = list(folds_of(opened, asked))
    _train_all(opened, run, asked, splits)
    a_round = len(splits) if asked.column else asked.folds
    folds, answers, raw = [], [], []
    for number, each in enumerate(splits):
        repeat = number // a_round
        fold, recorded, outputs = _tested(replace(opened, splits=each), run, number, repeat, question)
        folds.append(fold)
        raw.append(outputs)
        places = (pl.lit(repeat).alias("repeat"), pl.lit(number % a_round).alias("fold"))
        answers.append(recorded.select(*places, pl.all()))
    write_frame(run.path / "predictions" / OUT_OF_FOLD, pl.concat(answers, how="diagonal"))
    judged = judge_folds(question.named(), folds, question.of("folds"))
    sizes: dict[str, Any] = {"folds": a_round, "repeats": len(splits) // a_round, "final": asked.final}
    if is_search(run.path):
        sizes["searched"] = [len(kept_trials(folder_of_fold(run, number))) for number in range(len(splits))]
    by = "column" if asked.column else splitter_of(opened, asked)["name"]
    figures = {**sizes, "by": by, **judged}
    if not isinstance(question.target, Classes):
        return CrossValidation(figures)
    rows = np.concatenate([each.test.rows for each in splits[:a_round]])
    order = np.argsort(rows)
    first = Part(rows[order], opened.dataset.frame), np.concatenate(raw[:a_round])[order]
    return CrossValidation(figures, first)


def splitter_of(opened: Opened, asked: Folds) -> dict[str, Any]:
    """Return the splitter of the folds: that of `data.split` unless the folds set their own."""
    if asked.grouped is not None:
        return {"name": "group", "column": asked.grouped}
    if asked.stratified is not None:
        return {"name": "stratified" if asked.stratified else "random"}
    by = opened.recipe.data.split.by
    assert by is not None, "a resolved recipe names its splitter"
    return by.model_dump()


def folds_of(opened: Opened, asked: Folds) -> Iterator[Splits]:
    """Yield the splits of every fold over all rows outside the test split; deterministic."""
    chosen = splitter_of(opened, asked)
    by = components("splitter")[chosen["name"]].model_validate(chosen)
    section: Split = opened.recipe.data.split.model_copy(update={"by": by})
    rows = np.sort(np.concatenate([opened.splits.train.rows, opened.splits.validation.rows]))
    seed = Seed(opened.recipe.seed)
    return fold_dataset(opened.dataset, section, asked.folds, seed, asked.repeats, rows, asked.column)


def require_folds(opened: Opened) -> None:
    """Raise DataError if the rows cannot be split into the recipe's folds."""
    asked = opened.recipe.evaluation.cross_validation
    if asked is not None:
        next(folds_of(opened, asked))


def train_folds(opened: Opened, run: RunDirectory, splits: list[Splits], first: int = 0, step: int = 1) -> None:
    """Train every `step`-th missing fold, starting with `first`, each from its own initial weights.

    If the run is a search, each fold runs its own search (nested cross-validation), so that test rows choose nothing.
    """
    base = load_recipe(run.path / SEARCH) if is_search(run.path) else None
    opened = replace(opened, recipe=_uncut(opened.recipe), base=None if base is None else _uncut(base))
    for number in range(first, len(splits), step):
        folder = folder_of_fold(run, number)
        if (folder / "model" / MANIFEST).is_file():
            continue
        say(f"fold {number + 1} of {len(splits)}")
        _learn(replace(opened, splits=splits[number]), folder)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _uncut(recipe: Recipe) -> Recipe:
    """Return the recipe without folds, since a fold has none itself."""
    return recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"folds": None})})


def _learn(fold: Opened, folder: Path) -> None:
    """Train a fold, or run its search; an interrupted search continues with its next trial."""
    from danlu.verbs.train import train_opened
    from danlu.verbs.tune import resume_search, tune_opened

    if fold.base is None:
        train_opened(fold, folder.parent, folder.name, overwrite=folder.exists())
    elif is_search(folder):
        resume_search(folder)
    else:
        tune_opened(fold, folder.parent, folder.name, overwrite=folder.exists())


def train_all_folds(opened: Opened, run: RunDirectory) -> int:
    """Train the missing folds and return the number of folds over all repeats."""
    asked = opened.recipe.evaluation.cross_validation
    assert asked is not None
    splits = list(folds_of(opened, asked))
    _train_all(opened, run, asked, splits)
    return len(splits)


def work(path: str, first: int, step: int) -> None:
    """Train this worker's share of a run's folds: every `step`-th one, starting with `first`."""
    run = RunDirectory.open(path)
    opened = reopen(load_recipe(run.path / RECIPE), run)
    asked = opened.recipe.evaluation.cross_validation
    assert asked is not None
    threads = opened.recipe.training.threads.model_copy(update={"compute": max(1, (os.cpu_count() or 1) // step)})
    training = opened.recipe.training.model_copy(update={"threads": threads})
    opened = replace(opened, recipe=opened.recipe.model_copy(update={"training": training}))
    train_folds(opened, run, list(folds_of(opened, asked)), first, step)


def _train_all(opened: Opened, run: RunDirectory, asked: Folds, splits: list[Splits]) -> None:
    """Train the missing folds, in this process or in several workers.

    A launcher's environment variables are kept from the workers.
    """
    ways = min(asked.processes, len(splits))
    if ways == 1 and this_world().size == 1:
        train_folds(opened, run, splits)
        return
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHER}
    program = "import sys; from danlu.verbs.folds import work; work(sys.argv[1], *map(int, sys.argv[2:]))"
    command = [sys.executable, "-c", program]
    running = [subprocess.Popen([*command, str(run.path), str(way), str(ways)], env=environment) for way in range(ways)]
    codes = [process.wait() for process in running]
    if any(codes):
        raise DanluError(f"{run.path}: a fold could not be trained; its messages are above")


def _tested(
    opened: Opened, run: RunDirectory, number: int, repeat: int, question: Question
) -> tuple[Fold, pl.DataFrame, np.ndarray]:
    """Predict a fold's test rows; return calibrated results, the predictions table and the raw outputs.

    Calibration and threshold come from the fold's own validation rows.
    """
    from danlu.models.predictor import Predictor

    predictor = Predictor.from_bundle(open_bundle(folder_of_fold(run, number)), own_code=True)
    part, judging = opened.splits.test, opened.splits.validation
    answers = predictor.raw_outputs(judging, opened.place)
    target, _ = decide(opened.recipe.evaluation, predictor.target, judging, answers, "validation")
    raw = predictor.raw_outputs(part, opened.place)
    outputs = target.calibrated(raw)
    if isinstance(target, Classes | Labels) and isinstance(question.target, Classes | Labels):
        raw, _ = _aligned(target, question.target, raw)
        outputs, target = _aligned(target, question.target, outputs)
    judged = truth(part, target, outputs, question.content, question.group)
    recorded = record(part, judged, target.decode(outputs), target)
    return Fold(repeat, len(opened.splits.train), judged), recorded, raw


def _aligned(
    own: Classes | Labels, whole: Classes | Labels, outputs: np.ndarray
) -> tuple[np.ndarray, Classes | Labels]:
    """Reorder a fold's probabilities to the full list of classes.

    Classes that the fold never saw get 0.
    """
    if own.labels == whole.labels:
        return outputs, own
    labels = (*whole.labels, *(label for label in own.labels if label not in whole.labels))
    found = np.zeros((len(outputs), len(labels)), dtype=outputs.dtype)
    found[:, [labels.index(label) for label in own.labels]] = outputs
    changes = {"labels": labels, **({"threshold": None} if isinstance(own, Classes) else {})}
    return found, own.model_copy(update=changes)


def folder_of_fold(run: RunDirectory, number: int) -> Path:
    """Return the folder of a fold's run; folds are numbered over all repeats."""
    return run.path / FOLDS / f"fold-{number:03}"
