"""Averages of the weights over a run, which often predict better than the last weights.

In: a model, after each step. Out: its average, which can take the model's place for a while. Buffers, such as the
statistics of batch norms, are averaged too; tensors that are not floating-point are taken from the model unchanged.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from danlu.recipe.components import AverageOptions
from danlu.recipe.durations import Duration, to_steps

if TYPE_CHECKING:
    import torch
    from torch import nn

    from danlu.training.running_average import RunningAverage


class WeightAverage(AverageOptions):
    """Decide how much each step's weights count in the average.

    Example:
        >>> import danlu
        >>> class Mean(danlu.WeightAverage):
        ...     name: str = "mean"
        ...     def lerp_weight(self, num_updates: int, step: int, steps: int) -> float | None:
        ...         return 1 / (num_updates + 1)
        >>> Mean().lerp_weight(3, 4, 100)
        0.25
    """

    @abstractmethod
    def lerp_weight(self, num_updates: int, step: int, steps: int) -> float | None:
        """Return how far the average moves towards the weights after `step`; None skips them.

        Args:
            num_updates: number of steps' weights it holds already, besides the initial ones.
            step: counted from 1.
        """

    def build(self, model: "nn.Module") -> "RunningAverage":
        """Start an average from the model's current weights; update it after each optimizer step."""
        from danlu.training.running_average import RunningAverage

        return RunningAverage(model, self.lerp_weight)


class EMA(WeightAverage):
    """Average exponentially: decay of the average plus 1 - decay of the new weights.

    The decay starts low, min(decay, (1 + t) / (10 + t)) after t steps, so that the first weights are soon forgotten.
    """

    name: Literal["ema"] = "ema"
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999

    def lerp_weight(self, num_updates: int, step: int, steps: int) -> float:
        return 1 - min(self.decay, (1 + num_updates) / (10 + num_updates))


class SWA(WeightAverage):
    """Average the weights after each step from `start` on with equal weight.

    Needs a rate that stays high: a constant schedule, or one with a floor. Izmailov et al. 2018,
    https://arxiv.org/abs/1803.05407.
    """

    name: Literal["swa"] = "swa"
    start: Duration = Field(
        default=0.75, description="share of the steps, steps, or 60 epochs, before averaging starts"
    )

    def lerp_weight(self, num_updates: int, step: int, steps: int) -> float | None:
        return 1 / (num_updates + 1) if step > to_steps(self.start, steps, math.ceil) else None


@contextmanager
def eval_weights(
    model: "nn.Module", optimizer: "torch.optim.Optimizer", average: "RunningAverage | None"
) -> Iterator[None]:
    """Put the weights to evaluate and keep into the model; restore it afterwards exactly.

    They are the average's where there is one, else the schedule-free optimizer's average, else the model's own.
    """
    to_average, back = getattr(optimizer, "eval", None), getattr(optimizer, "train", None)
    with nullcontext() if average is None else average.swapped_in():
        if average is not None or to_average is None or back is None:
            yield
            return
        to_average()
        try:
            yield
        finally:
            back()


AVERAGES: dict[str, type[WeightAverage]] = {"ema": EMA, "swa": SWA}
