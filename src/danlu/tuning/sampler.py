"""What a strategy of a search is, and the two that learn nothing from earlier trials.

A strategy is a function of the space, the trials so far and a seed, with no state of its own: a search that goes on
after it was killed comes to the same trials.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt

from danlu.core.component import Component
from danlu.core.seeds import Seed
from danlu.tuning.axes import Axis, Choice, Range

Axes = Mapping[str, Range | Choice]


@dataclass(frozen=True)
class Known:
    """A trial as a strategy sees it.

    Attributes:
        values: by key.
        cost: what is to be small; None where the trial failed.
    """

    values: Mapping[str, Any]
    cost: float | None


class Sampler(Component):
    """Says what is tried next.

    Attributes:
        extra: of danlu's, that it needs.
    """

    extra: ClassVar[str | None] = None

    @abstractmethod
    def propose(self, axes: Axes, past: Sequence[Known], seed: Seed) -> dict[str, Any] | None:
        """The values of the next trial; None where everything has been tried.

        Args:
            axes: the space.
            past: all trials so far, in their order.
            seed: of the search.
        """


class RandomSearch(Sampler):
    """Draws each value evenly from its range (Bergstra & Bengio 2012)."""

    name: Literal["random"] = "random"

    def propose(self, axes: Axes, past: Sequence[Known], seed: Seed) -> dict[str, Any]:
        return drawn(axes, seed.derive("random", len(past)))


class Grid(Sampler):
    """Tries every combination of evenly spread values, in an order drawn by the seed."""

    name: Literal["grid"] = "grid"
    points: PositiveInt = Field(default=5, description="of a range; choices are all tried")

    def propose(self, axes: Axes, past: Sequence[Known], seed: Seed) -> dict[str, Any] | None:
        lines = {key: axis.points(self.points) for key, axis in axes.items()}
        size = prod(len(line) for line in lines.values())
        if len(past) >= size:
            return None
        number, values = _shuffled(size, len(past), seed.derive("grid")), {}
        for key, line in lines.items():
            number, place = divmod(number, len(line))
            values[key] = line[place]
        return values


def _shuffled(size: int, place: int, seed: Seed) -> int:
    """The number at a place of a permutation, however large, of which only the part before it is made."""
    moved: dict[int, int] = {}
    for at in range(place + 1):
        taken = at + seed.derive(at).value % (size - at)
        moved[at], moved[taken] = moved.get(taken, taken), moved.get(at, at)
    return moved[place]


def drawn(axes: Axes, seed: Seed) -> dict[str, Any]:
    """Values drawn evenly from each axis, whatever others there are."""
    return {key: axis.at(_uniform(seed.derive(key))) for key, axis in axes.items()}


def positions(axes: Mapping[str, Axis], values: Mapping[str, Any]) -> np.ndarray:
    """Where values lie on their axes, [keys]."""
    return np.array([axis.place(values[key]) for key, axis in axes.items()])


def _uniform(seed: Seed) -> float:
    return float(np.random.default_rng(seed.value).random())
