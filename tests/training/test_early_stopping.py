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


def test_the_note_names_the_best_value() -> None:
    assert EarlyStopper(METRIC, None, True).progress_note == ""
    assert watched([0.5, 0.4], True).progress_note == "best validation/f1 0.5000"
