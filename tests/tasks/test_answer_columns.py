"""The answers that a server writes are those of the frame that `decode` makes, for every kind of target."""

import numpy as np
import pytest

from danlu.tasks.base import Target
from danlu.tasks.calibrations import ConformalQuantiles
from danlu.tasks.classification import ClassTarget
from danlu.tasks.ordinal import OrdinalTarget
from danlu.tasks.poisson import CountTarget
from danlu.tasks.quantile import QuantileTarget
from danlu.tasks.regression import NumericTarget

ONE = ConformalQuantiles(coverage=0.9, rows=100, quantiles=(0.6,))
TARGETS: list[Target] = [
    ClassTarget(column="y", labels=("a", "b", "c")),
    ClassTarget(column="y", labels=(False, True), threshold=0.2),
    ClassTarget(column="y", labels=(1, 2), conformal=ONE),
    OrdinalTarget(column="y", labels=(1, 2, 3)),
    NumericTarget(column="y", mean=3.0, std=2.0),
    NumericTarget(column="y", mean=3.0, std=2.0, conformal=ONE),
    CountTarget(column="y", mean=3.0, std=2.0),
    CountTarget(column="y", mean=3.0, std=2.0, conformal=ONE),
    QuantileTarget(column="y", mean=3.0, std=2.0, coverage=0.8),
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{type(target).__name__}-{target.outputs}")
def test_answers_as_lists_are_those_of_the_frame(target: Target) -> None:
    width = len(target.labels) if isinstance(target, ClassTarget) else target.outputs
    shares = np.random.default_rng(0).dirichlet(np.ones(width), 7).astype(np.float32)
    assert target.answer_columns(shares) == target.decode(shares).to_dict(as_series=False)
