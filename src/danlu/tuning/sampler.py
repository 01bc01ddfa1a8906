"""Samplers of a hyperparameter search: random, grid, genetic and Bayesian.

A sampler is a function of the space, the past trials and a seed, without state of its own: a search that resumes
after it was killed tries the same values.
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
from danlu.tuning.axes import Distribution, Choice, Range

SearchSpace = Mapping[str, Range | Choice]


@dataclass(frozen=True)
class CompletedTrial:
    """Hold the values and the cost of a finished trial.

    Attributes:
        values: by key.
        cost: to be minimized; None if the trial failed.
    """

    values: Mapping[str, Any]
    cost: float | None


class Sampler(Component):
    """Propose the values of the next trial.

    Attributes:
        extra: danlu's extra that it needs.
    """

    extra: ClassVar[str | None] = None

    @abstractmethod
    def propose(self, axes: SearchSpace, past: Sequence[CompletedTrial], seed: Seed) -> dict[str, Any] | None:
        """Propose the values of the next trial; None if all have been tried.

        Args:
            axes: the search space.
            past: all finished trials in order.
            seed: of the search.
        """


class RandomSearch(Sampler):
    """Sample each value uniformly (Bergstra & Bengio 2012, https://jmlr.org/papers/v13/bergstra12a.html)."""

    name: Literal["random"] = "random"

    def propose(self, axes: SearchSpace, past: Sequence[CompletedTrial], seed: Seed) -> dict[str, Any]:
        return sample_uniform(axes, seed.derive("random", len(past)))


class Grid(Sampler):
    """Try every combination of evenly spaced values, in a random order."""

    name: Literal["grid"] = "grid"
    points: PositiveInt = Field(default=5, description="values per range; choices are all tried")

    def propose(self, axes: SearchSpace, past: Sequence[CompletedTrial], seed: Seed) -> dict[str, Any] | None:
        lines = {key: axis.grid(self.points) for key, axis in axes.items()}
        size = prod(len(line) for line in lines.values())
        if len(past) >= size:
            return None
        number, values = _permuted_index(size, len(past), seed.derive("grid")), {}
        for key, line in lines.items():
            number, place = divmod(number, len(line))
            values[key] = line[place]
        return values


def _permuted_index(size: int, place: int, seed: Seed) -> int:
    """Return element `place` of a random permutation of `size` numbers, without building all of it.

    Fisher-Yates shuffle up to that element.
    """
    moved: dict[int, int] = {}
    for at in range(place + 1):
        taken = at + seed.derive(at).value % (size - at)
        moved[at], moved[taken] = moved.get(taken, taken), moved.get(at, at)
    return moved[place]


def sample_uniform(axes: SearchSpace, seed: Seed) -> dict[str, Any]:
    """Sample each key uniformly and independently of the other keys."""
    return {key: axis.from_unit(_draw_unit(seed.derive(key))) for key, axis in axes.items()}


def to_unit_vector(axes: Mapping[str, Distribution], values: Mapping[str, Any]) -> np.ndarray:
    """Map values to positions in [0, 1], [keys]."""
    return np.array([axis.to_unit(values[key]) for key, axis in axes.items()])


def _draw_unit(seed: Seed) -> float:
    return float(np.random.default_rng(seed.value).random())
