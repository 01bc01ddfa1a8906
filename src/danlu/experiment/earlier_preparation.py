"""The preparation and the labels of a finished run, for a training that begins from its weights.

The weights only mean something for inputs that are prepared as before, so nothing is fitted anew. Imports no torch.
"""

from functools import reduce
from operator import attrgetter
from typing import Any

from danlu.artifacts.bundle import Bundle
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.data.dataset import Dataset
from danlu.data.kind import Preprocessor
from danlu.data.kinds.table import get_kind
from danlu.errors import ArgumentError, Problem, RecipeError
from danlu.models.bundle_form import open_checked
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.data import Data
from danlu.tasks.base import Target
from danlu.tasks.table import parse_target

KEY = "training.from_run"
# Keys of `data` that a preparation is fitted with; the others choose rows, or change samples on their way.
FITTED_WITH = (
    *(
        "task",
        "target",
        "positive",
        "clean.missing",
        "text",
        "image",
        "columns",
        "scale",
        "encode",
        "select",
        "image_size",
    ),
    *("sequence_length", "vocabulary", "packing", "special_tokens", "chat_template"),
)
# What evaluation adds to a target, which belongs to the weights of before.
OF_EVALUATION = ("calibration", "threshold", "conformal")


def earlier_preparation(recipe: Recipe, dataset: Dataset, date: str) -> tuple[Preprocessor, Target]:
    """Return preparation and target of the run that the recipe begins from.

    Args:
        recipe: resolved, with `training.from_run`.
        dataset: of the new run.
        date: of the new training, for templates that ask for it.

    Raises:
        ArgumentError: that run has another kind of data or another task.
        RecipeError: the recipe asks for a preparation of its own.
    """
    assert recipe.training.from_run is not None
    bundle = open_checked(recipe.training.from_run)
    manifest = bundle.manifest
    if (manifest.kind, manifest.task) != (dataset.kind.name, dataset.task.name):
        raise ArgumentError(
            f"{KEY}: {bundle.folder} was trained for {manifest.task} on {manifest.kind} data, and this recipe for "
            f"{dataset.task.name} on {dataset.kind.name} data; export it and name the folder in model.name, or choose "
            "another run",
            code="DL515",
        )
    _require_same_preparation(recipe, bundle)
    preprocessor = get_kind(manifest.kind).preprocessor.model_validate(manifest.preprocessing)
    missing = [name for name in preprocessor.columns if name not in dataset.frame.columns]
    if missing:
        raise ArgumentError(f"{KEY}: {dataset.origin} has no column {missing[0]!r}, which the run reads", code="DL210")
    return preprocessor.on_date(date), parse_target(manifest.output)


def earlier_target(known: Target, fresh: Target) -> Target:
    """Return the earlier run's target without what its evaluation decided.

    Raises:
        ArgumentError: the data has labels that the run does not know.
    """
    labels = getattr(known, "labels", None)
    unknown = [label for label in getattr(fresh, "labels", ()) if labels is not None and label not in labels]
    if unknown:
        raise ArgumentError(
            f"{KEY}: the run does not know the label {unknown[0]!r}, and its head has no output for it; leave such "
            "rows out, or train without it",
            code="DL515",
        )
    fields = type(known).model_fields
    kept: dict[str, Any] = {name: None for name in OF_EVALUATION if name in fields}
    kept |= {name: getattr(fresh, name) for name in ("positive", "beta") if name in fields}
    return known.model_copy(update=kept)


def _require_same_preparation(recipe: Recipe, bundle: Bundle) -> None:
    """Raise RecipeError where the recipe changes what the earlier preparation was fitted with."""
    run = bundle.folder.parent
    if bundle.folder.name != "model" or not (run / RECIPE).is_file():  # a bundle alone does not say
        return
    before, now = load_run_recipe(run / RECIPE).data, recipe.data
    problems = [
        Problem(
            "", f"data.{name}", f"{KEY} keeps the preparation of {run}, where it is {_shown(before, name)}", "DL110"
        )
        for name in FITTED_WITH
        if attrgetter(name)(before) != attrgetter(name)(now)
    ]
    if problems:
        raise RecipeError(*problems)


def _shown(section: Data, name: str) -> str:
    value = reduce(lambda values, key: values[key], name.split("."), section.model_dump(mode="json"))
    return "none" if value is None else str(value)
