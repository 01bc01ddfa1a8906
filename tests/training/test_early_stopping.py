"""Which validation is the best so far, and after how many without a better one training ends."""

import math

import pytest

from danlu.recipe.sections.training import EarlyStopping
from danlu.training.early_stopping import EarlyStopper

METRIC = "validation/f1"


def watched(values: list[float | None], higher: bool, patience: int | None = 2) -> EarlyStopper:
    """A watch that has seen one value after the other, at steps 10, 20 ...; None is a validation without the metric."""
    watch = EarlyStopper(METRIC, patience, higher)
    for index, value in enumerate(values, start=1):
        watch.update({} if value is None else {METRIC: value}, 10 * index)
    return watch


@pytest.mark.parametrize(
    ("values", "higher", "best", "best_step", "exhausted"),
    [
        ([0.5], True, 0.5, 10, False),
        ([0.5, 0.6, 0.7], True, 0.7, 30, False),
        ([0.5, 0.4], True, 0.5, 10, False),
        ([0.5, 0.4, 0.3], True, 0.5, 10, True),
        ([0.5, 0.5], True, 0.5, 10, False),  # a tie is no improvement, the earlier one is kept
        ([0.5, 0.5, 0.5], True, 0.5, 10, True),
        ([0.5, 0.4, 0.6, 0.5], True, 0.6, 30, False),  # an improvement begins the count again
        ([0.5, 0.4, 0.6, 0.5, 0.6], True, 0.6, 30, True),
        ([0.5, 0.4], False, 0.4, 20, False),
        ([0.5, 0.6, 0.7], False, 0.5, 10, True),
        ([0.5, 0.5, 0.5], False, 0.5, 10, True),
        ([-0.5, -0.6, -0.7], True, -0.5, 10, True),
        ([-0.5, -0.6], False, -0.6, 20, False),
        ([0.0, 0.0, 0.0], True, 0.0, 10, True),  # a zero is a value like any other
        ([None, 0.5], True, 0.5, 20, False),
        ([None, None], True, None, 0, True),
        ([0.5, None, None], False, 0.5, 10, True),
    ],
)
def test_best_value_its_step_and_the_end(
    values: list[float | None], higher: bool, best: float | None, best_step: int, exhausted: bool
) -> None:
    watch = watched(values, higher)
    assert (watch.best, watch.best_step, watch.should_stop) == (best, best_step, exhausted)


@pytest.mark.parametrize("patience", [1, 2, 3, 5])
def test_training_ends_after_exactly_as_many_validations_as_patience_says(patience: int) -> None:
    watch, ends = EarlyStopper(METRIC, patience, True), []
    for step in range(1, patience + 3):
        watch.update({METRIC: 1.0}, step)
        ends.append(watch.should_stop)
    assert ends == [False] * patience + [True] * 2  # the first value is the best; `patience` more are not better


def test_without_patience_nothing_ends() -> None:
    assert not watched([1.0] + [0.0] * 500, True, None).should_stop


def test_the_answer_says_whether_this_validation_was_the_best() -> None:
    watch = EarlyStopper(METRIC, None, False)
    assert [watch.update({METRIC: value}, 1) for value in (0.5, 0.6, 0.4, 0.4, 0.39)] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_other_metrics_are_not_looked_at() -> None:
    watch = EarlyStopper(METRIC, None, True)
    watch.update({METRIC: 0.5, "validation/loss": 0.1}, 1)
    assert not watch.update({METRIC: 0.4, "validation/loss": 0.9}, 2)
    assert watch.best_step == 1


def test_a_value_that_is_no_number_is_never_better() -> None:
    for higher in (True, False):
        watch = watched([0.5, math.nan, math.nan], higher)
        assert (watch.best, watch.best_step, watch.should_stop) == (0.5, 10, True)


def test_latest_keeps_every_new_step_whatever_the_metric_does() -> None:
    watch = EarlyStopper(METRIC, None, True, keep_last=True)
    assert [watch.update({METRIC: value}, step) for step, value in ((10, 0.9), (20, 0.1), (30, 0.5))] == [True] * 3
    assert (watch.best, watch.best_step, watch.num_bad_validations) == (None, 30, 0)
    assert watch.update({}, 40)
    assert watch.best_step == 40


def test_latest_comes_before_patience() -> None:
    watch = EarlyStopper(METRIC, 1, True, keep_last=True)
    for step in (1, 2, 3):
        watch.update({METRIC: 0.1}, step)
    assert not watch.should_stop


def test_a_recipe_without_early_stopping_watches_the_validation_loss_to_the_end() -> None:
    watch = EarlyStopper.from_options(None, False)
    assert (watch.metric, watch.patience, watch.higher_is_better, watch.keep_last) == (
        "validation/loss",
        None,
        False,
        False,
    )
    stopping = EarlyStopping(metric="validation/auroc", patience=7)
    watch = EarlyStopper.from_options(stopping, True)
    assert (watch.metric, watch.patience, watch.higher_is_better) == ("validation/auroc", 7, True)


