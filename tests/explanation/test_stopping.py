"""Ctrl-C keeps the rows that are done, and a model that learned nothing is said to be so."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu
from danlu.data.builtin import read_builtin
from danlu.explanation import local_shap


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {
        "name": "stopped",
        "data": {"source": "builtin:wine"},
        "model": {"name": "mlp", "hidden": [4]},
        "training": {"epochs": 1},
    }
    return danlu.train(recipe, name="stopped", output=tmp_path_factory.mktemp("stopped")).path


def test_a_stop_keeps_what_is_done(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, seen = local_shap._estimate, []

    def stopped(*arguments: Any) -> Any:
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(local_shap, "_estimate", stopped)
    found = danlu.explain(run, rows=range(6), methods=["shap", "permutation"], budget=100)
    assert [one.row for one in found.local] == [0, 1]
    assert ("stopped", "stopped after 2 of 6 rows") in found.warnings and not found.overall


def test_a_model_that_answers_all_rows_alike_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = read_builtin("builtin:wine").frame.lazy().collect()
    assert "constant-model" not in [code for code, _ in danlu.explain(run, frame, rows=[0], budget=60).warnings]
    from danlu.explanation.tabular import TabularAnswers

    original = TabularAnswers.outputs

    def same(self: TabularAnswers, rows: pl.DataFrame) -> Any:
        return original(self, rows) * 0 + [0.2, 0.3, 0.5]

    monkeypatch.setattr(TabularAnswers, "outputs", same)
    found = danlu.explain(run, frame, rows=[0], budget=60)
    assert "constant-model" in [code for code, _ in found.warnings]


@pytest.mark.parametrize(
    ("method", "place", "unit"),
    [
        ("permutation", "danlu.explanation.permutation._Shuffled.losses", "columns"),
        ("partial-dependence", "danlu.explanation.edits.EditableRows.outputs", "columns"),
        ("lime", "danlu.explanation.lime.fit_linear", "rows"),
        ("counterfactual", "danlu.explanation.counterfactuals.Search.find", "rows"),
    ],
)
def test_a_stop_of_any_method_keeps_what_is_done(
    run: Path, monkeypatch: pytest.MonkeyPatch, method: str, place: str, unit: str
) -> None:
    from pkgutil import resolve_name

    original, seen = resolve_name(place), []

    def stopped(*arguments: Any) -> Any:
        seen.append(1)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(place, stopped)
    found = danlu.explain(run, rows=range(8), methods=[method])
    (said,) = [message for code, message in found.warnings if code == "stopped"]
    assert said.endswith(unit)
    done = found.local or found.counterfactuals or found.overall[0].columns  # type: ignore[union-attr]
    assert 0 < len(done) < 8


def test_shuffles_of_many_columns_take_fewer_rows(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = read_builtin("builtin:wine").frame.lazy().collect()
    whole = danlu.explain(run, frame, methods=["permutation"]).overall[0]
    assert whole.rows == frame.height
    monkeypatch.setattr("danlu.explanation.permutation.FEWEST_ROWS", 20)
    monkeypatch.setattr("danlu.explanation.permutation.MOST_ANSWERS", 13 * 10 * 50)  # 13 columns, 10 shuffles
    fewer = danlu.explain(run, frame, methods=["permutation"]).overall[0]
    assert fewer.rows == 50
    assert danlu.explain(run, frame.reverse(), methods=["permutation"]).overall[0] == fewer
