"""Cross-validation of a run's recipe: split the rows outside the test split into folds and train one model per fold.

Each fold is a run of its own below `folds/`, kept without checkpoints; finished folds are not trained again. The run's
own model is trained on the training split, or with `folds.final: refit` on all rows for as long as its folds needed.

How a fold is trained (or searched) is handed in as `learn`, since that stands in the layers above.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.files import write_frame
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.artifacts.trials import SEARCH_FILE, is_search, read_trials
from danlu.core.console import info
from danlu.core.distributed.env import dist_env
from danlu.data.splits import Split, Splits
from danlu.errors import ArgumentError, DanluError
from danlu.evaluation.calibration import fit_calibration_and_threshold
from danlu.evaluation.cross_validation import FoldResult, concat_predictions, evaluate_folds
from danlu.evaluation.evaluate import EvalConfig
from danlu.evaluation.predictions import build_predictions, predictions_frame
from danlu.experiment.data_context import DataContext
from danlu.experiment.folds import fold_splits, fold_splitter
from danlu.experiment.setup import best_validation_record, monitored_metric
from danlu.metrics.base import Predictions
from danlu.models.base import Model, SelfFittingModel
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.evaluation import Folds
from danlu.tasks.classification import ClassTarget
from danlu.tasks.regression import NumericTarget

WORKER = "danlu.experiment.fold_worker"  # started as `python -m`
FOLDS_FOLDER, OUT_OF_FOLD_FILE = "folds", "folds.parquet"
LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

# Trains the recipe of a context into a run folder, or searches there if the context has a `requested_recipe`; goes on
# with a search that was interrupted. A function at the top of a module, since worker processes import it by its name.
Learn = Callable[[DataContext, Path], object]


@dataclass(frozen=True)
class CrossValidationResult:
    """Hold the results of cross-validation.

    Attributes:
        results: for evaluation.json; empty if the recipe asks for no folds.
        out_of_fold: for classification, the rows tested in the first repeat and their out-of-fold head outputs, neither
            calibrated nor thresholded, [rows, classes]; they serve to calibrate a refitted model.
        out_of_fold_numbers: for regression, the predictions of these rows in the target's units.
    """

    results: dict[str, Any]
    out_of_fold: tuple[Split, np.ndarray] | None = None
    out_of_fold_numbers: Predictions | None = None


def cross_validate(
    context: DataContext, run: RunDirectory, config: EvalConfig, *, learn: Learn
) -> CrossValidationResult:
    """Train and evaluate every fold; an empty result if the recipe asks for none.

    Args:
        learn: trains a fold that is missing.

    Raises:
        DataError: the rows cannot be split into that many folds.
    """
    options = context.recipe.evaluation.cross_validation
    if options is None:
        return CrossValidationResult({})
    splits = list(fold_splits(context, options))
    _train_missing_folds(context, run, options, splits, learn)
    a_round = len(splits) if options.column else options.folds
    folds, answers, raw = [], [], []
    for number, each in enumerate(splits):
        repeat = number // a_round
        fold, recorded, outputs = _predict_fold(replace(context, splits=each), run, number, repeat, config)
        folds.append(fold)
        raw.append(outputs)
        places = (pl.lit(repeat).alias("repeat"), pl.lit(number % a_round).alias("fold"))
        answers.append(recorded.select(*places, pl.all()))
    write_frame(run.path / "predictions" / OUT_OF_FOLD_FILE, pl.concat(answers, how="diagonal"))
    predictions = evaluate_folds(config.metrics_by_name(), folds, config.resampling_for("folds"))
    sizes: dict[str, Any] = {"folds": a_round, "repeats": len(splits) // a_round, "final": options.final}
    if is_search(run.path):
        sizes["searched"] = [len(read_trials(fold_folder(run, number))) for number in range(len(splits))]
    by = "column" if options.column else fold_splitter(context, options)["name"]
    figures = {**sizes, "by": by, **predictions}
    if isinstance(config.target, NumericTarget):
        numbers = concat_predictions([fold.predictions for fold in folds if fold.repeat == 0])
        return CrossValidationResult(figures, out_of_fold_numbers=numbers)
    if not isinstance(config.target, ClassTarget):
        return CrossValidationResult(figures)
    rows = np.concatenate([each.test.rows for each in splits[:a_round]])
    order = np.argsort(rows)
    first = Split(rows[order], context.dataset.frame), np.concatenate(raw[:a_round])[order]
    return CrossValidationResult(figures, first)


def train_folds(
    context: DataContext, run: RunDirectory, splits: list[Splits], first: int = 0, step: int = 1, *, learn: Learn
) -> None:
    """Train every `step`-th missing fold, starting with `first`, each from its own initial weights.

    If the run is a search, each fold runs its own search (nested cross-validation), so that test rows choose nothing.
    """
    base = load_run_recipe(run.path / SEARCH_FILE) if is_search(run.path) else None
    context = replace(
        context, recipe=_without_folds(context.recipe), requested_recipe=None if base is None else _without_folds(base)
    )
    for number in range(first, len(splits), step):
        folder = fold_folder(run, number)
        if (folder / "model" / MANIFEST).is_file():
            continue
        info(f"fold {number + 1} of {len(splits)}")
        learn(replace(context, splits=splits[number]), folder)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _without_folds(recipe: Recipe) -> Recipe:
    """Return the recipe without folds, since a fold has none itself."""
    return recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"folds": None})})


def train_all_folds(context: DataContext, run: RunDirectory, *, learn: Learn) -> int:
    """Train the missing folds and return the number of folds over all repeats."""
    options = context.recipe.evaluation.cross_validation
    assert options is not None
    splits = list(fold_splits(context, options))
    _train_missing_folds(context, run, options, splits, learn)
    return len(splits)


def _train_missing_folds(
    context: DataContext, run: RunDirectory, options: Folds, splits: list[Splits], learn: Learn
) -> None:
    """Train the missing folds, in this process or in several workers.

    A launcher's environment variables are kept from the workers.
    """
    ways = min(options.processes, len(splits))
    if ways == 1 and dist_env().world_size == 1:
        train_folds(context, run, splits, learn=learn)
        return
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    command = [sys.executable, "-m", WORKER, f"{learn.__module__}:{learn.__qualname__}", str(run.path)]
    running = [subprocess.Popen([*command, str(way), str(ways)], env=environment) for way in range(ways)]
    codes = [process.wait() for process in running]
    if any(codes):
        raise DanluError(f"{run.path}: a fold could not be trained; its messages are above", code="DL509")


def _predict_fold(
    context: DataContext, run: RunDirectory, number: int, repeat: int, config: EvalConfig
) -> tuple[FoldResult, pl.DataFrame, np.ndarray]:
    """Predict a fold's test rows; return calibrated results, the predictions table and the raw outputs.

    Calibration and threshold come from the fold's own validation rows.
    """
    from danlu.models.predictor import Predictor

    fold = RunDirectory.open(fold_folder(run, number))
    # A fold that searched has a recipe of its own.
    model = Model.of(load_run_recipe(fold.path / RECIPE).model)
    predictor = Predictor.load(fold, recipe_model=model)
    split, validation = context.splits.test, context.splits.validation
    answers = predictor.raw_outputs(validation, context.origin)
    target, _ = fit_calibration_and_threshold(
        context.recipe.evaluation, predictor.target, validation, answers, "validation"
    )
    raw = predictor.raw_outputs(split, context.origin)
    outputs = target.calibrate(raw)
    raw, _ = config.task.align_labels(target, config.target, raw)
    outputs, target = config.task.align_labels(target, config.target, outputs)
    predictions = build_predictions(split, target, outputs, config.text_column, config.group_column)
    recorded = predictions_frame(split, predictions, target.decode(outputs), target)
    return FoldResult(repeat, len(context.splits.train), predictions), recorded, raw


def fold_folder(run: RunDirectory, number: int) -> Path:
    """Return the folder of a fold's run; folds are numbered over all repeats."""
    return run.path / FOLDS_FOLDER / f"fold-{number:03}"


