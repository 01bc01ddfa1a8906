"""Learning rates over time, as a factor of the optimizer's own: a function of the step alone, with no state to save."""

import math
from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from danlu.core.component import Component

Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Schedule(Component):
    """Starts with a warmup, a share of all steps in which the factor grows linearly to 1."""

    warmup: Share = 0.05

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied with at `step` of `steps`, counted from 0."""
        warm = math.ceil(self.warmup * steps)
        if step < warm:
            return (step + 1) / warm
        return self.after_warmup((step - warm) / max(1, steps - warm))

    @abstractmethod
    def after_warmup(self, progress: float) -> float:
        """The factor at `progress` in [0, 1) of what follows the warmup."""


class Cosine(Schedule):
    """Half a cosine from 1 down to 0 (Loshchilov & Hutter 2017)."""

    name: Literal["cosine"] = "cosine"

    def after_warmup(self, progress: float) -> float:
        return (1 + math.cos(math.pi * progress)) / 2


class Linear(Schedule):
    """A straight line from 1 down to 0."""

    name: Literal["linear"] = "linear"

    def after_warmup(self, progress: float) -> float:
        return 1 - progress


class Constant(Schedule):
    """1 throughout."""

    name: Literal["constant"] = "constant"
    warmup: Share = 0.0

    def after_warmup(self, progress: float) -> float:
        return 1.0


SCHEDULES: dict[str, type[Component]] = {"cosine": Cosine, "linear": Linear, "constant": Constant}
