"""The learning rate for another batch size than it was meant for."""

import pytest

from danlu.recipe.sections.training import LearningRateScaling
from danlu.training.schedules import scaled_lr


@pytest.mark.parametrize(
    ("rule", "reference", "batch_size", "factor"),
    [
        ("linear", 256, 256, 1.0),
        ("linear", 256, 1024, 4.0),
        ("linear", 256, 64, 0.25),
        ("linear", 32, 64, 2.0),
        ("sqrt", 256, 256, 1.0),
        ("sqrt", 256, 1024, 2.0),
        ("sqrt", 256, 64, 0.5),
        ("sqrt", 100, 900, 3.0),
    ],
)
def test_the_rate_follows_the_batch(rule: str, reference: int, batch_size: int, factor: float) -> None:
    scaling = LearningRateScaling(rule=rule, reference=reference)  # type: ignore[arg-type]
    assert scaled_lr(0.02, batch_size, scaling) == pytest.approx(0.02 * factor)


def test_without_a_rule_the_rate_stays() -> None:
    assert scaled_lr(0.02, 4096, None) == 0.02


def test_the_usual_reference() -> None:
    assert LearningRateScaling(rule="linear").reference == 256
