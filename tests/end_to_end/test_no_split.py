"""A split of 0 is none: which rows are judged then, and what every page says of it."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu as package
from danlu.errors import DataError, RecipeError
from danlu.recipe.load import check_recipe


def run(tmp_path: Path, split: dict[str, Any], **changes: Any) -> tuple[Path, dict[str, Any]]:
    recipe: dict[str, Any] = {
        "data": {"source": "builtin:wine", "split": split},
        "model": "linear",
        "training": {"epochs": 2},
        "evaluation": {"resamples": 50},
        **changes,
    }
    folder = package.run(recipe, output=tmp_path, name="run").path
    return folder, json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))


@pytest.mark.training
def test_without_test_the_final_figures_are_of_validation(tmp_path: Path) -> None:
    folder, figures = run(tmp_path, {"validation": 0.2, "test": 0})
    assert figures["final"] == "validation" and "test" not in figures and "looks" not in figures
    judged = pl.read_parquet(folder / "predictions" / "validation.parquet")
    assert judged.height == 36  # the 80/20 of 178 rows that people mean
    right = (judged["truth"].cast(pl.String) == judged["prediction"].cast(pl.String)).mean()
    assert figures["validation"]["accuracy"]["value"] == pytest.approx(right)
    for page in ("report.html", "MODEL_CARD.md"):
        assert "There is no test: the figures are of these 36." in (folder / page).read_text(encoding="utf-8")
    (row,) = package.runs(tmp_path)
    assert row["test"] == figures["validation"]["accuracy"]["value"]


@pytest.mark.training
@pytest.mark.parametrize("model", ["linear", "boosting"])
def test_without_validation_the_last_weights_are_tested(tmp_path: Path, model: str) -> None:
    folder, figures = run(tmp_path, {"validation": 0, "test": 0.2}, model=model, training={"max_steps": 6}, name="last")
    assert figures["final"] == "test" and "validation" not in figures
    assert json.loads((folder / "data" / "profile.json").read_text(encoding="utf-8"))["splits"]["validation"] == 0
    assert "None chose which weights were kept." in (folder / "report.html").read_text(encoding="utf-8")


def test_what_needs_a_split_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="keeps no row to test and none to validate"):
        run(tmp_path, {"validation": 0, "test": 0})
    with pytest.raises(RecipeError, match=r"training\.early_stopping: needs validation rows"):
        check_recipe(
            {
                "data": {"source": "builtin:wine", "split": {"validation": 0}},
                "training": {"early_stopping": {"patience": 2}},
            }
        )
