"""The threshold that is best on a split, by hand."""

import numpy as np
import pytest

from danlu.errors import RecipeError
from danlu.evaluation.curves import risk_coverage
from danlu.evaluation.thresholds import (
    choose_threshold,
    counts_by_threshold,
    json_number,
    mean_cost,
    threshold_metric,
    threshold_table,
)
from danlu.metrics.base import Predictions
from danlu.recipe.sections.evaluation import Costs, Threshold


def scored(pairs: list[tuple[float, int]]) -> Predictions:
    """Probabilities of the second class, and the truth."""
    scores = np.array([score for score, _ in pairs])
    return Predictions(np.array([value for _, value in pairs]), np.stack([1 - scores, scores], axis=1))


FIVE = scored([(0.1, 0), (0.2, 0), (0.3, 1), (0.6, 0), (0.9, 1)])


def test_thresholds_lie_half_way_between_scores() -> None:
    thresholds, counts = counts_by_threshold(FIVE)
    assert thresholds == pytest.approx([0.0, 0.15, 0.25, 0.45, 0.75, 1.000001])
    # Right, true and answered of both classes: at 0.25 two zeros and two ones are right, one zero is taken for a one.
    assert counts[2].tolist() == [[2, 2], [3, 2], [2, 3]]
    assert counts[0].tolist() == [[0, 2], [3, 2], [0, 5]] and counts[5].tolist() == [[3, 0], [3, 2], [5, 0]]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        # Right answers at the six thresholds are 2, 3, 4, 3, 4, 3 of 5: of 0.25 and 0.75, both as near to a half, the
        # first; F1 of the second class is 4/7, 2/3, 4/5, 1/2, 2/3, 0.
        (Threshold(metric="accuracy"), 0.25),
        (Threshold(metric="f1-positive"), 0.25),
        (Threshold(metric="precision-positive"), 0.75),
        (Threshold(metric="recall-positive"), 0.25),  # 1 at 0, 0.15 and 0.25, of which the last is nearest to a half
        # Missed and alarms: (0, 3), (0, 2), (0, 1), (1, 1), (1, 0), (2, 0).
        (Threshold(costs=Costs(false_negative=5.0, false_positive=1.0)), 0.25),
        (Threshold(costs=Costs(false_negative=1.0, false_positive=5.0)), 0.75),
        (Threshold(costs=Costs(false_negative=0.0, false_positive=1.0)), 0.75),
        (Threshold(costs=Costs(false_negative=1.0, false_positive=0.0)), 0.25),
    ],
)
def test_the_best_threshold_of_five_samples(wanted: Threshold, expected: float) -> None:
    assert choose_threshold(wanted, FIVE) == pytest.approx(expected)


def test_of_equally_good_ones_the_nearest_to_a_half_is_taken() -> None:
    truth = scored([(0.2, 0), (0.4, 1), (0.45, 0), (0.9, 1)])
    # Three of four are right at 0.3, 0.425 no (two), 0.675: three. 0.675 is nearer to 0.5 than 0.3.
    assert choose_threshold(Threshold(metric="accuracy"), truth) == pytest.approx(0.675)


def test_cost_is_the_mean_over_samples() -> None:
    counts = counts_by_threshold(FIVE)[1]
    found = mean_cost(Costs(false_positive=2.0, false_negative=10.0), counts)
    assert found == pytest.approx(np.array([6, 4, 2, 12, 10, 20]) / 5)


def test_a_metric_that_does_not_follow_from_answers_is_refused() -> None:
    with pytest.raises(RecipeError, match="no threshold can be chosen for 'auroc'"):
        threshold_metric("auroc")


def test_the_table_counts_scores_at_the_threshold_as_answered() -> None:
    table = threshold_table(scored([(0.25, 0), (0.5, 1), (0.75, 1)]), Costs())
    row = table["threshold"].index(0.5)
    assert len(table["threshold"]) == 101
    assert (table["true_positives"][row], table["false_positives"][row]) == (2.0, 0.0)
    assert (table["false_negatives"][row], table["true_negatives"][row]) == (0.0, 1.0)
    above = row + 1
    assert (table["true_positives"][above], table["false_negatives"][above]) == (1.0, 1.0)
    assert table["cost"][above] == pytest.approx(1 / 3)
    assert table["accuracy"][above] == pytest.approx(2 / 3)
    assert "cost" not in threshold_table(FIVE, None)


def test_risk_over_coverage() -> None:
    # From surest: 0.9 wrong, 0.8 right, 0.6 right: risks 1, 1/2, 1/3.
    truth = Predictions(np.array([1, 0, 0]), np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]))
    found = risk_coverage(truth)
    assert found["coverage"] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert found["risk"] == pytest.approx([1.0, 0.5, 1 / 3])
    assert found["confidence"] == pytest.approx([0.9, 0.8, 0.6])
    assert found["area"] == pytest.approx((1.0 + 0.75 + 5 / 12) / 3)


def test_samples_of_one_confidence_are_left_together() -> None:
    truth = Predictions(np.array([1, 0]), np.array([[0.9, 0.1], [0.9, 0.1]]))
    assert risk_coverage(truth)["coverage"] == [1.0] and risk_coverage(truth)["risk"] == [0.5]


def test_what_json_cannot_hold_is_none() -> None:
    assert json_number(float("nan")) is None and json_number(float("inf")) is None and json_number(0.5) == 0.5
