"""Strategies of a search alone: what they propose for a space, of which nothing is trained."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from danlu.core.imports import missing_packages
from danlu.core.seeds import Seed
from danlu.recipe.sections.tuning import Choices, LogRange, SearchSpec, StepRange
from danlu.search.samplers import SAMPLERS, CompletedTrial, Sampler
from danlu.search.space import Distribution, to_distribution, to_search_space

SPACE: dict[str, SearchSpec] = {
    "lr": LogRange(log=(1e-5, 1e-1)),
    "dropout": (0.0, 0.5),
    "width": LogRange(log=(4, 256)),
    "batch": StepRange(range=(16, 64), step=16),
    "depth": (1, 4),
    "model": Choices(choices=({"name": "mlp", "hidden": [8]}, "tabm", 3)),
    "scale": ("standard", "robust"),
}
ALL = sorted(SAMPLERS)
SHARE = st.floats(0, 1, exclude_max=True)
# Tests share a machine, so time says nothing.
UNHURRIED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NEEDS_OPTUNA = pytest.mark.skipif(bool(missing_packages("tuning")), reason="no optuna here")
EACH = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=NEEDS_OPTUNA if name == "bayesian" else ()) for name in ALL]
)


def sampler(name: str, **options: Any) -> Sampler:
    found = SAMPLERS[name].model_validate({"name": name, **options})
    assert isinstance(found, Sampler)
    return found


def searched(
    name: str, space: dict[str, SearchSpec], cost: Any, trials: int, seed: int, **options: Any
) -> list[CompletedTrial]:
    axes, past = to_search_space(space), list[CompletedTrial]()
    for _ in range(trials):
        values = sampler(name, **options).propose(axes, past, Seed(seed))
        if values is None:
            break
        past.append(CompletedTrial(values, cost(values)))
    return past


def within(key: str, value: Any) -> bool:
    among = SPACE[key]
    if isinstance(among, LogRange):
        whole = isinstance(among.log[0], int)
        return among.log[0] <= value <= among.log[1] and isinstance(value, int if whole else float)
    if isinstance(among, StepRange):
        return value in (16, 32, 48, 64)
    if isinstance(among, Choices):
        return value in among.choices
    if key == "depth":
        return value in (1, 2, 3, 4) and isinstance(value, int)
    return value in among if key == "scale" else among[0] <= value <= among[1]


def bowl(values: Any) -> float:
    return float((math.log10(values["lr"]) + 2.5) ** 2 + 4 * (values["dropout"] - 0.3) ** 2)


@pytest.mark.training
@EACH
def test_what_is_proposed_lies_in_the_space(name: str) -> None:
    past = searched(name, SPACE, bowl, 14, seed=3)
    assert len(past) == 14
    assert all(within(key, value) for known in past for key, value in known.values.items())
    assert all(list(known.values) == list(SPACE) for known in past)


@pytest.mark.training
@EACH
def test_a_proposal_depends_on_the_seed_and_on_the_trials_so_far_alone(name: str) -> None:
    past = searched(name, SPACE, bowl, 11, seed=5)
    again = sampler(name).propose(to_search_space(SPACE), past[:10], Seed(5))
    assert again == past[10].values
    assert searched(name, SPACE, bowl, 3, seed=6)[0].values != past[0].values


@pytest.mark.training
@EACH
def test_failed_trials_do_not_end_a_search(name: str) -> None:
    assert len(searched(name, SPACE, lambda values: None, 12, seed=1)) == 12
    halves = searched(name, SPACE, lambda values: None if values["lr"] > 1e-3 else bowl(values), 12, seed=1)
    assert len(halves) == 12


@pytest.mark.training
@NEEDS_OPTUNA
def test_bayesian_search_keeps_away_from_what_fails() -> None:
    space: dict[str, SearchSpec] = {"lr": LogRange(log=(1e-5, 1e1)), "dropout": (0.0, 0.5)}
    past = searched("bayesian", space, lambda values: None if values["lr"] > 1e-2 else bowl(values), 20, seed=0)
    assert sum(known.cost is None for known in past[10:]) <= 3


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6), position=SHARE)
@UNHURRIED
def test_any_position_of_a_range_is_within_it(low: float, width: float, position: float) -> None:
    ends = (low, low + width)
    assert ends[0] <= to_distribution(ends).from_unit(position) <= ends[1]


@given(low=st.floats(1e-9, 1e3), factor=st.floats(1.01, 1e6), position=SHARE, log=st.booleans())
@UNHURRIED
def test_a_value_has_a_place_that_gives_it_back(low: float, factor: float, position: float, log: bool) -> None:
    ends = (low, low * factor)
    axis = to_distribution(LogRange(log=ends) if log else ends)
    value = axis.from_unit(position)
    assert ends[0] <= value <= ends[1]
    assert axis.from_unit(axis.to_unit(value)) == pytest.approx(value, rel=1e-4, abs=1e-5 * low * factor)


@given(
    low=st.integers(1, 1000),
    width=st.integers(1, 1000),
    step=st.integers(1, 50),
    position=SHARE,
)
@UNHURRIED
def test_whole_numbers_stay_whole_and_keep_their_steps(low: int, width: int, step: int, position: float) -> None:
    forms: tuple[SearchSpec, ...] = ((low, low + width), LogRange(log=(low, low + width)))
    for axis in (*map(to_distribution, forms), to_distribution(StepRange(range=(low, low + width), step=step))):
        value = axis.from_unit(position)
        assert isinstance(value, int) and low <= value <= low + width
        assert axis.from_unit(axis.to_unit(value)) == value
    assert (to_distribution(StepRange(range=(low, low + width), step=step)).from_unit(position) - low) % step == 0


def test_each_whole_number_is_as_likely_as_the_next() -> None:
    axis = to_distribution((1, 4))
    drawn = [axis.from_unit(position) for position in np.linspace(0, 1, 4000, endpoint=False)]
    assert {drawn.count(value) for value in (1, 2, 3, 4)} == {1000}


def test_a_log_range_is_drawn_evenly_in_its_logarithm() -> None:
    past = searched("random", {"lr": LogRange(log=(1e-5, 1e-1))}, lambda values: 0.0, 400, seed=2)
    shares = [(math.log10(known.values["lr"]) + 5) / 4 for known in past]
    assert kstest(shares, "uniform").pvalue > 0.01


def test_other_keys_do_not_change_what_is_drawn_for_one() -> None:
    alone = searched("random", {"dropout": (0.0, 0.5)}, bowl_of_none, 5, seed=4)
    beside = searched("random", SPACE, bowl_of_none, 5, seed=4)
    assert [known.values["dropout"] for known in alone] == [known.values["dropout"] for known in beside]


def bowl_of_none(values: Any) -> float:
    return 0.0


def test_a_grid_tries_each_combination_once_and_then_ends() -> None:
    space: dict[str, SearchSpec] = {"lr": LogRange(log=(1e-4, 1e-1)), "depth": (1, 3), "scale": ("a", "b")}
    past = searched("grid", space, bowl_of_none, 100, seed=0, points=4)
    assert len(past) == 4 * 3 * 2
    assert len({tuple(known.values.items()) for known in past}) == 24
    rates = sorted({known.values["lr"] for known in past})
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    # An order drawn by the seed: a search that ends early has seen all parts of the space.
    assert {known.values["scale"] for known in past[:8]} == {"a", "b"}


def test_a_grid_of_astronomical_size_costs_nothing() -> None:
    space: dict[str, SearchSpec] = {f"x{number}": (0.0, 1.0) for number in range(30)}
    past = searched("grid", space, bowl_of_none, 3, seed=0, points=100)
    assert len({tuple(known.values.items()) for known in past}) == 3


@pytest.mark.parametrize(
    ("searched", "most", "points"),
    [
        ((0.0, 1.0), 3, (0.0, 0.5, 1.0)),
        ((0.0, 1.0), 1, (0.5,)),
        ((1, 3), 5, (1, 2, 3)),
        ((1, 100), 3, (1, 50, 100)),
        (LogRange(log=(1, 100)), 3, (1, 10, 100)),
        (StepRange(range=(16, 100), step=16), 9, (16, 32, 48, 64, 80, 96)),
        (StepRange(range=(16, 100), step=16), 2, (16, 96)),
        (Choices(choices=(1, 2, 3)), 2, (1, 2, 3)),
    ],
)
def test_a_grids_points_are_evenly_spread(searched: SearchSpec, most: int, points: tuple[Any, ...]) -> None:
    axis: Distribution = to_distribution(searched)
    assert axis.grid(most) == points


def branin(values: Any) -> float:
    """Branin & Hoo 1972, less its minimum."""
    x, y = values["x"], values["y"]
    valley = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return float(valley + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887)


def nearest(name: str, trials: int, seeds: int, **options: Any) -> float:
    """The median over seeds of the least cost found."""
    space: dict[str, SearchSpec] = {"x": (-5.0, 10.0), "y": (0.0, 15.0)}
    found = [searched(name, space, branin, trials, seed, **options) for seed in range(seeds)]
    return float(np.median([min(known.cost for known in past if known.cost is not None) for past in found]))


@pytest.mark.slow
@NEEDS_OPTUNA
def test_bayesian_search_comes_nearer_to_the_optimum_than_random_search() -> None:
    assert nearest("bayesian", 20, seeds=5) < nearest("random", 20, seeds=5) / 5
    assert nearest("bayesian", 40, seeds=9, method="tpe") < nearest("random", 40, seeds=9)


def test_genetic_search_comes_nearer_to_the_optimum_than_random_search() -> None:
    assert nearest("genetic", 60, seeds=15) < nearest("random", 60, seeds=15) / 2


def test_genetic_search_never_repeats_its_parents() -> None:
    past = searched("genetic", {"x": (-5.0, 10.0), "y": (0.0, 15.0)}, branin, 30, seed=0)
    values = [tuple(known.values.items()) for known in past]
    assert len(set(values)) == 30 and all(one != other for one, other in pairwise(values))
