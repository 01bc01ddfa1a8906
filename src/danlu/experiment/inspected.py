"""Networks to look at with rows of a recipe's data: an untrained network of a recipe, or a run's with its own rows.

In: a recipe or a run directory. Out: `danlu.inspection.subject.Subject`.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.seeds import Seed
from danlu.data.splits import Split
from danlu.experiment.data_context import DataContext, FittedPreprocessing, fit_preprocessing
from danlu.experiment.loaders import build_prepared_dataset
from danlu.experiment.run_data import load_run_data, with_stored_reference
from danlu.models.bundle_form import open_checked

if TYPE_CHECKING:
    from danlu.inspection.subject import Subject

UNTRAINED_ROWS = 8
RUN_ROWS = 256  # validation rows of a run, where no number is asked for


def recipe_subject(context: DataContext) -> "Subject":
    """Build a recipe's network as training would begin with it, with a few training rows."""
    import torch

    from danlu.inspection.subject import Subject

    preprocessing = fit_preprocessing(context)
    train = context.splits.train
    few = Split(train.rows[:UNTRAINED_ROWS], train.table)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Seed(context.recipe.seed).derive("model").value)
        network = context.model.build(preprocessing.preprocessor.inputs, preprocessing.target.outputs)
    return Subject(
        name=context.recipe.name,
        network=network.eval(),
        dataset=build_prepared_dataset(context, preprocessing, few),
        device=torch.device("cpu"),
        rows=few.columns(*preprocessing.preprocessor.columns),
        head=context.dataset.task.head(preprocessing.target),
    )


def run_subject(run: RunDirectory, rows: int = 0, own_code: bool = False) -> "Subject":
    """Open a run's bundle with validation rows of its own data, labels included.

    Args:
        run: trained.
        rows: how many, drawn by the run's seed; 0 for a few hundred. With more than validation has, training rows too.
        own_code: allow code outside danlu that the model names.

    Raises:
        DataError: the run's data has changed or is gone.
        ArtifactError: the bundle is missing or damaged.
    """
    from danlu.inspection.subject import predictor_subject
    from danlu.models.predictor import Predictor

    context = with_stored_reference(load_run_data(load_run_recipe(run.path / RECIPE), run), run)
    predictor = Predictor.load(open_checked(run.path), own_code=own_code, recipe_model=context.model)
    part = _drawn_rows(context, rows or RUN_ROWS)
    labels = None if context.dataset.target is None else part.column(context.dataset.target)
    columns = part.columns(*predictor.preprocessor.columns)
    subject = predictor_subject(predictor, columns, context.origin, context.recipe.name, labels)
    fitted = FittedPreprocessing(predictor.preprocessor, predictor.target)
    return replace(subject, dataset=build_prepared_dataset(context, fitted, part), run=run)


def _drawn_rows(context: DataContext, count: int) -> Split:
    """Draw rows of validation, then of training, by the run's seed."""
    generator = np.random.default_rng(Seed(context.recipe.seed).derive("visualize").value)
    splits = context.splits
    ordered = np.concatenate([generator.permutation(part.rows) for part in (splits.validation, splits.train)])
    return Split(np.sort(ordered[:count]), splits.train.table)
