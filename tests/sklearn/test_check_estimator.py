"""scikit-learn's own checks of an estimator, none left out and none expected to fail."""

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from danlu.sklearn import DanluClassifier, DanluRegressor

# Small, so that the hundreds of fits end soon; what the checks ask of the figures needs some steps.
TRAINING = {"epochs": 10, "batch_size": 16, "optimizer": {"lr": 1e-2}}
MODEL = {"name": "mlp", "hidden": [16]}
ESTIMATORS = [
    DanluClassifier(model=MODEL, training=TRAINING),
    DanluRegressor(model=MODEL, training=TRAINING),
]
Check = Callable[[Any], None]


@pytest.mark.slow
@pytest.mark.training
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks_pass(estimator: Any, check: Check) -> None:
    check(estimator)


@pytest.mark.slow
@pytest.mark.training
@parametrize_with_checks([DanluClassifier(model="tree"), DanluRegressor(model="tree")])
def test_they_pass_with_a_tree(estimator: Any, check: Check) -> None:
    check(estimator)