def test_the_state_goes_on_where_it_was() -> None:
    values: list[float | None] = [0.5, 0.7, 0.6, 0.7, 0.2, 0.1]
    for cut in range(len(values)):
        before = watched(values[:cut], True, 3)
        after = EarlyStopper(METRIC, 3, True)
        after.load_state_dict(before.state_dict())
        assert after.should_stop == before.should_stop
        for index, value in enumerate(values[cut:], start=cut + 1):
            assert value is not None
            after.update({METRIC: value}, 10 * index)
        whole = watched(values, True, 3)
        assert after.state_dict() == whole.state_dict() == {"best": 0.7, "best_step": 20, "since": 4}


# min_delta: 0.25 and the values below are exact in binary, so that nothing hangs on rounding


def watched_with_delta(values: list[float], higher: bool, patience: int = 2, min_delta: float = 0.25) -> EarlyStopper:
    watch = EarlyStopper(METRIC, patience, higher, min_delta=min_delta)
    for index, value in enumerate(values, start=1):
        watch.update({METRIC: value}, 10 * index)
    return watch


@pytest.mark.parametrize(
    ("values", "higher", "best_step", "bad", "exhausted"),
    [
        ([1.0, 0.875, 0.8125], False, 30, 2, True),  # better, each by too little: kept, and still the end
        ([1.0, 0.875, 0.625], False, 30, 0, False),  # small ones add up: 0.375 below the last that counted
        ([1.0, 0.75], False, 20, 1, False),  # by exactly min_delta does not count
        ([1.0, 0.6875], False, 20, 0, False),
        ([1.0, 0.5, 0.375, 0.4375], False, 30, 2, True),  # 0.5 counted, 0.375 is better by 0.125, 0.4375 is worse
        ([0.0, 0.125, 0.1875], True, 30, 2, True),
        ([0.0, 0.125, 0.375], True, 30, 0, False),
        ([0.0, 0.25], True, 20, 1, False),
        ([-1.0, -0.875, -0.8125], True, 30, 2, True),
        ([0.125, 0.0, 0.0], True, 10, 2, True),  # the first value always counts
    ],
)
def test_small_improvements_are_kept_and_do_not_begin_patience_anew(
    values: list[float], higher: bool, best_step: int, bad: int, exhausted: bool
) -> None:
    watch = watched_with_delta(values, higher)
    assert (watch.best_step, watch.best) == (best_step, max(values) if higher else min(values))
    assert (watch.num_bad_validations, watch.should_stop) == (bad, exhausted)


def test_the_weights_of_a_small_improvement_are_the_best_ones() -> None:
    watch = EarlyStopper(METRIC, 2, False, min_delta=0.25)
    assert [watch.update({METRIC: value}, 1) for value in (1.0, 0.875, 0.9375, 0.8125)] == [True, True, False, True]


def test_undefined_values_count_against_patience_with_a_min_delta_too() -> None:
    watch = watched_with_delta([1.0, math.nan, math.nan], False)
    assert (watch.best, watch.best_step, watch.should_stop) == (1.0, 10, True)


def test_the_state_with_a_min_delta_goes_on_where_it_was() -> None:
    values = [1.0, 0.875, 0.8125, 0.625, 0.5, 0.4375]
    whole = watched_with_delta(values, False, 9)
    for cut in range(len(values)):
        before = watched_with_delta(values[:cut], False, 9)
        after = EarlyStopper(METRIC, 9, False, min_delta=0.25)
        after.load_state_dict(before.state_dict())
        for index, value in enumerate(values[cut:], start=cut + 1):
            after.update({METRIC: value}, 10 * index)
        assert after.state_dict() == whole.state_dict()
    assert whole.state_dict() == {"best": 0.4375, "best_step": 60, "since": 2, "last_improvement": 0.625}


def test_without_a_min_delta_a_checkpoint_holds_what_it_always_held() -> None:
    assert list(watched([0.5, 0.6], True).state_dict()) == ["best", "best_step", "since"]
    after = EarlyStopper(METRIC, 1, True, min_delta=0.25)
    after.load_state_dict({"best": 0.5, "best_step": 10, "since": 0})  # written before there was a min_delta
    assert not after.update({METRIC: 0.25}, 20) and after.should_stop


def test_min_delta_comes_from_the_recipe_and_is_named_at_the_end() -> None:
    watch = EarlyStopper.from_options(EarlyStopping(metric=METRIC, min_delta=0.001), True)
    assert watch.min_delta == 0.001
    assert watch.stop_reason == "validation/f1 had not improved by more than 0.001"
    assert EarlyStopper.from_options(EarlyStopping(metric=METRIC), True).stop_reason == "validation/f1 had not improved"
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        EarlyStopping(min_delta=-0.1)


def test_the_note_names_the_best_value() -> None:
    assert EarlyStopper(METRIC, None, True).progress_note == ""
    assert watched([0.5, 0.4], True).progress_note == "best validation/f1 0.5000"
