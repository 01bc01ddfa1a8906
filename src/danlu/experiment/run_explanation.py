"""The stage of a run that explains its model, where the recipe asks for it.

In: a run whose bundle is written and decided, and its data. Out: files in the run's folder `explanation`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from danlu.artifacts.run import RunDirectory
from danlu.experiment.data_context import DataContext
from danlu.experiment.training_record import refuse_record, training_record
from danlu.models.bundle_form import open_checked

if TYPE_CHECKING:
    from danlu.explanation.influence import TrainingRecord
    from danlu.models.predictor import Predictor

FOLDER, TRACIN = "explanation", "tracin"


def explain_run(context: DataContext, run: RunDirectory) -> None:
    """Explain the model on validation or else test rows, where the recipe asks.

    Raises:
        ArgumentError: a method cannot be had of this model.
    """
    options = context.recipe.explanation
    if options is None:
        return
    from danlu.explanation.asked import Wanted
    from danlu.explanation.beside_predictions import background_of
    from danlu.explanation.explain import explain_bundle
    from danlu.explanation.written import write_explanation
    from danlu.models.predictor import Predictor

    parts = context.splits.eval_splits()
    split = next(iter(parts))
    frame = parts[split].frame.lazy().collect()
    bundle = open_checked(run.path)
    wanted = Wanted(
        methods=options.methods,
        rows=range(min(options.samples, frame.height)),
        budget=options.budget,
        actionable=options.actionable,
        seed=context.recipe.seed,
    )
    predictor = Predictor.load(bundle, recipe_model=context.model)
    found = explain_bundle(
        predictor,
        bundle,
        background_of(bundle),
        frame,
        {"split": split, "rows": frame.height},
        wanted,
        labelled=frame,
        training=_training(context, run, predictor, frame, options.methods or ()),
        folder=context.dataset.folder,
    )
    write_explanation(found, run.path / FOLDER)


def _training(
    context: DataContext, run: RunDirectory, predictor: "Predictor", frame: pl.DataFrame, methods: Sequence[str]
) -> "TrainingRecord | str":
    """Return what the run kept of its training, if asked for, or why nothing."""
    if TRACIN not in methods:
        return ""
    return refuse_record(context, run) or training_record(context, run, predictor, frame)
