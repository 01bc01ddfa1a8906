"""What a model cannot have is left out by name, and numbers that mean nothing are refused."""

from pathlib import Path

import pytest

import danlu
from danlu.errors import ArgumentError


@pytest.fixture(scope="module")
def boosting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {"name": "b", "data": {"source": "builtin:wine", "target": "cultivar"}}
    model = {"name": "boosting"}
    return Path(
        danlu.run({**recipe, "model": model, "training": {"max_steps": 3}}, output=tmp_path_factory.mktemp("runs")).path
    )


def test_a_model_without_layers_has_no_activations_and_its_other_pictures(boosting: Path, tmp_path: Path) -> None:
    danlu.visualize(boosting, output=tmp_path / "all", rows=20)
    assert not list((tmp_path / "all").glob("activations*")) and (tmp_path / "all" / "graph.svg").is_file()
    with pytest.raises(ArgumentError, match=r"only activations: .* has no layers"):
        danlu.visualize(boosting, only=["activations"], output=tmp_path / "one")


def test_a_threshold_that_is_no_number_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="threshold-db: cannot take nan"):
        danlu.visualize(tmp_path / "none", against=tmp_path / "none", threshold_db=float("nan"))
