"""Callbacks: objects that are told what happens during training and may look at everything, but decide nothing.

Trackers are callbacks; so are classes of the user's own, named in `training.callbacks` as package.module:Class.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from danlu.artifacts.run import RunDirectory
from danlu.recipe.sections.training import Training

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class CallbackContext:
    """Hold what a callback may look at.

    Attributes:
        run: the run's folder; a callback may write files of its own into it.
        model: the network in training.
        options: the resolved `training` section.
        steps: optimizer steps planned.
        first_step: steps done already; more than 0 where a run is resumed.

    Example:
        >>> import danlu
        >>> recipe, run = danlu.load_recipe("runs/wine/recipe.yaml"), danlu.RunDirectory.open("runs/wine")
        >>> context = danlu.CallbackContext(run, danlu.load(run).model, recipe.training, steps=480, first_step=0)
        >>> context.run.path.name
        'wine'
    """

    run: RunDirectory
    model: "nn.Module"
    options: Training
    steps: int
    first_step: int


class Callback(Protocol):
    """React to training events; subclasses override the methods they need.

    Each method ends in `return`: a method of a Protocol with an empty body would have to be written by every class.

    Example:
        >>> import danlu
        >>> class Steps(danlu.Callback):
        ...     def on_start(self, context):
        ...         self.steps = context.steps
        ...     def on_log(self, record):
        ...         print(f"{record['step']} of {self.steps}")
        >>> Steps().on_end()
    """

    def on_start(self, context: CallbackContext) -> None:
        """Run before the first step."""
        return

    def on_step(self, step: int, loss: "torch.Tensor") -> None:
        """Run after each optimizer step, counted from 1.

        `loss` is a scalar on the device; reading it waits for the device.
        """
        return

    def on_log(self, record: dict[str, float]) -> None:
        """Run for each line of metrics.jsonl: step, epoch and figures."""
        return

    def on_end(self) -> None:
        """Run after the last step, or when training is stopped or fails."""
        return
