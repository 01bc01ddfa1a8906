"""Refit (`evaluation.folds.final: refit`): train the final model on all rows that are not in the test split.

Folds are trained first; each shows after how many epochs (or rounds) its validation was best. The final model trains
for the median of these, on the schedule of the full length, without a validation split.
"""

import numpy as np

from danlu.artifacts.run import RunDirectory
from danlu.core.console import info
from danlu.core.errors import ArgumentError, DanluError
from danlu.core.world import dist_env
from danlu.models.base import SelfFittingModel
from danlu.verbs.fitting import best_validation_record, monitored_metric
from danlu.verbs.folds import fold_folder, train_all_folds
from danlu.verbs.prepare import DataContext


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
