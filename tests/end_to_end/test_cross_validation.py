"""k-fold runs: the same as training each fold by hand, every row answered by a model that has not seen it."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_wine
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

import danlu
from danlu.data.builtin import read_builtin
from danlu.errors import DataError, RecipeError

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
    assert accuracy["low"] < accuracy["mean"] < accuracy["high"] <= 1.0
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


def with_folds_of(splitter: Any, folder: Path, groups: np.ndarray | None = None) -> tuple[Path, list[np.ndarray]]:
    """Wine with a column `fold` as a splitter of scikit-learn's deals it out, and the rows that each fold tests."""
    values, labels = load_wine(return_X_y=True)
    tested = [rows for _, rows in splitter.split(values, labels, groups)]
    folds = np.empty(len(labels), dtype=np.int64)
    for number, rows in enumerate(tested):
        folds[rows] = number
    frame = pl.DataFrame(values).with_columns(kind=pl.Series(labels).cast(pl.String), fold=pl.Series(folds))
    frame.write_csv(folder / "wine.csv")
    return folder / "wine.csv", tested


@pytest.mark.slow
@pytest.mark.parametrize("groups", [False, True], ids=["stratified", "grouped"])
def test_folds_of_scikit_learns_splitters_give_what_they_give_by_hand(groups: bool, tmp_path: Path) -> None:
    alike = np.arange(178) // 3 if groups else None
    splitter = (StratifiedGroupKFold if groups else StratifiedKFold)(4, shuffle=True, random_state=5)
    file, tested = with_folds_of(splitter, tmp_path, alike)
    recipe = {
        **RECIPE,
        "data": {"source": str(file), "target": "kind"},
        "evaluation": {**RECIPE["evaluation"], "folds": {"column": "fold"}, "metrics": ["accuracy", "f1", "auroc"]},
    }
    run = danlu.run(recipe, output=tmp_path).path
    held = set(pl.read_parquet(run / "predictions" / "test.parquet")["row"].to_list())
    answers = pl.read_parquet(run / "predictions" / "folds.parquet")
    found = evaluation_of(run)["folds"]
    assert (found["folds"], found["by"]) == (4, "column")
    for number, rows in enumerate(tested):
        each = answers.filter(pl.col("fold") == number)
        assert each["row"].to_list() == [row for row in rows if row not in held]
        truth, said = each["truth"].to_numpy(), each["prediction"].to_numpy()
        names = sorted(name for name in each.columns if name.startswith("probability_"))
        by_hand = {
            "accuracy": accuracy_score(truth, said),
            "f1": f1_score(truth, said, average="macro"),
            "auroc": roc_auc_score(truth, each.select(names).to_numpy(), multi_class="ovr"),
        }
        for name, value in by_hand.items():
            assert found["metrics"][name]["values"][number] == pytest.approx(value, abs=1e-6)
    assert danlu.evaluate(run)["folds"] == found  # by the recipe that the run keeps
    columns = json.loads((run / "model" / "bundle.json").read_text())["columns"]
    assert "fold" not in [column["name"] for column in columns]


def test_a_column_that_names_no_folds_is_refused(tmp_path: Path) -> None:
    file, _ = with_folds_of(StratifiedKFold(3), tmp_path)
    recipe = {**RECIPE, "data": {"source": str(file), "target": "kind"}}
    with pytest.raises(DataError, match="no column 'flod'"):
        danlu.run({**recipe, "evaluation": {"folds": {"column": "flod"}}}, output=tmp_path)
    pl.read_csv(file).with_columns(fold=pl.lit(1)).write_csv(file)
    with pytest.raises(DataError, match="names 1 folds; allowed are 2 to 100"):
        danlu.run({**recipe, "evaluation": {"folds": {"column": "fold"}}}, output=tmp_path)
    with pytest.raises(RecipeError, match="repeats has no effect"):
        danlu.run({**recipe, "evaluation": {"folds": {"column": "fold", "repeats": 2}}}, output=tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]  # nothing was trained before it was refused


