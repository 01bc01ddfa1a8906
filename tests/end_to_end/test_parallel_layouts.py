"""Tensor, context and pipeline parallel training by recipe, and their combinations: several processes train as one."""

from pathlib import Path
from typing import Any

import pytest

from danlu.artifacts.run import RunDirectory
from tests.end_to_end.test_data_parallel import alike, alone, recipes, trained

__all__ = ["alone", "recipes"]  # fixtures

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


QUICK = ("1f1b",)  # the rest is tested below the recipe, and here where there is time


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "processes"),
    [
        pytest.param(name, processes, marks=[] if name in QUICK else [pytest.mark.slow], id=name)
        for names, processes in ((TWO, 2), (FOUR, 4))
        for name in names
    ],
)
def test_a_layout_trains_as_one_process(
    tmp_path: Path,
    recipes: dict[str, dict[str, Any]],
    alone: dict[str, RunDirectory],
    layout: str,
    processes: int,
) -> None:
    several = trained(processes, tmp_path, {name: recipes[name] for name in NAMES}, {**TWO, **FOUR}[layout])
    for name in NAMES:
        alike(several[name], alone[name])
