"""Which validation is the best so far, and after how many without a better one training ends."""

import math

import pytest

from danlu.recipe.sections import EarlyStopping
from danlu.training.watch import Watch

METRIC = "validation/f1"


def watched(values: list[float | None], higher: bool, patience: int | None = 2) -> Watch:
    """A watch that has seen one value after the other, at steps 10, 20 ...; None is a validation without the metric."""
    watch = Watch(METRIC, patience, higher)
    for index, value in enumerate(values, start=1):
        watch.look({} if value is None else {METRIC: value}, 10 * index)
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
    assert (watch.best, watch.best_step, watch.exhausted) == (best, best_step, exhausted)


@pytest.mark.parametrize("patience", [1, 2, 3, 5])
def test_training_ends_after_exactly_as_many_validations_as_patience_says(patience: int) -> None:
    watch, ends = Watch(METRIC, patience, True), []
    for step in range(1, patience + 3):
        watch.look({METRIC: 1.0}, step)
        ends.append(watch.exhausted)
    assert ends == [False] * patience + [True] * 2  # the first value is the best; `patience` more are not better


def test_without_patience_nothing_ends() -> None:
    assert not watched([1.0] + [0.0] * 500, True, None).exhausted


def test_the_answer_says_whether_this_validation_was_the_best() -> None:
    watch = Watch(METRIC, None, False)
    assert [watch.look({METRIC: value}, 1) for value in (0.5, 0.6, 0.4, 0.4, 0.39)] == [True, False, True, False, True]


def test_other_metrics_are_not_looked_at() -> None:
    watch = Watch(METRIC, None, True)
    watch.look({METRIC: 0.5, "validation/loss": 0.1}, 1)
    assert not watch.look({METRIC: 0.4, "validation/loss": 0.9}, 2)
    assert watch.best_step == 1


def test_a_value_that_is_no_number_is_never_better() -> None:
    for higher in (True, False):
        watch = watched([0.5, math.nan, math.nan], higher)
        assert (watch.best, watch.best_step, watch.exhausted) == (0.5, 10, True)


def test_latest_keeps_every_new_step_whatever_the_metric_does() -> None:
    watch = Watch(METRIC, None, True, latest=True)
    assert [watch.look({METRIC: value}, step) for step, value in ((10, 0.9), (20, 0.1), (30, 0.5))] == [True] * 3
    assert (watch.best, watch.best_step, watch.since) == (None, 30, 0)
    assert watch.look({}, 40)
    assert watch.best_step == 40


def test_latest_comes_before_patience() -> None:
    watch = Watch(METRIC, 1, True, latest=True)
    for step in (1, 2, 3):
        watch.look({METRIC: 0.1}, step)
    assert not watch.exhausted


def test_a_recipe_without_early_stopping_watches_the_validation_loss_to_the_end() -> None:
    watch = Watch.over(None, False)
    assert (watch.metric, watch.patience, watch.higher_is_better, watch.latest) == (
        "validation/loss",
        None,
        False,
        False,
    )
    stopping = EarlyStopping(metric="validation/auroc", patience=7)
    watch = Watch.over(stopping, True)
    assert (watch.metric, watch.patience, watch.higher_is_better) == ("validation/auroc", 7, True)


def test_the_state_goes_on_where_it_was() -> None:
    values: list[float | None] = [0.5, 0.7, 0.6, 0.7, 0.2, 0.1]
    for cut in range(len(values)):
        before = watched(values[:cut], True, 3)
        after = Watch(METRIC, 3, True)
        after.load(before.state())
        assert after.exhausted == before.exhausted
        for index, value in enumerate(values[cut:], start=cut + 1):
            assert value is not None
            after.look({METRIC: value}, 10 * index)
        whole = watched(values, True, 3)
        assert after.state() == whole.state() == {"best": 0.7, "best_step": 20, "since": 4}


def test_the_note_names_the_best_value() -> None:
    assert Watch(METRIC, None, True).note == ""
    assert watched([0.5, 0.4], True).note == "best validation/f1 0.5000"
