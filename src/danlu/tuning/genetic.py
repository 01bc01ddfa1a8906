"""Genetic search: cross the best trials and mutate the result."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from danlu.core.seeds import Seed
from danlu.tuning.sampler import SearchSpace, CompletedTrial, Sampler, sample_uniform, to_unit_vector

MUTATION_STD = 0.15  # standard deviation of a mutation, in the unit interval


class Genetic(Sampler):
    """Cross the best trials and mutate the child: a steady-state genetic algorithm (Whitley 1989).

    Two parents are chosen by tournament from the `population` best trials. Each value comes from one parent and is
    mutated with probability one half.
    """

    name: Literal["genetic"] = "genetic"
    population: Annotated[int, Field(ge=2)] = 6

    def propose(self, axes: SearchSpace, past: Sequence[CompletedTrial], seed: Seed) -> dict[str, Any]:
        own = seed.derive("genetic", len(past))
        living = [known for known in past if known.cost is not None]
        if len(past) < self.population or len(living) < 2:
            return sample_uniform(axes, own)
        living = sorted(living, key=lambda known: known.cost or 0.0)[: self.population]
        generator = np.random.default_rng(own.value)
        mother, father = (to_unit_vector(axes, living[self._tournament(len(living), generator)].values) for _ in range(2))
        child = np.where(generator.random(len(axes)) < 0.5, mother, father)
        changed = generator.random(len(axes)) < 0.5
        changed[generator.integers(len(axes))] = True  # a copy of a parent would add no information
        return {
            key: axis.from_unit(axis.neighbor(float(at), MUTATION_STD, generator) if moved else float(at))
            for (key, axis), at, moved in zip(axes.items(), child, changed, strict=True)
        }

    @staticmethod
    def _tournament(count: int, generator: np.random.Generator) -> int:
        """Return the better of two random trials, numbered from best to worst."""
        return int(min(generator.integers(count, size=2)))
