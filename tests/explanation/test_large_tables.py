"""Tables of 2,000 columns and of 10,000 rows are explained."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import danlu
from danlu.explanation.permutation import _alike, _correlations

COLUMNS = 2000


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((200, COLUMNS)).astype(np.float32)
    frame = pl.DataFrame(table, schema=[f"c{at}" for at in range(COLUMNS)])
    frame = frame.with_columns(y=pl.Series(10.0 * table[:, 7]))
    model = {"name": "mlp", "hidden": [4]}
    recipe = {"name": "wide", "data": {"target": "y"}, "model": model, "training": {"epochs": 2}}
    return danlu.train(recipe, data=frame, name="wide", output=tmp_path_factory.mktemp("wide")).path


@pytest.mark.slow
def test_two_thousand_columns_have_values_and_importance(wide: Path) -> None:
    found = danlu.explain(wide, rows=[0], methods=["shap"], budget=8100)
    one = found.local[0]
    assert len(one.values) == COLUMNS and one.estimator == "paired-kernel" and one.calls <= 8100
    assert one.base + sum(each.share.value for each in one.values) == pytest.approx(one.answer, abs=1e-3)
    importance = danlu.explain(wide, methods=["permutation"]).overall[0]
    assert [each.name for each in importance.columns] == [f"c{at}" for at in range(COLUMNS)]  # type: ignore[union-attr]


@pytest.mark.slow
def test_ten_thousand_rows_are_explained_as_one_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((10_000, 3))
    frame = pl.DataFrame(table, schema=["a", "b", "c"]).with_columns(y=pl.Series(2 * table[:, 0] - table[:, 1]))
    recipe = {"name": "long", "data": {"target": "y"}, "model": "linear", "training": {"epochs": 1}}
    run = danlu.train(recipe, data=frame[:300], name="long", output=tmp_path).path
    every = danlu.explain(run, frame, rows=range(10_000), methods=["shap"]).local
    assert [one.row for one in every] == list(range(10_000))
    alone = danlu.explain(run, frame[9_999:], rows=[0], methods=["shap"]).local[0]
    assert every[-1].values == alone.values


def test_many_columns_of_few_rows_do_not_go_together_by_chance() -> None:
    ranks = np.random.default_rng(0).random((30, 300)).argsort(axis=0).astype(np.float64)
    ranks[:, 5] = ranks[:, 4] // 2  # but these two do
    together = _correlations(ranks)
    grouped = {column for column in range(300) if _alike(ranks, together[column], column) is not None}
    assert {4, 5} <= grouped and len(grouped) <= 2 + 0.05 * 300
