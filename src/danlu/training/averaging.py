"""Averages of the weights that a run went through, which often answer better than the last ones.

In: a model, after each step. Out: its average, which can stand in the model's place for a while. Buffers, such as the
statistics of batch norms, are averaged alike; what is no floating-point number is taken from the model as it is.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from danlu.core.component import Component

if TYPE_CHECKING:
    import torch
    from torch import nn

    from danlu.training.running_average import RunningAverage


class Average(Component):
    """How much each step's weights count."""

    @abstractmethod
    def share(self, taken: int, step: int, steps: int) -> float | None:
        """How far the average moves towards the weights after `step` of `steps`; None leaves them out.

        Args:
            taken: how many steps' weights it holds already, besides those that training began with.
            step: counted from 1.
        """

    def begin(self, model: "nn.Module") -> "RunningAverage":
        """An average that holds the model's weights of now; to be updated after each optimizer step."""
        from danlu.training.running_average import RunningAverage

        return RunningAverage(model, self.share)


class EMA(Average):
    """An average that forgets exponentially: after each step, decay of the average and 1 - decay of the weights.

    The decay begins low, min(decay, (1 + t) / (10 + t)) after t steps, so that the first weights are soon forgotten.
    """

    name: Literal["ema"] = "ema"
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999

    def share(self, taken: int, step: int, steps: int) -> float:
        return 1 - min(self.decay, (1 + taken) / (10 + taken))


class SWA(Average):
    """The plain average of the weights after each step from `start` on (Izmailov et al. 2018).

    Wants a rate that stays high: a constant schedule, or one with a floor.
    """

    name: Literal["swa"] = "swa"
    start: Annotated[float, Field(ge=0.0, lt=1.0, description="share of the steps before it begins")] = 0.75

    def share(self, taken: int, step: int, steps: int) -> float | None:
        return 1 / (taken + 1) if step > math.ceil(self.start * steps) else None


@contextmanager
def judged_weights(
    model: "nn.Module", optimizer: "torch.optim.Optimizer", average: "RunningAverage | None"
) -> Iterator[None]:
    """Within, the model holds the weights to be judged and kept; after, those that training goes on with, bit for bit.

    They are the average's where there is one, else what a schedule-free optimizer averages, else the model's own.
    """
    to_average, back = getattr(optimizer, "eval", None), getattr(optimizer, "train", None)
    with nullcontext() if average is None else average.swapped():
        if average is not None or to_average is None or back is None:
            yield
            return
        to_average()
        try:
            yield
        finally:
            back()


AVERAGES: dict[str, type[Component]] = {"ema": EMA, "swa": SWA}
