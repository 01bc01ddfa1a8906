"""Splits that the source gives are kept as given, from the recipe to the evaluation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import danlu
from danlu.data.sources.reader import read_source
from danlu.errors import DataError, RecipeError
from danlu.experiment.data_context import load_data
from danlu.recipe.load import check_recipe, dump_recipe, load_recipe
from tests.support.pictures import classes

QUICK = {"resamples": 100, "slices": False, "baselines": False}


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    for seed, (name, rows) in enumerate({"train": 60, "val": 14, "test": 16}.items()):
        generator = np.random.default_rng(seed)
        labels = np.array(["no", "yes"])[np.arange(rows) % 2]
        frame = pl.DataFrame({"x": generator.normal(size=rows) + 3 * (labels == "yes"), "y": labels})
        frame.write_csv(tmp_path / f"{name}.csv")
    return tmp_path


def recipe(source: Any, **data: Any) -> dict[str, Any]:
    return {"data": {"source": source, "target": "y", **data}, "model": "linear", "training": {"epochs": 2}}


def sizes(values: dict[str, Any]) -> dict[str, list[int]]:
    return {name: part.rows.tolist() for name, part in load_data(check_recipe(values)).splits.items()}


def test_rows_stay_in_the_splits_that_they_came_in(parts: Path) -> None:
    source = {"train": str(parts / "train.csv"), "validation": str(parts / "val.csv"), "test": str(parts / "test.csv")}
    expected = {"train": list(range(60)), "validation": list(range(60, 74)), "test": list(range(74, 90))}
    assert sizes(recipe(source)) == expected
    context = load_data(check_recipe(recipe(source)))
    (column,) = [each for each in context.dataset.columns if each.name == "split"]
    assert (column.used, column.reason) == (False, "decides the split")
    resolved = check_recipe(context.recipe.model_dump(mode="json", by_alias=True))
    assert {name: part.rows.tolist() for name, part in load_data(resolved).splits.items()} == expected
    assert "source:\n    train:" in dump_recipe(resolved)


def test_a_split_that_is_not_given_is_drawn_from_the_training_rows(parts: Path) -> None:
    found = sizes(recipe({"train": str(parts / "train.csv"), "test": str(parts / "test.csv")}))
    assert found["test"] == list(range(60, 76))
    assert (len(found["validation"]), len(found["train"])) == (8, 52)  # of each class, 4.5 are rounded to 4
    assert max(found["validation"]) < 60
    assert found == sizes(recipe({"train": str(parts / "train.csv"), "test": str(parts / "test.csv")}))
    given = {"train": str(parts / "train.csv"), "validation": str(parts / "val.csv")}
    found = sizes(recipe(given, split={"test": 0}))
    assert (found["validation"], found["test"]) == (list(range(60, 74)), [])
    assert len(sizes(recipe(given))["test"]) == 8
    assert {name: len(rows) for name, rows in sizes(recipe({"train": str(parts / "train.csv")})).items()} == {
        "train": 44,
        "validation": 8,
        "test": 8,
    }


@pytest.mark.parametrize(
    ("source", "split", "said"),
    [
        (("train", "validation"), {}, [("test", 8, "data.split.test: 0")]),
        (("train", "test"), {}, [("validation", 8, "")]),
        (("train", "validation"), {"test": 0}, []),
        (("train", "validation", "test"), {}, []),
    ],
)
def test_rows_drawn_for_a_split_that_is_not_given_are_said(
    source: tuple[str, ...], split: dict[str, Any], said: list[tuple[str, int, str]], parts: Path
) -> None:
    files = {"train": "train", "validation": "val", "test": "test"}
    given = {name: str(parts / f"{files[name]}.csv") for name in source}
    findings = danlu.check(recipe(given, split=split))["findings"]
    drawn = [each for each in findings if each["key"] == "drawn-splits"]
    assert [(each["figures"]["split"], each["figures"]["rows"], each["cure"]) for each in drawn] == said


def test_a_folder_with_splits_of_its_own_is_no_split(tmp_path: Path, parts: Path) -> None:
    for split in ("train", "test"):
        classes(tmp_path / "pictures" / split)
        (tmp_path / "tables" / split).mkdir(parents=True)
    assert len(load_data(check_recipe({"data": {"source": str(tmp_path / "pictures")}})).splits.test) == 24
    with pytest.raises(DataError, match=r"pictures: holds splits of its own, and data\.source\.train takes one"):
        load_data(check_recipe({"data": {"source": {"train": str(tmp_path / "pictures")}}}))
    with pytest.raises(DataError, match="holds splits of its own, and the other sources do not"):
        read_source([str(tmp_path / "pictures"), str(classes(tmp_path / "more"))])
    for split in ("train", "test"):
        pl.read_csv(parts / f"{split}.csv").write_csv(tmp_path / "tables" / split / "a.csv")
    with pytest.raises(DataError, match=r"named like splits; give them as data\.source: \{test: .*, train: .*\}"):
        read_source(str(tmp_path / "tables"))


@pytest.mark.parametrize("source", [[], "", [""], {"train": []}, {"train": ""}, [{"path": []}], [{"path": ""}]])
def test_a_source_that_names_nothing_is_refused(source: Any) -> None:
    with pytest.raises(RecipeError, match=r"data\.source: is empty; give a file, a folder, a glob"):
        check_recipe(recipe(source))


@pytest.mark.parametrize("source", [[], "", " "])
def test_nothing_to_read_is_refused(source: Any) -> None:
    with pytest.raises(DataError, match="the source is empty"):
        read_source(source)


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"test": 0.2}, r"data\.split\.test: draws rows, and data\.source\.test gives them"),
        ({"by": "random"}, r"data\.split\.by: splits the rows, which data\.source gives in splits \(train, test\)"),
        ({"by": {"time": "d"}}, r"data\.split\.by: splits the rows"),
    ],
)
def test_keys_that_contradict_given_splits_are_refused(split: dict[str, Any], said: str, parts: Path) -> None:
    given = {"train": str(parts / "train.csv"), "test": str(parts / "test.csv")}
    with pytest.raises(RecipeError, match=said) as refused:
        check_recipe(recipe(given, split=split))
    assert refused.value.code == "DL110"


def test_paths_begin_at_the_recipe_and_keys_can_be_set(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (parts / "r.yaml").write_text(
        "data:\n  source: {train: train.csv, validation: [val.csv], test: test.csv}\n  target: y\nmodel: linear\n"
    )
    loaded = load_recipe(parts / "r.yaml")
    assert loaded.data.sources == tuple(str(parts / f"{name}.csv") for name in ("train", "val", "test"))
    monkeypatch.chdir(parts)
    changed = load_recipe(parts / "r.yaml", overrides=["data.source.test=val.csv"])
    assert changed.data.sources[2] == str(parts / "val.csv")
    (parts / "r.yaml").write_text("data:\n  source: {train: train.csv, tset: test.csv}\n  target: y\n")
    with pytest.raises(RecipeError, match=r'r\.yaml:2: data\.source.*tset: unknown key; the nearest is "test"'):
        load_recipe(parts / "r.yaml")


def test_splits_with_other_columns_are_refused(parts: Path) -> None:
    pl.read_csv(parts / "test.csv").drop("y").write_csv(parts / "test.csv")
    with pytest.raises(DataError, match=r"test\.csv: other columns than .*train\.csv: y"):
        load_data(check_recipe(recipe({"train": str(parts / "train.csv"), "test": str(parts / "test.csv")})))


def test_rows_that_repeat_training_rows_do_not_test(parts: Path) -> None:
    test = pl.read_csv(parts / "test.csv")
    pl.concat([pl.read_csv(parts / "train.csv"), test[:3]]).write_csv(parts / "train.csv")
    given = {"train": str(parts / "train.csv"), "validation": str(parts / "val.csv"), "test": str(parts / "test.csv")}
    found = sizes(recipe(given, clean={"duplicates": "drop"}))
    assert {name: len(rows) for name, rows in found.items()} == {
        "train": 63,
        "validation": 14,
        "test": 13,
    }


@pytest.mark.training
def test_a_run_judges_on_the_given_test(parts: Path, tmp_path: Path) -> None:
    given = {"train": str(parts / "train.csv"), "validation": str(parts / "val.csv"), "test": str(parts / "test.csv")}
    run = danlu.run({**recipe(given), "training": {"epochs": 40}, "evaluation": QUICK}, output=tmp_path / "runs")
    tested = pl.read_parquet(run.path / "predictions" / "test.parquet")
    assert tested["row"].to_list() == list(range(74, 90))
    assert tested["truth"].to_list() == pl.read_csv(parts / "test.csv")["y"].to_list()
    assert json.loads((run.path / "evaluation.json").read_text())["test"]["accuracy"]["value"] > 0.7


@pytest.mark.training
def test_samples_of_a_predictor_in_any_form(parts: Path, tmp_path: Path) -> None:
    from decimal import Decimal

    import pandas as pd

    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "plan": np.array(["basic", "plus", "pro"])[np.arange(90) % 3],
            "z": generator.normal(size=90),
            "a": generator.normal(size=90),
        }
    )
    frame["y"] = np.where(frame["z"] + (frame["plan"] == "pro") > 0.2, "yes", "no")
    frame.to_csv(parts / "all.csv", index=False)
    run = danlu.run({**recipe(str(parts / "all.csv")), "evaluation": QUICK}, output=tmp_path / "runs")
    model = danlu.load(run.path)
    features = frame.drop(columns="y").head(4)
    expected = model.predict(features)
    assert model.predict(features.to_numpy()).equals(expected)  # words and numbers, in the order of the file
    assert model.predict(features.to_numpy().tolist()).equals(expected)
    assert danlu.predict(run.path, features.to_numpy()).equals(expected)
    row = features.iloc[2]
    for alone in (model.predict(row), danlu.predict(run.path, row), model.predict(dict(row))):
        assert_frame_equal(alone, expected[2:3], abs_tol=1e-6)  # a row alone may round otherwise
    exact = features.assign(a=[Decimal(repr(value)) for value in features["a"].tolist()])
    assert model.predict(exact)["prediction"].to_list() == expected["prediction"].to_list()
    nullable = features.convert_dtypes()
    assert model.predict(nullable).equals(expected)
    assert model.predict(features.convert_dtypes(dtype_backend="pyarrow")).equals(expected)
    holed = features.astype(object)
    holed.loc[0, "a"] = pd.NA
    assert model.predict(holed)[1:].equals(expected[1:])
    with pytest.raises(DataError, match=r"a matrix with a column for each of plan, z, a, in this order"):
        model.predict(frame.to_numpy())
