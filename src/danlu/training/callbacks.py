"""What else happens during training: objects that are told of it and may look at everything, but decide nothing.

Trackers are callbacks; so are classes of the user's own, named in `training.callbacks` as package.module:Class.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from danlu.artifacts.run import RunDirectory
from danlu.recipe.sections import Training

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Setting:
    """What a callback may look at.

    Attributes:
        run: the run's folder; a callback may write files of its own into it.
        model: the network that is trained.
        options: the resolved `training` section.
        steps: optimizer steps planned.
        first_step: steps done already, more than 0 where a run goes on.
    """

    run: RunDirectory
    model: "nn.Module"
    options: Training
    steps: int
    first_step: int


class Callback(Protocol):
    """Is told of training as it goes. A class that inherits from this one writes the methods that it needs.

    Each ends in `return`, since a method of a Protocol whose body is empty would have to be written by every class.
    """

    def on_start(self, setting: Setting) -> None:
        """Before the first step."""
        return

    def on_step(self, step: int, loss: "torch.Tensor") -> None:
        """After each optimizer step, counted from 1; `loss` is a scalar on the device, and reading it waits for it."""
        return

    def on_log(self, record: dict[str, float]) -> None:
        """For each line of metrics.jsonl: step, epoch and figures."""
        return

    def on_end(self) -> None:
        """After the last step, or when training is stopped or fails."""
        return
