"""Shapley values of games: exact ones against their definition, estimated ones against exact ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.explanation.coalitions import all_coalitions, draw_pairs, num_pairs
from danlu.explanation.games import Game, interventional_value
from danlu.explanation.shapley import ESTIMATORS, choose_estimator, enumerate_all, estimate_with, shapley_values
from tests.explanation.games import by_orders, interactions, table_game

EVERY = pytest.mark.parametrize("name", list(ESTIMATORS))


@given(st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_all_coalitions_give_the_mean_gain_over_all_orders(players: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(2**players)
    found = enumerate_all(table_game(values))
    assert np.allclose(found.values, by_orders(values), atol=1e-12)
    assert found.exact and found.calls == 2**players


@EVERY
@given(seed=st.integers(0, 10**6), players=st.integers(4, 11), share=st.floats(0.0, 1.0))
@settings(max_examples=12, deadline=None)
def test_estimates_always_add_up_to_the_answer(name: str, seed: int, players: int, share: float) -> None:
    values = interactions(players, seed)
    calls = int(4 * players + 2 + share * 20 * players)
    found = estimate_with(ESTIMATORS[name], table_game(values), calls, Seed(seed))
    assert found.values.sum() == pytest.approx(values[-1] - values[0], abs=1e-9)
    assert found.calls <= calls
    assert (found.half_widths >= 0).all()


@EVERY
@given(seed=st.integers(0, 10**6), players=st.integers(4, 11))
@settings(max_examples=8, deadline=None)
def test_all_pairs_give_the_exact_values(name: str, seed: int, players: int) -> None:
    values = interactions(players, seed)
    found = estimate_with(ESTIMATORS[name], table_game(values), 2**players, Seed(0))
    assert np.allclose(found.values, enumerate_all(table_game(values)).values, atol=1e-8)
    assert found.exact


@EVERY
def test_a_sum_of_players_is_found_from_few_calls_and_with_narrow_intervals(name: str) -> None:
    parts = np.random.default_rng(1).standard_normal(20)
    game = Game(20, lambda coalitions: 3.0 + coalitions @ parts)
    found = estimate_with(ESTIMATORS[name], game, 200, Seed(0))
    assert np.allclose(found.values, parts, atol=1e-9)
    assert found.half_widths.max() < 1e-4


@EVERY
def test_a_player_that_changes_nothing_and_two_that_change_the_same_lie_in_their_intervals(name: str) -> None:
    members = all_coalitions(12, 0, 2**12)
    values = 2.0 * members[:, 0] + 2.0 * members[:, 1] + 3.0 * (members[:, 0] & members[:, 1] & members[:, 2])
    found = estimate_with(ESTIMATORS[name], table_game(values), 480, Seed(4))
    idle = np.abs(found.values[3:]) <= found.half_widths[3:]
    assert idle.mean() > 0.7
    assert abs(found.values[0] - found.values[1]) <= found.half_widths[:2].sum()


def test_players_in_another_order_have_the_same_exact_values() -> None:
    values, order = interactions(9, 5), np.random.default_rng(2).permutation(9)
    members = all_coalitions(9, 0, 2**9)
    moved = np.empty_like(values)
    moved[members @ (2 ** np.argsort(order))] = values  # player `order[i]` is called i
    first, second = enumerate_all(table_game(values)), enumerate_all(table_game(moved))
    assert np.allclose(second.values, first.values[order])


def test_the_odd_kernel_needs_fewer_calls_than_paired_kernel_shap() -> None:
    ratios = []
    for seed in range(5):
        values = interactions(12, seed)
        exact = enumerate_all(table_game(values)).values
        errors = {
            name: np.mean((estimate_with(each, table_game(values), 240, Seed(seed)).values - exact) ** 2)
            for name, each in ESTIMATORS.items()
        }
        ratios.append(errors["odd"] / errors["paired-kernel"])
    assert np.median(ratios) < 0.5


def test_the_same_seed_gives_the_same_values_and_another_one_others() -> None:
    values = interactions(13, 3)
    first, again, other = (shapley_values(table_game(values), Seed(seed), budget=300) for seed in (1, 1, 2))
    assert first.values.tobytes() == again.values.tobytes()
    assert first.half_widths.tobytes() == again.half_widths.tobytes()
    assert not np.array_equal(first.values, other.values)


def test_a_wanted_error_ends_the_calls_as_soon_as_it_is_reached() -> None:
    values = interactions(16, 8)
    loose = shapley_values(table_game(values), Seed(0), error=1.0)
    tight = shapley_values(table_game(values), Seed(0), error=0.05)
    assert loose.calls < tight.calls
    assert loose.half_widths.max() <= 1.0 and tight.half_widths.max() <= 0.05
    stopped = shapley_values(table_game(values), Seed(0), error=1e-9, budget=200)
    assert stopped.calls <= 200 and stopped.half_widths.max() > 1e-9


def test_a_budget_below_four_calls_a_column_is_refused() -> None:
    with pytest.raises(ArgumentError, match="82 calls are too few for 30 columns; give at least 122") as caught:
        shapley_values(Game(30, lambda coalitions: coalitions.sum(axis=1)), Seed(0), budget=82)
    assert caught.value.code == "DL402"


def test_below_five_calls_a_column_paired_kernel_shap_is_chosen() -> None:
    assert choose_estimator(50, 249).name == "paired-kernel"
    assert choose_estimator(50, 250).name == "odd"
    assert choose_estimator(2000, 80_000).name == "paired-kernel"


@given(players=st.integers(3, 40), pairs=st.integers(8, 400), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_pairs_are_different_and_not_more_than_asked_for(players: int, pairs: int, seed: int) -> None:
    drawn = draw_pairs(players, pairs, Seed(seed))
    assert abs(len(drawn) - min(pairs, num_pairs(players))) <= 1
    both = np.concatenate([drawn.members, ~drawn.members])
    assert len(np.unique(both, axis=0)) == len(both)
    assert np.allclose(drawn.weights.sum(axis=1), 0.0)  # so that values add up whatever is drawn


def test_more_players_than_the_regression_takes_are_estimated_by_paired_kernel_shap() -> None:
    parts = np.random.default_rng(0).standard_normal(400) * (np.arange(400) % 50 == 0)
    game = Game(400, lambda coalitions: np.tanh(coalitions @ parts / 10))
    found = estimate_with(choose_estimator(400, 1800), game, 1800, Seed(0))
    assert found.values.sum() == pytest.approx(found.full - found.empty)
    assert found.estimator == "paired-kernel"
    assert set(np.argsort(-np.abs(found.values))[:3]) <= set(np.flatnonzero(parts))


def test_too_little_memory_makes_smaller_batches_and_the_same_values() -> None:
    sizes: list[int] = []

    def answers(coalitions: np.ndarray) -> np.ndarray:
        sizes.append(len(coalitions))
        if len(coalitions) > 10:
            raise MemoryError
        return coalitions.sum(axis=1, keepdims=True) + np.zeros((1, 3))

    value = interventional_value(answers, background=3, columns=8)
    coalitions = all_coalitions(8, 0, 100)
    assert np.array_equal(value(coalitions), coalitions.sum(axis=1))
    assert max(sizes[-10:]) <= 10


def test_all_coalitions_are_asked_for_only_where_they_are_affordable() -> None:
    def estimator(players: int, answers: int, budget: int | None = None) -> str:
        game = Game(players, lambda coalitions: coalitions.sum(axis=1).astype(np.float64))
        return shapley_values(game, Seed(0), answers=answers, budget=budget).estimator

    assert estimator(12, 100) == "enumerated"
    assert estimator(13, 100) == "odd"
    assert estimator(13, 100, budget=2**13) == "enumerated"
    assert estimator(16, 8) == "enumerated"


def test_a_row_of_many_columns_costs_a_bounded_number_of_calls_unasked() -> None:
    players = 700
    slopes = np.random.default_rng(0).standard_normal(players)
    game = Game(players, lambda coalitions: coalitions @ slopes)
    found = shapley_values(game, Seed(0))
    assert found.estimator == "paired-kernel" and 19_000 <= found.calls <= 20_000
    assert found.values == pytest.approx(slopes, abs=1e-6)
