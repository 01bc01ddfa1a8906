"""Reject options that need gradient steps for models without them (trees, boosting). Imports no torch."""

import numpy as np

from danlu.core.component import Component, components
from danlu.data.balance.base import Balancer
from danlu.errors import Problem, RecipeError
from danlu.models.base import Model, SelfFittingModel
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.training import Training

# Options of the `training` section that have a meaning without gradient steps; max_steps limits the rounds.
OPTIONS_WITHOUT_STEPS = ("max_steps", "batch_size", "early_stopping", "device", "threads", "track", "callbacks")


def check_no_gradient_options(recipe: Recipe, model: SelfFittingModel, task: str) -> None:
    """Raise RecipeError for the first option that only makes sense with gradient steps."""
    if task == "multi-label":
        others = [name for name, family in components("model").items() if _steps_on_tables(family)]
        message = f"{model.name} predicts a single label per row, and rows have several; use one of {', '.join(others)}"
        raise RecipeError(Problem("", "model.name", message))
    grows = f"{model.name} is not trained by gradient steps"
    usual = Training()
    for key in Training.model_fields:
        if key not in OPTIONS_WITHOUT_STEPS and getattr(recipe.training, key) != getattr(usual, key):
            cure = "set max_steps to limit its rounds" if key == "epochs" else "remove it"
            raise RecipeError(Problem("", f"training.{key}", f"{grows}; {cure}"))
    if recipe.training.batch_size == "auto":
        message = f"{grows}, so auto cannot try sizes; set the number of rows per prediction batch, or remove it"
        raise RecipeError(Problem("", "training.batch_size", message))
    if recipe.data.augment:
        message = f"{model.name} has no epochs in which rows could be changed at random; remove it"
        raise RecipeError(Problem("", "data.augment", message))
    assert isinstance(recipe.data.balance, Balancer)
    emphasis = recipe.data.balance.loss_weighting(np.ones(2, dtype=np.int64))
    if emphasis.focal_gamma or emphasis.logit_offsets:
        message = f"{recipe.data.balance.name} changes the loss, and {model.name} has its own; use class-weights"
        raise RecipeError(Problem("", "data.balance", message))


def _steps_on_tables(family: type[Component]) -> bool:
    """Return whether a family takes tables and is trained by gradient steps."""
    return issubclass(family, Model) and "tabular" in family.kinds and not issubclass(family, SelfFittingModel)
