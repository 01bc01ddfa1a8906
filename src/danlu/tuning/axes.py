"""One axis of a search for each key: a range or choices, as positions from 0 to 1.

In: what a recipe says of a key. Out: axes that turn a position into a value and back.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.recipe.searching import Choices, LogRange, Searched, StepRange, is_range

DIGITS = 6  # of a number that is tried; more would only make recipes hard to read


class Axis(ABC):
    """The values of one key."""

    @abstractmethod
    def at(self, position: float) -> Any:
        """The value at a position in [0, 1]; even positions give values that are even on the axis."""

    @abstractmethod
    def place(self, value: Any) -> float:
        """A position that gives the value."""

    @abstractmethod
    def near(self, position: float, distance: float, generator: np.random.Generator) -> float:
        """Another position, about as far away as the deviation `distance` says."""

    @abstractmethod
    def points(self, most: int) -> tuple[Any, ...]:
        """The values of a grid: evenly spread, at most so many of a range, every choice."""


@dataclass(frozen=True)
class Range(Axis):
    """Numbers between two ends, both included.

    Attributes:
        log: even in the logarithm.
        whole: only whole numbers.
        step: only every so far from `low`.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    step: float | None = None

    @property
    def count(self) -> int | None:
        """How many values there are; None of a continuum."""
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
        """A value of the axis, written shortly."""
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
        moved = abs(position + distance * generator.normal())  # what goes beyond an end comes back from it
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
        """Between which positions go; each whole number has as much room as its neighbours."""
        room = 0.5 if self.whole else 0.0
        low, high = self.low - room, self.high + room
        return (math.log(low), math.log(high)) if self.log else (low, high)


@dataclass(frozen=True)
class Choice(Axis):
    """Values that have no order."""

    choices: tuple[Any, ...]

    def at(self, position: float) -> Any:
        return self.choices[min(int(position * len(self.choices)), len(self.choices) - 1)]

    def place(self, value: Any) -> float:
        return (self.choices.index(value) + 0.5) / len(self.choices)

    def near(self, position: float, distance: float, generator: np.random.Generator) -> float:
        return float(generator.random())  # no choice is nearer than another

    def points(self, most: int) -> tuple[Any, ...]:
        return self.choices


def axis_of(searched: Searched) -> Range | Choice:
    """The axis that a recipe describes."""
    if isinstance(searched, Choices):
        return Choice(searched.choices)
    if isinstance(searched, LogRange):
        return _range(searched.log, log=True)
    if isinstance(searched, StepRange):
        return _range(searched.range, step=searched.step)
    return _range(searched) if is_range(searched) else Choice(searched)


def axes_of(space: Mapping[str, Searched]) -> dict[str, Range | Choice]:
    """An axis for each key."""
    return {key: axis_of(searched) for key, searched in space.items()}


def _range(ends: tuple[Any, ...], log: bool = False, step: float | None = None) -> Range:
    low, high = ends
    return Range(low, high, log, all(isinstance(value, int) for value in (low, high, step or 1)), step)
