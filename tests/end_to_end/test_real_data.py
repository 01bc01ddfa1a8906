"""Real sets, each with what makes it hard: rare classes, gaps and repeated rows, texts that stand there twice."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu as package
from danlu.data.balance.registry import BALANCERS
from danlu.experiment.data_context import DataContext, fit_preprocessing, load_data
from danlu.recipe.load import check_recipe
from tests.support.real import adult, chinese_reviews, keel

Figures = dict[str, tuple[float, float]]

# Those that take rows away near the border, or weigh hard rows, without making the classes even.
GENTLE = ("tomek", "enn", "focal")


def opened(data: dict[str, Any]) -> DataContext:
    return load_data(check_recipe({"data": data}))


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """Balanced accuracy and AUROC on the test split of yeast4 (1,484 rows, 3.4 % positive), by method."""
    folder = tmp_path_factory.mktemp("yeast")
    keel("yeast4").write_csv(folder / "yeast4.csv")

    def judged(method: str) -> tuple[float, float]:
        recipe = {
            "data": {
                "source": str(folder / "yeast4.csv"),
                "target": "class",
                "balance": method,
                "split": {"test": 0.4},
            },
            "model": {"name": "mlp", "hidden": [32]},
            "training": {"epochs": 20, "batch_size": 64, "optimizer": {"lr": 5e-3}},
            "evaluation": {
                "metrics": ["balanced-accuracy", "auroc"],
                "baselines": False,
                "resamples": 20,
                "slices": False,
            },
        }
        test = package.run(recipe, output=folder, name="run", overwrite=True).evaluation()["test"]
        return test["balanced-accuracy"]["value"], test["auroc"]["value"]

    return {method: judged(method) for method in BALANCERS}


@pytest.mark.slow
def test_on_a_rare_class_every_method_ranks_and_most_find_far_more_of_it(balanced: Figures) -> None:
    accuracy, auroc = ({method: pair[at] for method, pair in balanced.items()} for at in (0, 1))
    assert accuracy["none"] < 0.65  # a model that makes few errors hardly ever answers "positive"
    assert min(auroc.values()) > 0.7, balanced
    shifting = [method for method in BALANCERS if method not in (*GENTLE, "none")]
    assert {method: accuracy[method] for method in shifting if accuracy[method] < accuracy["none"] + 0.1} == {}
    assert {method: accuracy[method] for method in GENTLE if accuracy[method] < accuracy["none"] - 0.05} == {}


# Doors and persons of cars are 2, 3, 4 and "5more": words that look like numbers.
COUNTS = {"column_2": "category", "column_3": "category"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "columns", "categories"), [("abalone9-18", {}, 1), ("car-good", COUNTS, 6)])
def test_synthetic_rows_of_real_mixed_columns_are_made_and_help(
    name: str, columns: dict[str, str], categories: int, tmp_path: Path
) -> None:
    keel(name).write_csv(tmp_path / "rare.csv")
    recipe = {
        "data": {"source": str(tmp_path / "rare.csv"), "target": "class", "columns": columns, "balance": "smote"},
        "model": {"name": "mlp", "hidden": [32]},
        "training": {"epochs": 15, "batch_size": 64, "optimizer": {"lr": 5e-3}},
        "evaluation": {"metrics": ["balanced-accuracy", "auroc"], "baselines": False},
    }
    run = package.run(recipe, output=tmp_path)
    known = json.loads((run.path / "data" / "profile.json").read_text(encoding="utf-8"))
    assert sum(column["type"] == "category" for column in known["columns"]) == categories
    after = [figures["after"] for figures in known["target"]["balanced"]["classes"].values()]
    assert after[0] == after[1]
    assert run.evaluation()["test"]["auroc"]["value"] > 0.65


def test_the_census_is_read_as_it_comes(tmp_path: Path) -> None:
    source = adult(tmp_path / "adult.csv")
    data = opened(
        {
            "source": str(source),
            "target": "income",
            "split": {"by": {"column": "part"}},
            "clean": {"duplicates": "drop"},
        }
    )
    missing = {column.name: column.missing for column in data.dataset.columns}
    assert (missing["workclass"], missing["occupation"], missing["country"]) == (2799, 2809, 857)
    assert data.dataset.frame.height == 48_842
    # 52 rows repeat another; those of the published test that stand in training too are the ones that go.
    assert data.dropped.height == 52
    assert len(data.splits.test) == 16_281 - data.dropped.filter(pl.col("row") >= 32_561).height
    values = next(state for state in fit_preprocessing(data).preprocessor.categories if state.column == "sex").values  # type: ignore[union-attr]
    assert len(values) == 2


def test_reviews_that_stand_there_twice_are_told_and_left_out(tmp_path: Path) -> None:
    reviews = chinese_reviews()
    assert reviews["label"].value_counts().sort("label").rows() == [("negative", 18_575), ("positive", 16_548)]
    reviews.sample(4_000, seed=1, shuffle=True).write_ndjson(tmp_path / "reviews.jsonl")
    section = {"source": str(tmp_path / "reviews.jsonl"), "text": "review", "target": "label"}
    distinct = pl.read_ndjson(tmp_path / "reviews.jsonl").unique().height

    def repeated(data: DataContext) -> int:
        return sum(finding.figures["rows"] for finding in data.findings if finding.subject == "duplicates")

    raw, cleaned = opened(section), opened({**section, "clean": {"duplicates": "drop"}})
    assert sum(len(part) for _, part in cleaned.splits.items()) == distinct < 4_000
    # What is left stands there as praise and as blame, which no cleaning can settle.
    (torn,) = (finding for finding in cleaned.findings if finding.subject == "contradictions")
    assert repeated(cleaned) <= torn.figures["rows"] < repeated(raw) / 10
