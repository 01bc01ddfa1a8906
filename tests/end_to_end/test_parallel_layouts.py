"""Tensor, context and pipeline parallel training by recipe, and their combinations: several processes train as one."""

from typing import Any

import pytest

import danlu
from danlu.artifacts.run import RunDirectory
from tests.end_to_end.test_data_parallel import alike, recipes, trained, with_training

__all__ = ["recipes"]  # a fixture

TWO: dict[str, dict[str, Any]] = {
    "tensor": {"tensor": 2},
    "tensor-without-sequence": {"tensor": 2, "sequence": False},
    "context": {"context": 2},
    "gpipe": {"pipeline": 2, "schedule": "gpipe"},
    "1f1b": {"pipeline": 2},
}
FOUR: dict[str, dict[str, Any]] = {
    "shard-tensor": {"shard": 2, "tensor": 2},
    "data-tensor": {"data": 2, "tensor": 2},
    "pipeline-shard": {"pipeline": 2, "shard": 2},
    "pipeline-data": {"pipeline": 2, "data": 2},
    "pipeline-tensor": {"pipeline": 2, "tensor": 2},
    "context-shard": {"context": 2, "shard": 2},
    "context-tensor": {"context": 2, "tensor": 2},
}
NAMES = ("corpus", "corpus-sgd")


@pytest.fixture(scope="module")
def alone(recipes: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    """Runs of one process."""
    output = tmp_path_factory.mktemp("alone")
    return {name: danlu.train(recipes[name], output=output, name=name) for name in NAMES}


@pytest.fixture(scope="module")
def several(
    recipes: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], RunDirectory]:
    """Runs of two processes and of four, by layout and recipe; all of a number of processes train in one launch."""
    found = {}
    for processes, layouts in ((2, TWO), (4, FOUR)):
        cases = {
            f"{layout}.{name}": with_training(recipes[name], parallel=options)
            for layout, options in layouts.items()
            for name in NAMES
        }
        found |= trained(processes, tmp_path_factory.mktemp("several"), cases)
    return {(layout, name): found[f"{layout}.{name}"] for layout in (*TWO, *FOUR) for name in NAMES}


@pytest.mark.slow
@pytest.mark.parametrize("layout", [*TWO, *FOUR])
def test_a_layout_trains_as_one_process(
    several: dict[tuple[str, str], RunDirectory], alone: dict[str, RunDirectory], layout: str
) -> None:
    for name in NAMES:
        alike(several[layout, name], alone[name])
