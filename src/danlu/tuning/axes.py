"""The search space: one distribution per key, mapped to the unit interval.

In: the `tuning.space` of a recipe. Out: distributions that map a position in [0, 1] to a value and back.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.recipe.searching import Choices, LogRange, Searched, StepRange, is_range

DIGITS = 6  # of sampled numbers; more would only make recipes hard to read


class Axis(ABC):
    """Describe the possible values of one key."""

    @abstractmethod
    def at(self, position: float) -> Any:
        """Map a position in [0, 1] to a value; uniform positions give uniform values."""

    @abstractmethod
    def place(self, value: Any) -> float:
        """Map a value to a position in [0, 1]."""

    @abstractmethod
    def near(self, position: float, distance: float, generator: np.random.Generator) -> float:
        """Return a nearby position; `distance` is the standard deviation of the move."""

    @abstractmethod
    def points(self, most: int) -> tuple[Any, ...]:
        """Return the values of a grid: at most `most` evenly spaced numbers, or all choices."""


@dataclass(frozen=True)
class Range(Axis):
    """Describe numbers between two bounds, both included.

    Attributes:
        log: uniform in the logarithm.
        whole: integers only.
        step: only multiples of this above `low`.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    step: float | None = None

    @property
    def count(self) -> int | None:
        """Number of values; None if continuous."""
        if self.step is not None:
            return math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return int(self.high - self.low) + 1 if self.whole else None

    def at(self, position: float) -> float | int:
        if self.step is not None or (self.whole and not self.log):
            assert self.count is not None
            return self._stepped(min(int(position * self.count), self.count - 1))
        low, high = self._bounds()
        found = math.exp(low + position * (high - low)) if self.log else low + position * (high - low)
        return self.tidy(found)

    def tidy(self, value: float) -> float | int:
        """Round a number and clip it to the range."""
        if self.whole:
            return int(min(max(round(value), self.low), self.high))
        return float(min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high))

    def place(self, value: Any) -> float:
        if self.step is not None or (self.whole and not self.log):
            assert self.count is not None
            return (round(float(value - self.low) / (self.step or 1)) + 0.5) / self.count
        low, high = self._bounds()
        return float(((math.log(value) if self.log else value) - low) / (high - low))

    def near(self, position: float, distance: float, generator: np.random.Generator) -> float:
        moved = abs(position + distance * generator.normal())  # reflected at the bounds
        return float(min(max(1 - abs(1 - moved), 0.0), 1.0))

    def points(self, most: int) -> tuple[Any, ...]:
        if self.count is not None and self.count <= most and not self.log:
            return tuple(self._stepped(number) for number in range(self.count))
        if most == 1:
            return (self.at(0.5),)
        shares = [number / (most - 1) for number in range(most)]
        if self.step is not None:
            assert self.count is not None
            return tuple(dict.fromkeys(self._stepped(round(share * (self.count - 1))) for share in shares))
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        between = [low + share * (high - low) for share in shares]
        return tuple(dict.fromkeys(self.tidy(math.exp(each) if self.log else each) for each in between))

    def _stepped(self, number: int) -> float | int:
        return self.tidy(self.low + number * (self.step or 1))

    def _bounds(self) -> tuple[float, float]:
        """Return the bounds for interpolation.

        They are half a unit wider for integers, so that all are equally likely.
        """
        room = 0.5 if self.whole else 0.0
        low, high = self.low - room, self.high + room
        return (math.log(low), math.log(high)) if self.log else (low, high)


@dataclass(frozen=True)
class Choice(Axis):
    """Describe unordered values."""

    choices: tuple[Any, ...]

    def at(self, position: float) -> Any:
        return self.choices[min(int(position * len(self.choices)), len(self.choices) - 1)]

    def place(self, value: Any) -> float:
        return (self.choices.index(value) + 0.5) / len(self.choices)

    def near(self, position: float, distance: float, generator: np.random.Generator) -> float:
        return float(generator.random())  # choices have no distance

    def points(self, most: int) -> tuple[Any, ...]:
        return self.choices


def axis_of(searched: Searched) -> Range | Choice:
    """Convert one entry of `tuning.space` to a distribution."""
    if isinstance(searched, Choices):
        return Choice(searched.choices)
    if isinstance(searched, LogRange):
        return _range(searched.log, log=True)
    if isinstance(searched, StepRange):
        return _range(searched.range, step=searched.step)
    return _range(searched) if is_range(searched) else Choice(searched)


def axes_of(space: Mapping[str, Searched]) -> dict[str, Range | Choice]:
    """Convert `tuning.space` to one distribution per key."""
    return {key: axis_of(searched) for key, searched in space.items()}


def _range(ends: tuple[Any, ...], log: bool = False, step: float | None = None) -> Range:
    low, high = ends
    return Range(low, high, log, all(isinstance(value, int) for value in (low, high, step or 1)), step)
