"""The search space: one distribution per key, mapped to the unit interval.

In: the `tuning.space` of a recipe. Out: distributions that map a position in [0, 1] to a value and back.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.recipe.sections.tuning import Choices, LogRange, SearchSpec, StepRange, is_range

SIGNIFICANT_DIGITS = 6  # of sampled numbers; more would only make recipes hard to read


class Distribution(ABC):
    """Describe the possible values of one key."""

    @abstractmethod
    def from_unit(self, position: float) -> Any:
        """Map a position in [0, 1] to a value; uniform positions give uniform values."""

    @abstractmethod
    def to_unit(self, value: Any) -> float:
        """Map a value to a position in [0, 1]."""

    @abstractmethod
    def neighbor(self, position: float, distance: float, generator: np.random.Generator) -> float:
        """Return a nearby position; `distance` is the standard deviation of the move."""

    @abstractmethod
    def grid(self, most: int) -> tuple[Any, ...]:
        """Return the values of a grid: at most `most` evenly spaced numbers, or all choices."""


@dataclass(frozen=True)
class Range(Distribution):
    """Describe numbers between two bounds, both included.

    Attributes:
        log: uniform in the logarithm.
        whole: integers only.
        step: only multiples of this above `low`.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False
    step: float | None = None

    @property
    def num_values(self) -> int | None:
        """Number of values; None if continuous."""
        if self.step is not None:
            return math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return int(self.high - self.low) + 1 if self.integer else None

    def from_unit(self, position: float) -> float | int:
        if self.step is not None or (self.integer and not self.log):
            assert self.num_values is not None
            return self._value_at_step(min(int(position * self.num_values), self.num_values - 1))
        low, high = self._bounds()
        found = math.exp(low + position * (high - low)) if self.log else low + position * (high - low)
        return self.round_value(found)

    def round_value(self, value: float) -> float | int:
        """Round a number and clip it to the range."""
        if self.integer:
            return int(min(max(round(value), self.low), self.high))
        return float(min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), self.low), self.high))

    def to_unit(self, value: Any) -> float:
        if self.step is not None or (self.integer and not self.log):
            assert self.num_values is not None
            return (round(float(value - self.low) / (self.step or 1)) + 0.5) / self.num_values
        low, high = self._bounds()
        return float(((math.log(value) if self.log else value) - low) / (high - low))

    def neighbor(self, position: float, distance: float, generator: np.random.Generator) -> float:
        moved = abs(position + distance * generator.normal())  # reflected at the bounds
        return float(min(max(1 - abs(1 - moved), 0.0), 1.0))

    def grid(self, most: int) -> tuple[Any, ...]:
        if self.num_values is not None and self.num_values <= most and not self.log:
            return tuple(self._value_at_step(number) for number in range(self.num_values))
        if most == 1:
            return (self.from_unit(0.5),)
        shares = [number / (most - 1) for number in range(most)]
        if self.step is not None:
            assert self.num_values is not None
            return tuple(dict.fromkeys(self._value_at_step(round(share * (self.num_values - 1))) for share in shares))
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        between = [low + share * (high - low) for share in shares]
        return tuple(dict.fromkeys(self.round_value(math.exp(each) if self.log else each) for each in between))

    def _value_at_step(self, number: int) -> float | int:
        return self.round_value(self.low + number * (self.step or 1))

    def _bounds(self) -> tuple[float, float]:
        """Return the bounds for interpolation.

        They are half a unit wider for integers, so that all are equally likely.
        """
        room = 0.5 if self.integer else 0.0
        low, high = self.low - room, self.high + room
        return (math.log(low), math.log(high)) if self.log else (low, high)


@dataclass(frozen=True)
class Choice(Distribution):
    """Describe unordered values."""

    choices: tuple[Any, ...]

    def from_unit(self, position: float) -> Any:
        return self.choices[min(int(position * len(self.choices)), len(self.choices) - 1)]

    def to_unit(self, value: Any) -> float:
        return (self.choices.index(value) + 0.5) / len(self.choices)

    def neighbor(self, position: float, distance: float, generator: np.random.Generator) -> float:
        return float(generator.random())  # choices have no distance

    def grid(self, most: int) -> tuple[Any, ...]:
        return self.choices


def to_distribution(searched: SearchSpec) -> Range | Choice:
    """Convert one entry of `tuning.space` to a distribution."""
    if isinstance(searched, Choices):
        return Choice(searched.choices)
    if isinstance(searched, LogRange):
        return _to_range(searched.log, log=True)
    if isinstance(searched, StepRange):
        return _to_range(searched.range, step=searched.step)
    return _to_range(searched) if is_range(searched) else Choice(searched)


def to_search_space(space: Mapping[str, SearchSpec]) -> dict[str, Range | Choice]:
    """Convert `tuning.space` to one distribution per key."""
    return {key: to_distribution(searched) for key, searched in space.items()}


def _to_range(ends: tuple[Any, ...], log: bool = False, step: float | None = None) -> Range:
    low, high = ends
    return Range(low, high, log, all(isinstance(value, int) for value in (low, high, step or 1)), step)
