"""Runs are compared where they answered the same question on the same rows, and refused in the right words."""

from pathlib import Path

import numpy as np
import pytest

from danlu.artifacts.run import RunDirectory
from danlu.errors import ArgumentError
from danlu.evaluation.run_comparison import EvaluatedRun, check_comparable
from danlu.metrics.base import Predictions
from danlu.recipe.load import as_recipe
from danlu.tasks.table import get_task


def judged(name: str, targets: list[str], truth: list[list[float]]) -> EvaluatedRun:
    """A run of several outputs with these answers to learn."""
    recipe, numbers = as_recipe({"data": {"source": "x.csv", "target": targets}}), np.array(truth)
    task, rows = get_task("multi-output-regression"), np.arange(len(truth))
    return EvaluatedRun(RunDirectory(Path(name)), recipe, task, (), rows, Predictions(numbers, numbers))


def test_runs_of_other_targets_are_refused_by_their_names() -> None:
    first = judged("one", ["a", "b"], [[1.0, 2.0], [3.0, 4.0]])
    check_comparable(first, judged("two", ["a", "b"], [[1.0, 2.0], [3.0, 4.0]]))
    with pytest.raises(ArgumentError, match=r"their targets differ \(a, b and b, a\)"):
        check_comparable(first, judged("two", ["b", "a"], [[2.0, 1.0], [4.0, 3.0]]))
    with pytest.raises(ArgumentError, match="the data has changed"):
        check_comparable(first, judged("two", ["a", "b"], [[1.0, 2.0], [3.0, 5.0]]))
