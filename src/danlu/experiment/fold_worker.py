"""One of several worker processes that share a run's folds: `python -m danlu.experiment.fold_worker`.

Arguments: the function that trains a fold as `module:name`, the run, the worker's number, the number of workers.
"""

import os
import sys
from dataclasses import replace

from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.imports import load_dotted
from danlu.experiment.cross_validation import Learn, train_folds
from danlu.experiment.folds import fold_splits
from danlu.experiment.run_data import load_run_data


def run_fold_worker(path: str, worker: int, workers: int, *, learn: Learn) -> None:
    """Train this worker's share of a run's folds: every `workers`-th one, starting with `worker`."""
    run = RunDirectory.open(path)
    context = load_run_data(load_run_recipe(run.path / RECIPE), run)
    options = context.recipe.evaluation.cross_validation
    assert options is not None
    threads = context.recipe.training.threads.model_copy(update={"compute": max(1, (os.cpu_count() or 1) // workers)})
    training = context.recipe.training.model_copy(update={"threads": threads})
    context = replace(context, recipe=context.recipe.model_copy(update={"training": training}))
    train_folds(context, run, list(fold_splits(context, options)), worker, workers, learn=learn)


if __name__ == "__main__":
    learn_name, run_path, number, count = sys.argv[1:]
    run_fold_worker(run_path, int(number), int(count), learn=load_dotted(learn_name, "learn"))
