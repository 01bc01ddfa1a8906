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
from danlu.artifacts.trials import SEARCH_FILE, is_search, read_trials
from danlu.core.component import components
from danlu.core.console import info
from danlu.core.distributed.env import dist_env
from danlu.core.seeds import Seed
from danlu.data.folds import fold_dataset
from danlu.data.splits import Split, Splits
from danlu.data.targets import ClassTarget, MultiLabelTarget
from danlu.errors import ArgumentError, DanluError
from danlu.evaluation.calibration import fit_calibration_and_threshold
from danlu.evaluation.cross_validation import FoldResult, evaluate_folds
from danlu.evaluation.evaluate import EvalConfig
from danlu.evaluation.predictions import build_predictions, predictions_frame
from danlu.experiment.data_context import DataContext, load_run_data
from danlu.experiment.setup import best_validation_record, monitored_metric
from danlu.models.base import SelfFittingModel
from danlu.recipe.load import load_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.evaluation import Folds
from danlu.recipe.sections.training import SplitOptions

FOLDS_FOLDER, OUT_OF_FOLD_FILE = "folds", "folds.parquet"
LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class CrossValidationResult:
    """Hold the results of cross-validation.

    Attributes:
        figures: for evaluation.json; empty if the recipe asks for no folds.
        decides: for classification, the rows tested in the first repeat and their out-of-fold head outputs, neither
            calibrated nor thresholded, [rows, classes]; they serve to calibrate a refitted model.
    """

    results: dict[str, Any]
    out_of_fold: tuple[Split, np.ndarray] | None = None


def cross_validate(opened: DataContext, run: RunDirectory, question: EvalConfig) -> CrossValidationResult:
    """Train and evaluate every fold; an empty result if the recipe asks for none.

    Raises:
        DataError: the rows cannot be split into that many folds.
    """
    asked = opened.recipe.evaluation.cross_validation
    if asked is None:
        return CrossValidationResult({})
    splits = list(fold_splits(opened, asked))
    _train_missing_folds(opened, run, asked, splits)
    a_round = len(splits) if asked.column else asked.folds
    folds, answers, raw = [], [], []
    for number, each in enumerate(splits):
        repeat = number // a_round
        fold, recorded, outputs = _predict_fold(replace(opened, splits=each), run, number, repeat, question)
        folds.append(fold)
        raw.append(outputs)
        places = (pl.lit(repeat).alias("repeat"), pl.lit(number % a_round).alias("fold"))
        answers.append(recorded.select(*places, pl.all()))
    write_frame(run.path / "predictions" / OUT_OF_FOLD_FILE, pl.concat(answers, how="diagonal"))
    judged = evaluate_folds(question.metrics_by_name(), folds, question.resampling_for("folds"))
    sizes: dict[str, Any] = {"folds": a_round, "repeats": len(splits) // a_round, "final": asked.final}
    if is_search(run.path):
        sizes["searched"] = [len(read_trials(fold_folder(run, number))) for number in range(len(splits))]
    by = "column" if asked.column else fold_splitter(opened, asked)["name"]
    figures = {**sizes, "by": by, **judged}
    if not isinstance(question.target, ClassTarget):
        return CrossValidationResult(figures)
    rows = np.concatenate([each.test.rows for each in splits[:a_round]])
    order = np.argsort(rows)
    first = Split(rows[order], opened.dataset.frame), np.concatenate(raw[:a_round])[order]
    return CrossValidationResult(figures, first)


def fold_splitter(opened: DataContext, asked: Folds) -> dict[str, Any]:
    """Return the splitter of the folds: that of `data.split` unless the folds set their own."""
    if asked.grouped is not None:
        return {"name": "group", "column": asked.grouped}
    if asked.stratified is not None:
        return {"name": "stratified" if asked.stratified else "random"}
    by = opened.recipe.data.split.by
    assert by is not None, "a resolved recipe names its splitter"
    return by.model_dump()


def fold_splits(opened: DataContext, asked: Folds) -> Iterator[Splits]:
    """Yield the splits of every fold over all rows outside the test split; deterministic."""
    chosen = fold_splitter(opened, asked)
    by = components("splitter")[chosen["name"]].model_validate(chosen)
    section: SplitOptions = opened.recipe.data.split.model_copy(update={"by": by})
    rows = np.sort(np.concatenate([opened.splits.train.rows, opened.splits.validation.rows]))
    seed = Seed(opened.recipe.seed)
    return fold_dataset(opened.dataset, section, asked.folds, seed, asked.repeats, rows, asked.column)


def check_folds(opened: DataContext) -> None:
    """Raise DataError if the rows cannot be split into the recipe's folds."""
    asked = opened.recipe.evaluation.cross_validation
    if asked is not None:
        next(fold_splits(opened, asked))


def train_folds(opened: DataContext, run: RunDirectory, splits: list[Splits], first: int = 0, step: int = 1) -> None:
    """Train every `step`-th missing fold, starting with `first`, each from its own initial weights.

    If the run is a search, each fold runs its own search (nested cross-validation), so that test rows choose nothing.
    """
    base = load_recipe(run.path / SEARCH_FILE) if is_search(run.path) else None
    opened = replace(
        opened, recipe=_without_folds(opened.recipe), requested_recipe=None if base is None else _without_folds(base)
    )
    for number in range(first, len(splits), step):
        folder = fold_folder(run, number)
        if (folder / "model" / MANIFEST).is_file():
            continue
        info(f"fold {number + 1} of {len(splits)}")
        _learn_fold(replace(opened, splits=splits[number]), folder)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _without_folds(recipe: Recipe) -> Recipe:
    """Return the recipe without folds, since a fold has none itself."""
    return recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"folds": None})})