def test_folds_that_are_there_are_not_trained_again(folded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = evaluation_of(folded)["folds"]
    monkeypatch.setattr("danlu.experiment.trainer.train_run", lambda *_, **__: pytest.fail("trained again"))
    assert json.loads(json.dumps(danlu.evaluate(folded)["folds"])) == before


@pytest.mark.slow
def test_folds_side_by_side_give_the_same(folded: Path, tmp_path: Path) -> None:
    options = {**RECIPE["evaluation"], "folds": {"folds": 3, "processes": 2}}
    run = danlu.run({**RECIPE, "evaluation": options}, output=tmp_path).path
    ours, theirs = (pl.read_parquet(each / "predictions" / "folds.parquet") for each in (run, folded))
    theirs = theirs.filter(pl.col("repeat") == 0)
    assert ours["row"].to_list() == theirs["row"].to_list()
    assert np.allclose(ours["probability"], theirs["probability"], atol=1e-5)


REFIT: dict[str, Any] = {
    "name": "refit",
    "seed": 2,
    "data": {"source": "builtin:breast-cancer"},
    "model": "linear",
    "training": {"epochs": 6, "batch_size": 64, "early_stopping": {"patience": 2}},
    "evaluation": {
        "folds": {"folds": 3, "final": "refit"},
        "calibration": "temperature",
        "threshold": {"metric": "f1"},
        "resamples": 100,
        "slices": False,
    },
}


@pytest.fixture(scope="module")
def refitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return danlu.run(REFIT, output=tmp_path_factory.mktemp("refit")).path


def best_epoch(fold: Path) -> float:
    lines = [json.loads(line) for line in (fold / "metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if "validation/loss" in line]
    return float(min(judged, key=lambda line: line["validation/loss"])["epoch"])


def test_the_final_model_learns_from_all_rows_that_do_not_test(refitted: Path) -> None:
    parts = pl.read_parquet(refitted / "data" / "split.parquet")["part"].value_counts()
    counts = dict(parts.iter_rows())
    assert counts == {"train": 483, "test": 86}
    profile = json.loads((refitted / "data" / "profile.json").read_text())
    assert profile["splits"] == {"train": 483, "validation": 0, "test": 86}
    found = evaluation_of(refitted)
    assert "validation" not in found
    assert found["test"]["accuracy"]["value"] > 0.9
    assert "validation" not in found["baselines"]["logistic-regression"]
    assert not (refitted / "predictions" / "validation.parquet").exists()
    assert "There is no validation split" in (refitted / "report.html").read_text()


def test_it_is_trained_for_the_median_of_the_epochs_that_were_best_in_the_folds(refitted: Path) -> None:
    epochs = np.median([best_epoch(fold) for fold in sorted((refitted / "folds").iterdir())])
    lines = danlu.RunDirectory.open(refitted).metrics()
    an_epoch = 483 // 64 + 1
    assert lines[-1]["step"] == round(epochs * an_epoch)
    assert all(set(line) == {"step", "epoch", "train/loss", "lr"} for line in lines)


def test_what_it_decides_was_fitted_out_of_the_folds(refitted: Path) -> None:
    decision = evaluation_of(refitted)["decision"]
    assert decision["fitted_on"] == "out-of-fold"
    # The same rows are answered in predictions/folds.parquet, there as each fold decides.
    answers = pl.read_parquet(refitted / "predictions" / "folds.parquet")
    assert answers.height == 483
    bundle = json.loads((refitted / "model" / "bundle.json").read_text())
    assert bundle["output"]["threshold"] == decision["threshold"]["value"]
    assert decision["calibration"]["log_loss_after"] < decision["calibration"]["log_loss_before"]


def test_a_refit_that_was_stopped_goes_on_to_the_same_weights(refitted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(refitted, run)
    whole = (run / "model" / "weights.safetensors").read_bytes()
    shutil.rmtree(run / "model")
    newest = max((run / "checkpoints").iterdir(), key=lambda path: path.name)
    shutil.rmtree(newest)
    shutil.rmtree(run / "folds" / "fold-002")
    danlu.resume(run)
    assert (run / "model" / "weights.safetensors").read_bytes() == whole


def test_a_model_that_fits_itself_is_refitted_by_rounds(tmp_path: Path) -> None:
    recipe = {**REFIT, "model": {"name": "tree"}, "training": {}}
    recipe["evaluation"] = {"folds": {"folds": 3, "final": "refit"}, "resamples": 0, "baselines": False}
    run = danlu.run(recipe, output=tmp_path).path
    rounds = np.median([best_epoch(fold) for fold in sorted((run / "folds").iterdir())])
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == rounds
    assert evaluation_of(run)["test"]["accuracy"]["value"] > 0.85


def test_a_schedule_that_goes_by_validation_is_refused(tmp_path: Path) -> None:
    recipe = {**REFIT, "training": {"schedule": "plateau"}}
    with pytest.raises(RecipeError, match=r"plateau needs a validation split"):
        danlu.run(recipe, output=tmp_path)
