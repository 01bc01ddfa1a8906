"""k-fold runs: the same as training each fold by hand, every row answered by a model that has not seen it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.model_selection import StratifiedKFold

import danlu
from danlu.data.builtin import read_builtin

RECIPE: dict[str, Any] = {
    "name": "wine",
    "seed": 3,
    "data": {"source": "builtin:wine"},
    "model": "linear",
    "training": {"epochs": 5, "batch_size": 16},
    "evaluation": {"folds": {"folds": 3, "repeats": 2}, "resamples": 100, "slices": False, "baselines": False},
}


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return danlu.run(RECIPE, output=tmp_path_factory.mktemp("runs")).path


def evaluation_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "evaluation.json").read_text()))


def test_every_row_that_does_not_test_is_answered_once_a_round(folded: Path) -> None:
    answers = pl.read_parquet(folded / "predictions" / "folds.parquet")
    tested = pl.read_parquet(folded / "predictions" / "test.parquet")["row"].to_list()
    for _, each in answers.group_by("repeat"):
        assert sorted(each["row"].to_list() + tested) == list(range(178))
    found = evaluation_of(folded)["folds"]
    assert (found["folds"], found["repeats"], found["by"]) == (3, 2, "stratified")
    accuracy = found["metrics"]["accuracy"]
    same = pl.col("prediction") == pl.col("truth")
    right = answers.group_by("repeat", "fold", maintain_order=True).agg(same.mean().alias("prediction"))
    assert accuracy["values"] == pytest.approx(right["prediction"].to_list())
    assert accuracy["mean"] == pytest.approx(np.mean(accuracy["values"]))
    assert accuracy["std"] == pytest.approx(np.std(accuracy["values"], ddof=1))
    assert accuracy["low"] < accuracy["mean"] < accuracy["high"]
    first = answers.filter(pl.col("repeat") == 0)
    assert found["out_of_fold"]["accuracy"]["value"] == pytest.approx((first["prediction"] == first["truth"]).mean())
    assert not list((folded / "folds").glob("*/checkpoints"))


def test_a_fold_is_what_training_it_by_hand_gives(folded: Path, tmp_path: Path) -> None:
    split = pl.read_parquet(folded / "folds" / "fold-001" / "data" / "split.parquet")
    frame = read_builtin("builtin:wine").frame.with_columns(row=pl.int_range(178, dtype=split["row"].dtype))
    frame = frame.join(split, on="row", how="left", maintain_order="left")
    # Rows of the whole run's test split are in no fold; by hand they are left out of the file.
    by_hand = frame.filter(pl.col("part").is_not_null()).drop("row")
    by_hand.write_csv(tmp_path / "fold.csv")
    data = {"source": str(tmp_path / "fold.csv"), "target": "cultivar", "split": {"by": {"column": "part"}}}
    run = danlu.run({**RECIPE, "data": data, "evaluation": {"resamples": 0}}, output=tmp_path).path
    alone = pl.read_parquet(run / "predictions" / "test.parquet")
    answers = pl.read_parquet(folded / "predictions" / "folds.parquet")
    answers = answers.filter((pl.col("repeat") == 0) & (pl.col("fold") == 1))
    for name in [column for column in answers.columns if column.startswith("probability_")]:
        assert np.allclose(alone[name], answers[name], atol=1e-6)


def test_folds_have_the_classes_of_scikit_learns(folded: Path) -> None:
    answers = pl.read_parquet(folded / "predictions" / "folds.parquet").filter(pl.col("repeat") == 0)
    labels = answers["truth"].to_numpy()
    mine = [np.unique(each["truth"].to_numpy(), return_counts=True)[1] for _, each in answers.group_by("fold")]
    theirs = [np.unique(labels[rows], return_counts=True)[1] for _, rows in StratifiedKFold(3).split(labels, labels)]
    assert sorted(map(tuple, mine)) == sorted(map(tuple, theirs))


def test_folds_that_are_there_are_not_trained_again(folded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = evaluation_of(folded)["folds"]
    monkeypatch.setattr("danlu.verbs.train.train_opened", lambda *_, **__: pytest.fail("trained again"))
    assert json.loads(json.dumps(danlu.evaluate(folded)["folds"])) == before


@pytest.mark.slow
def test_folds_side_by_side_give_the_same(folded: Path, tmp_path: Path) -> None:
    options = {**RECIPE["evaluation"], "folds": {"folds": 3, "processes": 2}}
    run = danlu.run({**RECIPE, "evaluation": options}, output=tmp_path).path
    ours, theirs = (pl.read_parquet(each / "predictions" / "folds.parquet") for each in (run, folded))
    theirs = theirs.filter(pl.col("repeat") == 0)
    assert ours["row"].to_list() == theirs["row"].to_list()
    assert np.allclose(ours["probability"], theirs["probability"], atol=1e-5)
