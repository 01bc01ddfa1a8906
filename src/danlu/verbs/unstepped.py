"""What a recipe or a command may not ask of a model that fits itself, in no steps of an optimizer. Imports no torch."""

import numpy as np

from danlu.core.errors import ArgumentError, Problem, RecipeError
from danlu.data.balance.balancer import Balancer
from danlu.models.base import FitsItself
from danlu.recipe.schema import Recipe
from danlu.recipe.sections import Training

# Options of the `training` section that mean something without steps; max_steps ends the rounds.
MEANINGFUL = ("max_steps", "batch_size", "early_stopping", "device", "threads", "track", "callbacks")


def refuse_steps(recipe: Recipe, model: FitsItself, task: str) -> None:
    """Raise RecipeError for the first option that only steps of an optimizer give a meaning."""
    if task == "multi-label":
        message = f"{model.name} grows for one answer a row, and rows have several labels; say mlp, resnet or tabm"
        raise RecipeError(Problem("", "model.name", message))
    grows = f"{model.name} fits itself and takes no steps of an optimizer"
    usual = Training()
    for key in Training.model_fields:
        if key not in MEANINGFUL and getattr(recipe.training, key) != getattr(usual, key):
            cure = "max_steps is the number of its rounds" if key == "epochs" else "leave it out"
            raise RecipeError(Problem("", f"training.{key}", f"{grows}; {cure}"))
    if recipe.training.batch_size == "auto":
        message = f"{grows}, so nothing is tried; say how many rows it is to answer at a time, or leave it out"
        raise RecipeError(Problem("", "training.batch_size", message))
    if recipe.data.augment:
        message = f"{model.name} sees its training rows as they are, not changed anew in every epoch; leave it out"
        raise RecipeError(Problem("", "data.augment", message))
    assert isinstance(recipe.data.balance, Balancer)
    emphasis = recipe.data.balance.emphasis(np.ones(2, dtype=np.int64))
    if emphasis.focal_gamma or emphasis.logit_offsets:
        message = f"{recipe.data.balance.name} changes the loss, and {model.name} has its own; say class-weights"
        raise RecipeError(Problem("", "data.balance", message))


def refuse_processes(model: object, processes: int) -> None:
    """Raise ArgumentError where several processes are to train a model that fits itself."""
    if isinstance(model, FitsItself) and processes > 1:
        raise ArgumentError(f"--processes {processes}: {model.name} fits itself in one process; leave it out")
