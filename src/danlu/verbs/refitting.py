"""Refit (`evaluation.folds.final: refit`): train the final model on all rows that are not in the test split.

Folds are trained first; each shows after how many epochs (or rounds) its validation was best. The final model trains
for the median of these, on the schedule of the full length, without a validation split.
"""

import numpy as np

from danlu.artifacts.run import RunDirectory
from danlu.core.console import say
from danlu.core.errors import ArgumentError, DanluError
from danlu.core.world import this_world
from danlu.models.base import FitsItself
from danlu.verbs.fitting import kept_line, watched_metric
from danlu.verbs.folds import folder_of_fold, train_all_folds
from danlu.verbs.prepare import Opened


def epochs_of_folds(opened: Opened, run: RunDirectory) -> float:
    """Train the missing folds and return the median of their best epochs (or rounds).

    Raises:
        ArgumentError: several processes were started, and folds train in one.
        DanluError: a fold cannot be trained.
    """
    if this_world().size > 1:
        raise ArgumentError(
            "--processes: evaluation.folds.final: refit trains its folds in one process; remove --processes"
        )
    count = train_all_folds(opened, run)
    found = [_best_epoch(RunDirectory.open(folder_of_fold(run, number)), opened) for number in range(count)]
    middle = float(np.median(found))
    unit = "rounds" if isinstance(opened.model, FitsItself) else "epochs"
    say(f"folds were best after {min(found):.3g} to {max(found):.3g} {unit}; training on all rows for {middle:.3g}")
    return middle


def _best_epoch(fold: RunDirectory, opened: Opened) -> float:
    """Return the epoch of a fold's best weights, from its log."""
    line = kept_line(fold, opened.recipe.training)
    if line is None:
        watched = watched_metric(opened.recipe.training)
        raise DanluError(
            f"{fold.path}: {watched} was never defined on its validation split; set training.early_stopping.metric to "
            "another metric"
        )
    return float(line["epoch"])
