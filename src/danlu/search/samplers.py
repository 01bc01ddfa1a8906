"""Samplers of a hyperparameter search: random, grid, genetic and Bayesian.

A sampler is a function of the space, the past trials and a seed, without state of its own: a search that resumes
after it was killed tries the same values.
"""

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveInt

from danlu.core.imports import silence_libraries
from danlu.core.seeds import Seed
from danlu.recipe.components import SamplerOptions
from danlu.search.space import Choice, Distribution, Range

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

SearchSpace = Mapping[str, Range | Choice]
Method = Literal["gp", "tpe"]
MUTATION_STD = 0.15  # standard deviation of a mutation, in the unit interval


@dataclass(frozen=True)
class CompletedTrial:
    """Hold the values and the cost of a finished trial.

    Attributes:
        values: by key.
        cost: to be minimized; None if the trial failed.
    """

    values: Mapping[str, Any]
    cost: float | None


class Sampler(SamplerOptions):
    """Propose the values of the next trial.

    Example:
        >>> import danlu
        >>> class Middle(danlu.Sampler):
        ...     name: str = "middle"
        ...     def propose(self, space, past, seed):
        ...         return {key: axis.from_unit(0.5) for key, axis in space.items()} if not past else None
        >>> Middle().propose({}, [], None)
        {}
    """

    @abstractmethod
    def propose(self, space: SearchSpace, past: Sequence[CompletedTrial], seed: Seed) -> dict[str, Any] | None:
        """Propose the values of the next trial; None if all have been tried.

        Args:
            space: the search space.
            past: all finished trials in order.
            seed: of the search.
        """


class RandomSearch(Sampler):
    """Sample each value uniformly (Bergstra & Bengio 2012, https://jmlr.org/papers/v13/bergstra12a.html)."""

    name: Literal["random"] = "random"

    def propose(self, space: SearchSpace, past: Sequence[CompletedTrial], seed: Seed) -> dict[str, Any]:
        return sample_uniform(space, seed.derive("random", len(past)))


class Grid(Sampler):
    """Try every combination of evenly spaced values, in a random order."""

    name: Literal["grid"] = "grid"
    points: PositiveInt = Field(default=5, description="values per range; choices are all tried")

    def propose(self, space: SearchSpace, past: Sequence[CompletedTrial], seed: Seed) -> dict[str, Any] | None:
        lines = {key: distribution.grid(self.points) for key, distribution in space.items()}
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


def sample_uniform(space: SearchSpace, seed: Seed) -> dict[str, Any]:
    """Sample each key uniformly and independently of the other keys."""
    return {key: distribution.from_unit(_draw_unit(seed.derive(key))) for key, distribution in space.items()}


def to_unit_vector(space: Mapping[str, Distribution], values: Mapping[str, Any]) -> np.ndarray:
    """Map values to positions in [0, 1], [keys]."""
    return np.array([distribution.to_unit(values[key]) for key, distribution in space.items()])


def _draw_unit(seed: Seed) -> float:
    return float(np.random.default_rng(seed.value).random())


class Genetic(Sampler):
    """Cross the best trials and mutate the child: a steady-state genetic algorithm (Whitley 1989).

    Two parents are chosen by tournament from the `population` best trials. Each value comes from one parent and is
    mutated with probability one half.
    """

    name: Literal["genetic"] = "genetic"
    population: Annotated[int, Field(ge=2)] = 6

    def propose(self, space: SearchSpace, past: Sequence[CompletedTrial], seed: Seed) -> dict[str, Any]:
        own = seed.derive("genetic", len(past))
        living = [trial for trial in past if trial.cost is not None]
        if len(past) < self.population or len(living) < 2:
            return sample_uniform(space, own)
        living = sorted(living, key=lambda trial: trial.cost or 0.0)[: self.population]
        generator = np.random.default_rng(own.value)
        mother, father = (
            to_unit_vector(space, living[self._tournament(len(living), generator)].values) for _ in range(2)
        )
        child = np.where(generator.random(len(space)) < 0.5, mother, father)
        changed = generator.random(len(space)) < 0.5
        changed[generator.integers(len(space))] = True  # a copy of a parent would add no information
        return {
            key: distribution.from_unit(
                distribution.neighbor(float(at), MUTATION_STD, generator) if moved else float(at)
            )
            for (key, distribution), at, moved in zip(space.items(), child, changed, strict=True)
        }

    @staticmethod
    def _tournament(count: int, generator: np.random.Generator) -> int:
        """Return the better of two random trials, numbered from best to worst."""
        return int(min(generator.integers(count, size=2)))


