"""Metrics accumulated batch by batch, in several processes, are those of all answers at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.metrics.base import Predictions
from danlu.metrics.streaming import StreamingMetrics
from danlu.tasks.metric_table import METRICS
from danlu.tasks.table import get_task
from tests.support.processes import together

SUMMED = {name: metric for name, metric in METRICS.items() if metric.statistic.additive}
COUNT = 103  # no batch or number of processes divides it


def answered(task: str) -> Predictions:
    generator = np.random.default_rng(0)
    if task == "regression":
        return Predictions(generator.normal(size=COUNT), generator.normal(size=COUNT))
    if task == "language-modelling":
        tokens = generator.integers(1, 50, size=COUNT).astype(np.float64)
        sums = np.stack([tokens * generator.random(COUNT), tokens, np.floor(tokens / 3)], axis=1)
        return Predictions(tokens, sums, tokens * 4)
    if task == "multi-label":
        return Predictions(generator.integers(2, size=(COUNT, 4)), generator.random((COUNT, 4)))
    shares = generator.random((COUNT, 7))
    return Predictions(generator.integers(7, size=COUNT), shares / shares.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("task", ["classification", "regression", "language-modelling", "multi-label"])
@pytest.mark.parametrize("size", [1, 10, 64])
def test_no_figure_depends_on_the_batch_size(task: str, size: int) -> None:
    truth, chosen = answered(task), {name: metric for name, metric in SUMMED.items() if metric.task == task}
    running = StreamingMetrics(chosen)
    for start in range(0, COUNT, size):
        running.add(truth.take(np.arange(start, min(start + size, COUNT))))
    found = running.compute()
    expected = {name: metric.compute(truth) for name, metric in chosen.items()}
    assert found == {name: pytest.approx(value, rel=1e-12) for name, value in expected.items() if np.isfinite(value)}
    assert set(get_task(task).default_metrics) & set(found)


def share(task: str) -> dict[str, float]:
    """One of several processes, which sees every so-manieth sample."""
    from torch import distributed

    from danlu.core.distributed.env import DistEnv
    from danlu.core.distributed.process_groups import ProcessGroups

    rank, size = distributed.get_rank(), distributed.get_world_size()
    team = ProcessGroups(DistEnv(rank=rank, world_size=size), rank, size, dp_group=distributed.group.WORLD)
    truth, running = answered(task), StreamingMetrics({n: m for n, m in SUMMED.items() if m.task == task})
    own = np.arange(rank, COUNT, size)
    for rows in np.array_split(own, 3):
        running.add(truth.take(rows))
    return running.compute(team)


def figures(ways: int, folder: Path) -> Any:
    found = together(ways, "tests.evaluation.metrics.test_streaming:share", folder, task="classification")
    assert all(each == found[0] for each in found)
    return found[0]


@pytest.mark.training
@pytest.mark.parametrize("ways", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_no_figure_depends_on_the_number_of_processes(ways: int, tmp_path: Path) -> None:
    truth = answered("classification")
    expected = {n: m.compute(truth) for n, m in SUMMED.items() if m.task == "classification"}
    expected = {name: pytest.approx(value, rel=1e-12) for name, value in expected.items() if np.isfinite(value)}
    assert figures(ways, tmp_path) == expected
