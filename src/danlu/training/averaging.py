"""Averages of the weights that a run went through, which often answer better than the last ones."""

from typing import Annotated, Literal

from pydantic import Field

from danlu.core.component import Component


class EMA(Component):
    """An average that forgets exponentially: after each step, decay of the average and 1 - decay of the weights."""

    name: Literal["ema"] = "ema"
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999


class SWA(Component):
    """The plain average of the weights after each step from `start` on (Izmailov et al. 2018)."""

    name: Literal["swa"] = "swa"
    start: Annotated[float, Field(ge=0.0, lt=1.0, description="share of the steps before it begins")] = 0.75


AVERAGES: dict[str, type[Component]] = {"ema": EMA, "swa": SWA}