def _learn_fold(fold: DataContext, folder: Path) -> None:
    """Train a fold, or run its search; an interrupted search continues with its next trial."""
    from danlu.api.tune import resume_search, run_search
    from danlu.experiment.trainer import train_run

    if fold.requested_recipe is None:
        train_run(fold, folder.parent, folder.name, overwrite=folder.exists())
    elif is_search(folder):
        resume_search(folder)
    else:
        run_search(fold, folder.parent, folder.name, overwrite=folder.exists())


def train_all_folds(opened: DataContext, run: RunDirectory) -> int:
    """Train the missing folds and return the number of folds over all repeats."""
    asked = opened.recipe.evaluation.cross_validation
    assert asked is not None
    splits = list(fold_splits(opened, asked))
    _train_missing_folds(opened, run, asked, splits)
    return len(splits)


def run_fold_worker(path: str, first: int, step: int) -> None:
    """Train this worker's share of a run's folds: every `step`-th one, starting with `first`."""
    run = RunDirectory.open(path)
    opened = load_run_data(load_recipe(run.path / RECIPE), run)
    asked = opened.recipe.evaluation.cross_validation
    assert asked is not None
    threads = opened.recipe.training.threads.model_copy(update={"compute": max(1, (os.cpu_count() or 1) // step)})
    training = opened.recipe.training.model_copy(update={"threads": threads})
    opened = replace(opened, recipe=opened.recipe.model_copy(update={"training": training}))
    train_folds(opened, run, list(fold_splits(opened, asked)), first, step)


def _train_missing_folds(opened: DataContext, run: RunDirectory, asked: Folds, splits: list[Splits]) -> None:
    """Train the missing folds, in this process or in several workers.

    A launcher's environment variables are kept from the workers.
    """
    ways = min(asked.processes, len(splits))
    if ways == 1 and dist_env().world_size == 1:
        train_folds(opened, run, splits)
        return
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    program = (
        "import sys; from danlu.experiment.cross_validation import work; work(sys.argv[1], *map(int, sys.argv[2:]))"
    )
    command = [sys.executable, "-c", program]
    running = [subprocess.Popen([*command, str(run.path), str(way), str(ways)], env=environment) for way in range(ways)]
    codes = [process.wait() for process in running]
    if any(codes):
        raise DanluError(f"{run.path}: a fold could not be trained; its messages are above")


def _predict_fold(
    opened: DataContext, run: RunDirectory, number: int, repeat: int, question: EvalConfig
) -> tuple[FoldResult, pl.DataFrame, np.ndarray]:
    """Predict a fold's test rows; return calibrated results, the predictions table and the raw outputs.

    Calibration and threshold come from the fold's own validation rows.
    """
    from danlu.models.predictor import Predictor

    predictor = Predictor.from_bundle(open_bundle(fold_folder(run, number)), own_code=True)
    part, judging = opened.splits.test, opened.splits.validation
    answers = predictor.raw_outputs(judging, opened.origin)
    target, _ = fit_calibration_and_threshold(
        opened.recipe.evaluation, predictor.target, judging, answers, "validation"
    )
    raw = predictor.raw_outputs(part, opened.origin)
    outputs = target.calibrate(raw)
    if isinstance(target, ClassTarget | MultiLabelTarget) and isinstance(
        question.target, ClassTarget | MultiLabelTarget
    ):
        raw, _ = _align_classes(target, question.target, raw)
        outputs, target = _align_classes(target, question.target, outputs)
    judged = build_predictions(part, target, outputs, question.text_column, question.group_column)
    recorded = predictions_frame(part, judged, target.decode(outputs), target)
    return FoldResult(repeat, len(opened.splits.train), judged), recorded, raw


def _align_classes(
    own: ClassTarget | MultiLabelTarget, whole: ClassTarget | MultiLabelTarget, outputs: np.ndarray
) -> tuple[np.ndarray, ClassTarget | MultiLabelTarget]:
    """Reorder a fold's probabilities to the full list of classes.

    Classes that the fold never saw get 0.
    """
    if own.labels == whole.labels:
        return outputs, own
    labels = (*whole.labels, *(label for label in own.labels if label not in whole.labels))
    found = np.zeros((len(outputs), len(labels)), dtype=outputs.dtype)
    found[:, [labels.index(label) for label in own.labels]] = outputs
    changes = {"labels": labels, **({"threshold": None} if isinstance(own, ClassTarget) else {})}
    return found, own.model_copy(update=changes)


def fold_folder(run: RunDirectory, number: int) -> Path:
    """Return the folder of a fold's run; folds are numbered over all repeats."""
    return run.path / FOLDS_FOLDER / f"fold-{number:03}"


def refit_epochs(opened: DataContext, run: RunDirectory) -> float:
    """Train the missing folds and return the median of their best epochs (or rounds).

    Raises:
        ArgumentError: several processes were started, and folds train in one.
        DanluError: a fold cannot be trained.
    """
    if dist_env().world_size > 1:
        raise ArgumentError(
            "--processes: evaluation.folds.final: refit trains its folds in one process; remove --processes"
        )
    count = train_all_folds(opened, run)
    found = [_best_epoch(RunDirectory.open(fold_folder(run, number)), opened) for number in range(count)]
    middle = float(np.median(found))
    unit = "rounds" if isinstance(opened.model, SelfFittingModel) else "epochs"
    info(f"folds were best after {min(found):.3g} to {max(found):.3g} {unit}; training on all rows for {middle:.3g}")
    return middle


def _best_epoch(fold: RunDirectory, opened: DataContext) -> float:
    """Return the epoch of a fold's best weights, from its log."""
    line = best_validation_record(fold, opened.recipe.training)
    if line is None:
        watched = monitored_metric(opened.recipe.training)
        raise DanluError(
            f"{fold.path}: {watched} was never defined on its validation split; set training.early_stopping.metric to "
            "another metric"
        )
    return float(line["epoch"])