class Bayesian(Sampler):
    """Try values with the highest expected improvement under a model of past trials.

    `gp` is a Gaussian process (Jones et al. 1998, https://doi.org/10.1023/A:1008306431147), best with few trials;
    `tpe` models the densities of good and bad values (Bergstra et al. 2011) and stays fast over many hundreds. Very
    bad costs are clipped, so that they do not hide the differences between good ones; a failed trial counts as the
    worst.
    """

    name: Literal["bayesian"] = "bayesian"
    extra: ClassVar[str | None] = "tuning"
    method: Method = "gp"
    startup: PositiveInt = Field(default=6, description="random trials before the model is used")

    def propose(self, space: SearchSpace, past: Sequence[CompletedTrial], seed: Seed) -> dict[str, Any]:
        own = seed.derive("bayesian", len(past))
        costs = [trial.cost for trial in past if trial.cost is not None]
        if len(past) < self.startup or not costs:
            return sample_uniform(space, own)
        most = min(max(costs), 2 * median(costs) - min(costs))
        return _ask_optuna(self.method, space, [(trial.values, _clip_cost(trial.cost, most)) for trial in past], own)


def _clip_cost(cost: float | None, most: float) -> float:
    return most if cost is None else min(cost, most)


def _ask_optuna(
    method: Method, space: SearchSpace, past: Sequence[tuple[Mapping[str, Any], float]], seed: Seed
) -> dict[str, Any]:
    """Ask optuna for the next values, using a new study with all past trials."""
    import optuna

    spread = {key: _optuna_distribution(distribution) for key, distribution in space.items()}
    with silence_libraries(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna marks some of its samplers experimental
        study = optuna.create_study(sampler=_optuna_sampler(method, seed.value % 2**32))
        for values, cost in past:
            study.add_trial(
                optuna.trial.create_trial(
                    params={key: _to_optuna(space[key], value) for key, value in values.items()},
                    distributions=spread,
                    value=cost,
                )
            )
        found = study.ask(spread).params
    return {key: _from_optuna(distribution, found[key]) for key, distribution in space.items()}


def _optuna_sampler(method: Method, seed: int) -> "BaseSampler":
    from optuna.samplers import GPSampler, TPESampler

    # `propose` decides which trials are random.
    return GPSampler(seed=seed, n_startup_trials=1) if method == "gp" else TPESampler(seed=seed, n_startup_trials=1)


def _optuna_distribution(distribution: Range | Choice) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, Choice):
        return CategoricalDistribution(tuple(range(len(distribution.choices))))
    if distribution.step is not None:
        return IntDistribution(0, (distribution.num_values or 1) - 1)
    if distribution.integer:
        return IntDistribution(int(distribution.low), int(distribution.high), log=distribution.log)
    return FloatDistribution(distribution.low, distribution.high, log=distribution.log)


def _to_optuna(distribution: Range | Choice, value: Any) -> Any:
    """Encode a value for optuna: choices and steps by their index."""
    if isinstance(distribution, Choice):
        return distribution.choices.index(value)
    return value if distribution.step is None else round((value - distribution.low) / distribution.step)


def _from_optuna(distribution: Range | Choice, told: Any) -> Any:
    if isinstance(distribution, Choice):
        return distribution.choices[told]
    return distribution.round_value(told if distribution.step is None else distribution.low + told * distribution.step)


SAMPLERS: dict[str, type[Sampler]] = {
    "bayesian": Bayesian,
    "random": RandomSearch,
    "grid": Grid,
    "genetic": Genetic,
}
