"""The recipe's section `compression`: what makes a run's model smaller, after it was evaluated."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from danlu.core.component import Frozen, OneOf
from danlu.recipe.components import CompressionOptions

Target = Literal["latency", "size", "memory"]
MAIN_OPTIONS = ("amount", "energy", "parameters", "scheme", "size")  # one of a step


class Budget(Frozen):
    """Limit how much of a metric compression may cost."""

    metric: str = Field(description="of the evaluation, as accuracy")
    max_drop: NonNegativeFloat = Field(description="how much worse it may become, in the metric's own units")
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(
        default=0.95, description="of the interval that must not exceed max_drop"
    )


class Compression(Frozen):
    """Make a model smaller or faster, by steps or a search within a budget."""

    steps: tuple[Annotated[CompressionOptions, OneOf("compression")], ...] = Field(
        default=(), description="applied in this order; without any, steps are searched within the budget"
    )
    budget: Budget | None = None
    target: Target = Field(default="latency", description="what a search makes small")
    minutes: PositiveFloat | None = Field(default=None, description="most time that a search takes")

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.steps and self.budget is None:
            raise ValueError("has neither steps nor a budget; give steps, as [{prune: 0.5}], or a budget to search in")
        return self


def step_label(name: str, options: Mapping[str, Any]) -> str:
    """Return a step's name with the option that says how much, as prune=0.5."""
    said = next((options[key] for key in MAIN_OPTIONS if options.get(key) is not None), None)
    return name if said is None else f"{name}={said}"
