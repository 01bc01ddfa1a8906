"""When the learning rate is lowered because validation no longer improves."""

import math

import pytest

from danlu.training.schedules import Plateau, ReduceLROnPlateau


def factors(values: list[float], **options: object) -> list[float]:
    usual = {"gamma": 0.5, "patience": 1, "threshold": 0.0, "cooldown": 0, "floor": 0.0, "higher_is_better": False}
    watcher = ReduceLROnPlateau(**{**usual, **options})  # type: ignore[arg-type]
    found = []
    for value in values:
        watcher.update(value)
        found.append(watcher.factor)
    return found


def test_more_than_patience_in_a_row_lower_the_rate() -> None:
    assert factors([1.0, 1.0, 1.0]) == [1.0, 1.0, 0.5]
    assert factors([1.0, 1.0, 1.0, 1.0, 1.0], patience=3) == [1.0, 1.0, 1.0, 1.0, 0.5]
    assert factors([1.0, 1.0], patience=0) == [1.0, 0.5]


def test_the_count_begins_again_after_a_better_value_and_after_a_reduction() -> None:
    assert factors([1.0, 1.0, 0.9, 1.0, 1.0]) == [1.0, 1.0, 1.0, 1.0, 0.5]
    assert factors([1.0] * 5) == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_direction() -> None:
    assert factors([1.0, 2.0, 3.0], higher_is_better=True) == [1.0, 1.0, 1.0]
    assert factors([3.0, 2.0, 1.0], higher_is_better=True) == [1.0, 1.0, 0.5]
    assert factors([3.0, 2.0, 1.0]) == [1.0, 1.0, 1.0]


def test_a_better_value_differs_by_a_share_of_the_best() -> None:
    assert factors([1.0, 0.91, 0.91], threshold=0.1)[-1] == 0.5  # 0.91 is not below 1 - 0.1
    assert factors([1.0, 0.89, 0.89], threshold=0.1)[-1] == 1.0
    assert factors([1.0, 1.09, 1.09], threshold=0.1, higher_is_better=True)[-1] == 0.5
    assert factors([1.0, 1.11, 1.11], threshold=0.1, higher_is_better=True)[-1] == 1.0


def test_cooldown_and_floor() -> None:
    assert factors([1.0] * 7, patience=0, cooldown=2) == [1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert factors([1.0] * 4, patience=0, floor=0.3) == [1.0, 0.5, 0.3, 0.3]


def test_a_value_that_is_no_number_is_no_improvement() -> None:
    assert factors([math.nan, math.nan]) == [1.0, 0.5]


def test_the_state_goes_on_where_it_was() -> None:
    values = [1.0, 0.8, 0.8, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7]
    whole = factors(values, cooldown=1)
    for cut in range(len(values)):
        first = ReduceLROnPlateau(0.5, 1, 0.0, 1, 0.0, higher_is_better=False)
        for value in values[:cut]:
            first.update(value)
        second = ReduceLROnPlateau(0.5, 1, 0.0, 1, 0.0, higher_is_better=False)
        second.load_state_dict(first.state_dict())
        for value in values[cut:]:
            second.update(value)
        assert second.factor == whole[-1]
    assert whole[-1] < 1


def test_the_schedules_options_reach_the_watcher() -> None:
    watcher = Plateau(gamma=0.2, patience=0, threshold=0.5, cooldown=3, floor=0.1).plateau_reducer(
        higher_is_better=True
    )
    assert (watcher.gamma, watcher.patience, watcher.threshold, watcher.cooldown) == (0.2, 0, 0.5, 3)
    assert (watcher.floor, watcher.higher_is_better, watcher.factor) == (0.1, True, 1.0)
    usual = Plateau().plateau_reducer()
    assert (usual.gamma, usual.patience, usual.threshold, usual.cooldown) == (0.1, 5, 1e-4, 0)
    assert usual.floor == 0.0 and not usual.higher_is_better


def test_plateau_alone_has_a_watcher_and_no_shape() -> None:
    assert Plateau(warmup=2).factor(0, 10) == pytest.approx(0.5)
    assert Plateau(warmup=2).factor(9, 10) == 1.0


def test_a_tie_is_no_improvement_in_either_direction() -> None:
    for higher in (False, True):
        assert factors([0.5, 0.5, 0.5], higher_is_better=higher) == [1.0, 1.0, 0.5]