def refit_epochs(context: DataContext, run: RunDirectory, *, learn: Learn) -> float | None:
    """Return the number of epochs (or rounds) of a refit; None without one.

    Trains the missing folds first. The length is the median of their best epochs.

    Raises:
        ArgumentError: several processes were started, and folds train in one.
        DanluError: a fold cannot be trained.
    """
    if not context.recipe.evaluation.refits:
        return None
    if dist_env().world_size > 1:
        raise ArgumentError(
            "--processes: evaluation.folds.final: refit trains its folds in one process; remove --processes",
            code="DL602",
        )
    count = train_all_folds(context, run, learn=learn)
    found = [_best_epoch(RunDirectory.open(fold_folder(run, number)), context) for number in range(count)]
    middle = float(np.median(found))
    unit = "rounds" if isinstance(context.model, SelfFittingModel) else "epochs"
    info(f"folds were best after {min(found):.3g} to {max(found):.3g} {unit}; training on all rows for {middle:.3g}")
    return middle


def _best_epoch(fold: RunDirectory, context: DataContext) -> float:
    """Return the epoch of a fold's best weights, from its log."""
    line = best_validation_record(fold, context.recipe.training)
    if line is None:
        metric = monitored_metric(context.recipe.training)
        raise DanluError(
            f"{fold.path}: {metric} was never defined on its validation split; set training.early_stopping.metric to "
            "another metric",
            code="DL505",
        )
    return float(line["epoch"])
