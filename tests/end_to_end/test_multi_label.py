"""Several labels a row: read in every form, split alike, learned, judged, kept and answered, for every kind of data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import danlu as package
from danlu.artifacts.run import RunDirectory
from danlu.data.builtin import read_builtin
from danlu.data.dataset import Dataset
from danlu.data.interpret import open_dataset
from danlu.data.splits import iterative_stratification
from danlu.errors import DataError, RecipeError
from danlu.recipe.load import load_recipe
from danlu.recipe.sections.data import Data
from danlu.tasks.multi_label import read_labels
from tests.conftest import TINY_TEXT

SIGNS = ("large", "rough", "malignant")


def tumours() -> pl.DataFrame:
    """The breast cancer set with three signs of each tumour, none a column that the model sees."""
    frame = read_builtin("builtin:breast-cancer").frame
    told = frame.select(
        (pl.col("mean area") > pl.col("mean area").median()).alias("large"),
        (pl.col("mean texture") > pl.col("mean texture").median()).alias("rough"),
        (pl.col("diagnosis") == "malignant").alias("malignant"),
    )
    return frame.drop("diagnosis", "mean area", "worst area", "mean texture", "worst texture").hstack(told)


def as_lists(frame: pl.DataFrame) -> pl.DataFrame:
    lists = [[name for name in SIGNS if row[name]] for row in frame.iter_rows(named=True)]
    return frame.drop(SIGNS).with_columns(pl.Series("signs", lists, dtype=pl.List(pl.String)))


def as_words(frame: pl.DataFrame) -> pl.DataFrame:
    lists = as_lists(frame)["signs"].to_list()
    return frame.drop(SIGNS).with_columns(pl.Series("signs", ["; ".join(row) or ";" for row in lists]))


def recipe(source: Path, **data: Any) -> dict[str, Any]:
    return {
        "data": {"source": str(source), **data},
        "model": {"name": "mlp"},
        "training": {"epochs": 8},
        "evaluation": {"resamples": 100},
    }


def kept(dataset: Dataset) -> list[list[str]]:
    assert dataset.target is not None
    return [read_labels(text) for text in dataset.frame[dataset.target].to_list()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("labels")
    tumours().write_csv(folder / "tumours.csv")
    return package.run(recipe(folder / "tumours.csv", target=list(SIGNS)), output=folder / "runs")


def test_three_forms_of_a_file_mean_the_same(tmp_path: Path) -> None:
    frame = tumours()
    frame.write_csv(tmp_path / "columns.csv")
    as_words(frame).write_csv(tmp_path / "words.csv")
    as_lists(frame).write_parquet(tmp_path / "lists.parquet")
    as_lists(frame).write_ndjson(tmp_path / "lists.jsonl")
    forms = (
        Data(source=str(tmp_path / "columns.csv"), target=SIGNS),
        Data(source=str(tmp_path / "words.csv"), target="signs", target_separator=";"),
        Data(source=str(tmp_path / "lists.parquet"), target="signs"),
        Data(source=str(tmp_path / "lists.jsonl"), target="signs"),
    )
    opened = [open_dataset(form) for form in forms]
    assert {each.task.name for each in opened} == {"multi-label"}
    assert all(kept(each) == kept(opened[0]) for each in opened)
    assert [len(each.used) for each in opened] == [26] * 4
    assert [] in kept(opened[0]) and sorted(SIGNS) in kept(opened[0])


def test_wrong_labels_are_refused_by_name(tmp_path: Path) -> None:
    frame = tumours()
    path = tmp_path / "wrong.csv"
    frame.with_columns(pl.lit(3).alias("large")).write_csv(path)
    with pytest.raises(DataError, match=r"'large' of data\.target holds '3'"):
        open_dataset(Data(source=str(path), target=SIGNS))
    frame.with_columns(pl.lit(0).alias("large")).write_csv(path)
    with pytest.raises(DataError, match=r"'large' of data\.target is 0 in every row"):
        open_dataset(Data(source=str(path), target=SIGNS))
    with pytest.raises(DataError, match="one label per row"):
        open_dataset(Data(source=str(path), target="rough", task="multi-label"))
    with pytest.raises(DataError, match="no column 'ruogh'"):
        open_dataset(Data(source=str(path), target=("ruogh", "large")))


def test_a_row_without_an_answer_is_left_out_where_the_recipe_says_so(tmp_path: Path) -> None:
    gaps = (
        tumours()
        .with_row_index()
        .with_columns(pl.when(pl.col("index") < 9).then(None).otherwise(pl.col("rough")).alias("rough"))
    )
    gaps.drop("index").write_csv(tmp_path / "gaps.csv")
    section: dict[str, Any] = {"source": str(tmp_path / "gaps.csv"), "target": list(SIGNS)}
    with pytest.raises(DataError, match="missing in 9 of 569 rows"):
        package.check({"data": section})
    assert package.check({"data": {**section, "clean": {"unlabelled": "drop"}}})["dropped"] == {"no answer": 9}


def test_what_needs_one_answer_a_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tumours.csv"
    tumours().write_csv(path)
    for changes, message in (
        ({"model": {"name": "tree"}}, "tree learns classification and regression, not multi-label"),
        ({"balance": "class-weights"}, "class-weights balances classes"),
        ({"encode": "target"}, "target encoding needs a single label per row"),
    ):
        model = changes.pop("model", {"name": "mlp"})
        asked = {**recipe(path, target=list(SIGNS), **changes), "model": model}
        with pytest.raises(RecipeError, match=message):
            package.check(asked)


def test_rows_are_dealt_out_with_each_label_alike() -> None:
    generator = np.random.default_rng(0)
    labels = generator.random((2000, 6)) < np.array([0.5, 0.3, 0.1, 0.05, 0.02, 0.005])
    shares = np.array([0.7, 0.15, 0.15])
    parts = iterative_stratification(labels, shares, generator)
    sizes = np.bincount(parts) / 2000
    held = np.stack([labels[parts == part].sum(axis=0) for part in range(3)]) / labels.sum(axis=0)
    assert np.abs(sizes - shares).max() < 0.01
    assert np.abs(held - shares[:, None]).max(axis=0)[:4].max() < 0.03  # at random it would be 0.1
    assert (np.stack([labels[parts == part].sum(axis=0) for part in range(3)]) > 0).all()


def test_the_loss_is_binary_cross_entropy_with_smoothed_answers() -> None:
    from danlu.tasks.loss_weighting import LossWeighting
    from danlu.tasks.table import get_task

    generator = np.random.default_rng(1)
    logits, given = generator.normal(size=(5, 3)), (generator.random((5, 3)) < 0.5).astype(float)
    wanted = 0.8 * given + 0.1
    chance = 1 / (1 + np.exp(-logits))
    expected = -(wanted * np.log(chance) + (1 - wanted) * np.log(1 - chance)).mean(axis=1).sum()
    loss, count = (
        get_task("multi-label")
        .head(None)
        .loss(torch.tensor(logits), torch.tensor(given, dtype=torch.float32), LossWeighting(smoothing=0.2))
    )
    assert count == 5
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_a_table_of_several_labels_beats_its_baselines_trivial_one(run: RunDirectory) -> None:
    figures = run.evaluation()
    frequency = figures["baselines"]["frequency"]["test"]
    assert figures["labels"] == sorted(SIGNS)
    assert figures["main"]["metric"] == "label-f1"
    assert figures["test"]["label-auroc"]["value"] > frequency["label-auroc"]["value"] + 0.3
    assert figures["test"]["hamming-loss"]["value"] < frequency["hamming-loss"]["value"] - 0.1
    for name in ("logistic-regression", "gradient-boosting"):
        assert figures["baselines"][name]["test"]["label-auroc"]["value"] > 0.85


def test_each_labels_figures_are_sklearns(run: RunDirectory) -> None:
    from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

    answers = pl.read_parquet(run.path / "predictions" / "test.parquet")
    figures = run.evaluation()["test"]["classes"]
    for label in SIGNS:
        truth = [label in row for row in answers["truth"].to_list()]
        said = [label in row for row in answers["prediction"].to_list()]
        own = figures[label]
        assert own["support"] == sum(truth)
        for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            assert own[name] == pytest.approx(score(truth, said))
        assert own["auroc"] == pytest.approx(roc_auc_score(truth, answers[f"probability_{label}"]), abs=1e-6)
        assert own["intervals"]["f1"][0] <= own["f1"] <= own["intervals"]["f1"][1]


def test_the_worst_rows_are_those_of_most_wrong_labels(run: RunDirectory) -> None:
    worst = json.loads((run.path / "predictions" / "worst.json").read_text())
    answers = pl.read_parquet(run.path / "predictions" / "test.parquet")
    pairs = zip(answers["truth"].to_list(), answers["prediction"].to_list(), strict=True)
    wrong = {row: set(own) ^ set(said) for row, (own, said) in zip(answers["row"].to_list(), pairs, strict=True)}
    assert worst["by"] == "labels" and worst["count"] == sum(map(bool, wrong.values())) > 0
    told = [{*each["missed"], *each["superfluous"]} for each in worst["rows"]]
    assert told == [wrong[each["row"]] for each in worst["rows"]]
    assert [len(each) for each in told] == sorted(map(len, wrong.values()), reverse=True)[: len(told)]
    alike = [each["figure"] for each in worst["rows"] if len(each["missed"]) + len(each["superfluous"]) == 1]
    assert alike == sorted(alike, reverse=True)
    for each in worst["rows"]:
        own = each["truth"].split(", ")
        assert set(each["missed"]) <= set(own) and not set(each["superfluous"]) & set(own)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    first = next(each for each in worst["rows"] if each["superfluous"])
    assert f'<span class="extra">+ {first["superfluous"][0]}</span>' in page


def test_a_bundle_answers_lists_of_labels(run: RunDirectory, tmp_path: Path) -> None:
    test = pl.read_parquet(run.path / "predictions" / "test.parquet")
    rows = tumours()[test["row"].to_list()].drop(SIGNS)
    answers = package.load(run.path).predict(rows)
    assert answers["prediction"].to_list() == test["prediction"].to_list()
    given = [[label for label in sorted(SIGNS) if row[f"probability_{label}"] >= 0.5] for row in answers.to_dicts()]
    assert answers["prediction"].to_list() == given
    rows.write_csv(tmp_path / "rows.csv")
    package.predict(run.path, str(tmp_path / "rows.csv"), output=tmp_path / "answers.csv")
    joined = pl.read_csv(tmp_path / "answers.csv")["prediction"].fill_null("").to_list()
    assert joined == [";".join(row) for row in given]


def test_runs_of_several_labels_are_compared(run: RunDirectory, tmp_path: Path) -> None:
    asked = load_recipe(run.path / "recipe.yaml", overrides=["training.epochs=1"])
    other = package.run(asked, output=tmp_path, name="shorter")
    found = package.compare([run.path, other.path])
    assert set(found["metrics"]["label-f1"]) == set(found["runs"])
    assert found["metrics"]["label-f1"][run.path.name] == pytest.approx(run.evaluation()["test"]["label-f1"]["value"])
    assert found["differences"][0]["metrics"]["label-f1"]["value"] < 0


@pytest.mark.slow
def test_folds_and_a_watched_metric_work_with_several_labels(tmp_path: Path) -> None:
    tumours().write_csv(tmp_path / "tumours.csv")
    asked = recipe(tmp_path / "tumours.csv", target=list(SIGNS))
    asked["training"] = {"epochs": 3, "early_stopping": {"metric": "validation/label-f1", "patience": 2}}
    asked["evaluation"] = {"folds": 2, "resamples": 50, "baselines": False}
    found = package.run(asked, output=tmp_path / "runs").evaluation()["folds"]
    assert len(found["metrics"]["hamming-loss"]["values"]) == 2
    assert 0 < found["out_of_fold"]["label-f1"]["value"] <= 1


@pytest.mark.slow
def test_images_of_several_labels_are_learned(tmp_path: Path) -> None:
    digits = read_builtin("builtin:digits").frame.head(600)
    lists = [[*(["even"] if d % 2 == 0 else []), *(["round"] if d in (0, 6, 8, 9) else [])] for d in digits["digit"]]
    signs = pl.Series("signs", lists, dtype=pl.List(pl.String))
    digits.select("image", signs).write_parquet(tmp_path / "digits.parquet")
    asked = {
        "data": {"source": str(tmp_path / "digits.parquet"), "target": "signs", "augment": ["mixup"]},
        "model": "timm:test_resnet",
        "training": {"epochs": 4, "batch_size": 32, "optimizer": {"lr": 3e-3}},
        "evaluation": {"resamples": 0},
    }
    run = package.run(asked, output=tmp_path / "runs")
    figures = run.evaluation()
    assert figures["test"]["label-auroc"]["value"] > figures["baselines"]["frequency"]["test"]["label-auroc"]["value"]
    worst = json.loads((run.path / "predictions" / "worst.json").read_text())
    assert worst["by"] == "labels" and all(each["png"] for each in worst["rows"])
    answer = package.load(run.path).predict([digits["image"][0]])
    assert set(answer.columns) == {"prediction", "probability_even", "probability_round"}


@pytest.mark.slow
def test_texts_of_several_labels_are_learned(tmp_path: Path) -> None:
    frame = read_builtin("builtin:speeches").frame.head(400)
    told = [
        [name for name, word in (("war", "war"), ("money", "treasury"), ("foreign", "foreign")) if word in text.lower()]
        for text in frame["text"].to_list()
    ]
    rows = [json.dumps({"text": text, "about": about}) for text, about in zip(frame["text"], told, strict=True)]
    (tmp_path / "speeches.jsonl").write_text("\n".join(rows))
    asked = {
        "data": {
            "source": str(tmp_path / "speeches.jsonl"),
            "target": "about",
            "text": "text",
            "sequence_length": 64,
            "vocabulary": 1024,
        },
        "model": {"name": "hf:bert", "config": TINY_TEXT},
        "training": {"epochs": 1},
        "evaluation": {"resamples": 0},
    }
    found = package.run(asked, output=tmp_path / "runs").evaluation()
    assert found["labels"] == ["foreign", "money", "war"]
    assert {"label-f1", "subset-accuracy", "mean-average-precision"} <= set(found["test"])
    assert found["baselines"]["logistic-regression"]["test"]["label-auroc"]["value"] > 0.6
