"""Bayesian search by a surrogate model of past trials. Needs optuna."""

import warnings
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveInt

from danlu.core.quiet import silence_libraries
from danlu.core.seeds import Seed
from danlu.tuning.axes import Choice, Range
from danlu.tuning.sampler import SearchSpace, CompletedTrial, Sampler, sample_uniform

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

Method = Literal["gp", "tpe"]


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

    def propose(self, axes: SearchSpace, past: Sequence[CompletedTrial], seed: Seed) -> dict[str, Any]:
        own = seed.derive("bayesian", len(past))
        costs = [known.cost for known in past if known.cost is not None]
        if len(past) < self.startup or not costs:
            return sample_uniform(axes, own)
        most = min(max(costs), 2 * median(costs) - min(costs))
        return _ask_optuna(self.method, axes, [(known.values, _clip_cost(known.cost, most)) for known in past], own)


def _clip_cost(cost: float | None, most: float) -> float:
    return most if cost is None else min(cost, most)


def _ask_optuna(method: Method, axes: SearchSpace, past: Sequence[tuple[Mapping[str, Any], float]], seed: Seed) -> dict[str, Any]:
    """Ask optuna for the next values, using a new study with all past trials."""
    import optuna

    spread = {key: _optuna_distribution(axis) for key, axis in axes.items()}
    with silence_libraries(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna marks some of its samplers experimental
        study = optuna.create_study(sampler=_optuna_sampler(method, seed.value % 2**32))
        for values, cost in past:
            study.add_trial(
                optuna.trial.create_trial(
                    params={key: _to_optuna(axes[key], value) for key, value in values.items()},
                    distributions=spread,
                    value=cost,
                )
            )
        found = study.ask(spread).params
    return {key: _from_optuna(axis, found[key]) for key, axis in axes.items()}


def _optuna_sampler(method: Method, seed: int) -> "BaseSampler":
    from optuna.samplers import GPSampler, TPESampler

    # `propose` decides which trials are random.
    return GPSampler(seed=seed, n_startup_trials=1) if method == "gp" else TPESampler(seed=seed, n_startup_trials=1)


def _optuna_distribution(axis: Range | Choice) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(axis, Choice):
        return CategoricalDistribution(tuple(range(len(axis.choices))))
    if axis.step is not None:
        return IntDistribution(0, (axis.num_values or 1) - 1)
    if axis.integer:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _to_optuna(axis: Range | Choice, value: Any) -> Any:
    """Encode a value for optuna: choices and steps by their index."""
    if isinstance(axis, Choice):
        return axis.choices.index(value)
    return value if axis.step is None else round((value - axis.low) / axis.step)


def _from_optuna(axis: Range | Choice, told: Any) -> Any:
    if isinstance(axis, Choice):
        return axis.choices[told]
    return axis.round_value(told if axis.step is None else axis.low + told * axis.step)
