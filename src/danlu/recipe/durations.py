"""Durations of a recipe: a share of the run (`0.05`), steps (`500`), or a number with its unit.

The units are steps, epochs, samples and tokens: `2 epochs`, `500 steps`, `50k samples`, `1M tokens`. How many steps
they are is known once the batch size and the number of training samples are: `in_steps` then replaces them all.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PositiveInt

from danlu.errors import Problem, RecipeError

UNITS = ("step", "epoch", "sample", "token")
FACTORS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
PATTERN = rf"^\s*(\d+(?:\.\d+)?)\s*([kMGB]?)\s*({'|'.join(UNITS)})s?\s*$"


def _has_unit(said: str) -> str:
    if re.match(PATTERN, said) is None:
        raise ValueError(
            f"a duration is a share of the run (0.05), steps (500), or a number with one of the units "
            f"{', '.join(f'{unit}s' for unit in UNITS)} (2 epochs, 1M tokens), got {said!r}"
        )
    return said


def whole_epochs(said: Any) -> Any:
    """Read `2 epochs` as 2; leave anything else to the field."""
    found = re.match(PATTERN, said) if isinstance(said, str) else None
    if found is None:
        return said
    amount = float(found[1]) * FACTORS[found[2]]
    if found[3] != "epoch" or not amount.is_integer():
        raise ValueError(f"is counted in whole epochs (2, or 2 epochs), got {said!r}")
    return int(amount)


Options = TypeVar("Options", bound=BaseModel)
Written = Annotated[str, AfterValidator(_has_unit), Field(json_schema_extra={"pattern": PATTERN})]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
StepCount = Annotated[int, Field(ge=1, strict=True)]
Duration = Share | StepCount | Written
Epochs = Annotated[PositiveInt, BeforeValidator(whole_epochs)]


@dataclass(frozen=True)
class Pace:
    """Hold what turns durations into optimizer steps.

    Attributes:
        steps_per_epoch: optimizer steps per epoch.
        batch_size: samples per step.
        tokens_per_sample: tokens of each training sample where all have as many, as a language model's blocks; else 1.
        steps: steps of the whole run; 0 where they are not known yet.
    """

    steps_per_epoch: int
    batch_size: int
    tokens_per_sample: int = 1
    steps: int = 0

    def steps_of(self, said: str, key: str) -> int:
        """Return the steps of a number with a unit, rounded; 0 only of 0.

        Raises:
            RecipeError: it counts tokens, and samples have no fixed number of these.
        """
        amount, unit = read_duration(said)
        if unit == "token" and self.tokens_per_sample == 1:
            message = f"{said}: only a language model's samples have a fixed number of tokens; say epochs or steps"
            raise RecipeError(Problem("", key, message, code="DL114"))
        steps = {
            "step": amount,
            "epoch": amount * self.steps_per_epoch,
            "sample": amount / self.batch_size,
            "token": amount / (self.batch_size * self.tokens_per_sample),
        }[unit]
        return max(1, round(steps)) if amount else 0


def is_written(said: object) -> bool:
    """Return whether a value is a number with a unit."""
    return isinstance(said, str) and re.match(PATTERN, said) is not None


def read_duration(said: str) -> tuple[float, str]:
    """Return the number and the unit, in the singular, of a written duration."""
    found = re.match(PATTERN, said)
    assert found is not None, said
    return float(found[1]) * FACTORS[found[2]], found[3]


def in_steps(options: Options, pace: Pace, key: str = "training") -> Options:
    """Return a section, and its parts, with durations of any unit in steps.

    Raises:
        RecipeError: it counts tokens, and samples have no fixed number of these.
    """
    changes: dict[str, Any] = {}
    for name in type(options).model_fields:
        value, place = getattr(options, name), f"{key}.{name}"
        if is_written(value):
            changes[name] = pace.steps_of(value, place)
        elif isinstance(value, tuple) and any(map(is_written, value)):
            changes[name] = tuple(pace.steps_of(each, place) if is_written(each) else each for each in value)
        elif isinstance(value, BaseModel):
            own = getattr(value, "in_steps", None)  # a schedule counts some of them from another place
            changes[name] = in_steps(value, pace, place) if own is None else own(pace, place)
    return options.model_copy(update=changes)


def to_steps(amount: float | str, steps: int, rounding: Callable[[float], int] = round) -> int:
    """Convert a share of `steps` (a float) to steps; return a whole number unchanged.

    Raises:
        AssertionError: it has a unit, so `in_steps` was not called.
    """
    assert not isinstance(amount, str), f"{amount} is not in steps yet"
    return amount if isinstance(amount, int) else rounding(amount * steps)


def warmup_steps(warmup: float | str, steps: int) -> int:
    """Return the steps of a warmup, at most those of the run."""
    return min(to_steps(warmup, steps, math.ceil), steps)
