"""Bundles that the tests of serving answer from, and a server of a small one that answers at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("msgspec", reason="the extra [serve] is not installed")

import danlu
from danlu.serving.answering import Served
from tests.support.export_cases import run_language, run_words
from tests.support.serving import Server, serving

BERT = {"name": "hf:bert", "config": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                                      "intermediate_size": 64}}  # fmt: skip
LLAMA = {**BERT, "name": "hf:llama"}


@pytest.fixture(scope="session")
def wine(table_run: Path) -> Served:
    """Numbers with gaps, a category and a date."""
    return Served.open(table_run)


@pytest.fixture(scope="session")
def cancer(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Numbers alone."""
    recipe = {
        "data": {"source": "builtin:breast-cancer"},
        "training": {"max_steps": 20},
        "evaluation": {"baselines": False},
    }
    return Served.open(danlu.run(recipe, output=tmp_path_factory.mktemp("cancer")).path)


@pytest.fixture(scope="session")
def digits(image_run: Path) -> Served:
    return Served.open(image_run)


@pytest.fixture(scope="session")
def eras(text_run: Path) -> Served:
    return Served.open(text_run)


@pytest.fixture(scope="session")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served.open(run_words(tmp_path_factory.mktemp("words"), BERT))


@pytest.fixture(scope="session", params=["corpus", "chat", "preference"])
def language(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served.open(run_language(tmp_path_factory.mktemp(request.param), request.param, LLAMA))


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
