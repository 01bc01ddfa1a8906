"""How a fold of a run is learned: by one training, or where the run is a search, by a search of its own."""

from pathlib import Path

from danlu.artifacts.trials import is_search
from danlu.experiment.data_context import DataContext


def train_or_search(context: DataContext, folder: Path) -> None:
    """Train a context into a folder, or search there if it has a `requested_recipe`.

    An interrupted search goes on with its next trial.
    """
    from danlu.api.tune import resume_search, run_search
    from danlu.experiment.trainer import train_run

    if context.requested_recipe is None:
        train_run(context, folder.parent, folder.name, overwrite=folder.exists(), learn=train_or_search)
    elif is_search(folder):
        resume_search(folder)
    else:
        run_search(context, folder.parent, folder.name, overwrite=folder.exists())
