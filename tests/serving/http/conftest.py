"""A small model that answers at once, a server of it, and rows that it answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.serving import Server, serving


@pytest.fixture(scope="session")
def tumours(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Rows of numbers, without their answers."""
    from danlu.data.builtin import read_builtin

    frame = read_builtin("builtin:breast-cancer").frame
    return frame.select(pl.col(pl.Float64, pl.Int64)).to_dicts()


@pytest.fixture(scope="session")
def tumour_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import danlu

    recipe = {
        "name": "tumour",
        "data": {"source": "builtin:breast-cancer"},
        "model": {"name": "mlp", "hidden": [16]},
        "training": {"epochs": 2},
    }
    return danlu.run(recipe, output=tmp_path_factory.mktemp("runs")).path


@pytest.fixture(scope="session")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same rows that answers otherwise."""
    import danlu

    recipe = {
        "name": "tumour",
        "data": {"source": "builtin:breast-cancer"},
        "model": "linear",
        "training": {"epochs": 1},
    }
    return danlu.run(recipe, output=tmp_path_factory.mktemp("runs")).path


@pytest.fixture(scope="session")
def server(tumour_run: Path) -> Iterator[Server]:
    with serving(f"tumour={tumour_run}", "--engine", "numpy") as running:
        yield running
