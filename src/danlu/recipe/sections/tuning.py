"""The recipe's section `tuning`: the search space and how it is searched.

A range is a list of two numbers, whole ones only where both are written so; any other list under a key is a list of
choices.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

from danlu.core.component import Frozen, OneOf
from danlu.recipe.components import SamplerOptions

Number = int | float
Ends = tuple[Number, Number]


class LogRange(Frozen):
    """Search a range evenly in its logarithm."""

    log: Ends

    @model_validator(mode="after")
    def _rises_from_above_zero(self) -> "LogRange":
        low, high = self.log
        if not 0 < low < high:
            raise ValueError(f"a log range must rise from above 0, got [{low}, {high}]")
        return self


class StepRange(Frozen):
    """Search the multiples of `step` in a range, from its low end."""

    range: Ends
    step: PositiveInt | PositiveFloat

    @model_validator(mode="after")
    def _rises(self) -> "StepRange":
        low, high = self.range
        if not low < high:
            raise ValueError(f"a range must rise, got [{low}, {high}]")
        return self


class Choices(Frozen):
    """Try values as they stand, whole sections too."""

    choices: Annotated[tuple[Any, ...], Field(min_length=1)]


def is_range(values: tuple[Any, ...]) -> bool:
    """Return whether a list without a name is a range: two numbers."""
    return len(values) == 2 and all(isinstance(value, Number) and not isinstance(value, bool) for value in values)


def _rises_where_it_is_a_range(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("an empty list leaves nothing to choose from")
    if is_range(values) and not values[0] < values[1]:
        raise ValueError(
            f"a range must rise, got [{values[0]}, {values[1]}]; write a choice of two numbers as {{choices: …}}"
        )
    return values


Listed = Annotated[tuple[Any, ...], AfterValidator(_rises_where_it_is_a_range)]


def _form(given: Any) -> str | None:
    """Return which form a searched key has, or None."""
    for form, section in FORMS.items():
        if isinstance(given, section) or (isinstance(given, Mapping) and form in given):
            return form
    return "list" if isinstance(given, list | tuple) else None


FORMS: dict[str, type[Frozen]] = {"log": LogRange, "range": StepRange, "choices": Choices}
SearchSpec = Annotated[
    Annotated[LogRange, Tag("log")]
    | Annotated[StepRange, Tag("range")]
    | Annotated[Choices, Tag("choices")]
    | Annotated[Listed, Tag("list")],
    Discriminator(
        _form,
        custom_error_type="searched_form",
        custom_error_message="must be [low, high], {log: [low, high]}, {range: [low, high], step: STEP}, or choices: a "
        "list, or {choices: [...]}",
    ),
]


class Tuning(Frozen):
    """Train with other values repeatedly and keep the trial that is best on validation."""

    sampler: Annotated[SamplerOptions, OneOf("sampler")] = Field(default="bayesian", validate_default=True)
    trials: PositiveInt = Field(default=50, description="trainings at most")
    metric: str | None = Field(
        default=None, pattern=r"^validation/", description="metric to optimise; that of early stopping by default"
    )
    space: Annotated[dict[str, SearchSpec], Field(min_length=1)] = Field(
        description="by key of the recipe: `[low, high]` of numbers, `{log: [low, high]}`, `{range: [low, high], step: "
        "STEP}`, or choices, as a list or as `{choices: [...]}`"
    )
