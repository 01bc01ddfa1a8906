"""Sources with weights: training reads some rows more often, validation and test each row once."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import danlu as package
from danlu.data.mixing import mix_sources
from danlu.data.splits import Split, Splits, TrainSplit
from danlu.errors import DataError, RecipeError
from danlu.experiment.data_context import DataContext, load_data
from danlu.experiment.folds import fold_splits
from danlu.recipe.load import check_recipe
from danlu.recipe.sections.evaluation import Folds

SIZES = {"a": 40, "b": 60, "c": 80}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Tables whose column `id` says the file and the row."""
    for place, (name, rows) in enumerate(SIZES.items()):
        generator = np.random.default_rng(place)
        columns = {"x": generator.normal(size=rows), "y": generator.normal(size=rows)}
        ids = [f"{name}{row}" for row in range(rows)]
        pl.DataFrame({"id": ids, **columns}).write_csv(tmp_path / f"{name}.csv")
    return {name: str(tmp_path / f"{name}.csv") for name in SIZES}


def load(source: Any, **data: Any) -> DataContext:
    said = {"source": source, "target": "y", "columns": {"id": "drop"}, "split": {"validation": 0.25, "test": 0.25}}
    return load_data(check_recipe({"data": {**said, **data}, "model": "linear"}))


def counts(part: Split) -> dict[str, Counter[int]]:
    """How often the rows of each file are there: file -> times -> rows."""
    times = Counter(part.column("id").to_list())
    found: dict[str, Counter[int]] = {name: Counter() for name in SIZES}
    for name, often in times.items():
        found[name[0]][often] += 1
    return found


def test_a_weight_says_how_often_training_reads_a_row(files: dict[str, str]) -> None:
    mixed = load([{"path": files["a"], "weight": 2}, files["b"], {"path": files["c"], "weight": 0.5}])
    plain = load([files["a"], files["b"], files["c"]])
    for name in ("validation", "test"):  # the same rows, each once
        one, other = getattr(mixed.splits, name), getattr(plain.splits, name)
        assert one.column("id").to_list() == other.column("id").to_list()
    rows, found = counts(plain.splits.train), counts(mixed.splits.train)
    assert found["a"] == Counter({2: rows["a"][1]})
    assert found["b"] == Counter({1: rows["b"][1]})
    assert found["c"] == Counter({1: round(rows["c"][1] / 2)})
    assert len(mixed.splits.train) == 2 * rows["a"][1] + rows["b"][1] + round(rows["c"][1] / 2)


def test_a_broken_weight_draws_its_rest_by_the_seed(files: dict[str, str]) -> None:
    source = [{"path": files["a"], "weight": 2.25}, files["b"]]
    first, again = load(source).splits.train, load(source).splits.train
    rows = counts(load([files["a"], files["b"]]).splits.train)["a"][1]
    assert counts(first)["a"] == Counter({2: rows - round(rows / 4), 3: round(rows / 4)})
    assert first.rows.tolist() == again.rows.tolist()
    other = load_data(
        check_recipe(
            {"data": {"source": source, "target": "y", "columns": {"id": "drop"}}, "model": "linear", "seed": 5}
        )
    )
    assert other.splits.train.rows.tolist() != first.rows.tolist()


def test_the_weight_is_no_feature_whatever_the_columns_are_called(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pl.DataFrame({"weight": np.arange(50.0), "y": np.arange(50.0) % 7}).write_csv(tmp_path / f"{name}.csv")
    source = [{"path": str(tmp_path / "a.csv"), "weight": 3}, str(tmp_path / "b.csv")]
    recipe = {"data": {"source": source, "target": "y", "task": "regression"}, "model": "linear"}
    context = load_data(check_recipe(recipe))
    assert context.dataset.weight_column == "weight_2"
    assert [column.name for column in context.dataset.used] == ["weight"]
    assert context.dataset.frame["weight"].to_list() == [*np.arange(50.0), *np.arange(50.0)]


def test_given_splits_mix_the_training_split_alone(files: dict[str, str]) -> None:
    train = [{"path": [files["a"]], "weight": 2}, {"path": files["b"]}]
    found = load({"train": train, "test": files["c"]}, split={"validation": 0.25})
    assert counts(found.splits.test)["c"] == Counter({1: 80})
    assert set(counts(found.splits.train)["a"]) == {2}
    assert set(counts(found.splits.train)["b"]) == {1}
    assert set(Counter(found.splits.validation.column("id").to_list()).values()) == {1}
    with pytest.raises(RecipeError):
        load({"train": files["a"], "test": [{"path": files["b"], "weight": 2}]})


def test_no_fold_is_judged_on_rows_that_it_learned_from(files: dict[str, str]) -> None:
    context = load([{"path": files["a"], "weight": 2}, {"path": files["b"], "weight": 0.5}])
    learnable = load([files["a"], files["b"]]).splits
    judged: list[str] = []
    for splits in fold_splits(context, Folds(folds=3)):
        held = [*splits.validation.column("id").to_list(), *splits.test.column("id").to_list()]
        assert not set(held) & set(splits.train.column("id").to_list())
        assert set(counts(splits.train)["a"]) == {2}
        judged += splits.test.column("id").to_list()
    wanted = [*learnable.train.column("id").to_list(), *learnable.validation.column("id").to_list()]
    assert sorted(judged) == sorted(wanted)


@pytest.mark.parametrize("weight", [0, -1, "twice"])
def test_weights_are_above_zero(weight: Any, files: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match=r"data\.source"):
        load([{"path": files["a"], "weight": weight}, files["b"]])


def test_weights_that_leave_no_row_are_refused(files: dict[str, str]) -> None:
    with pytest.raises(DataError, match="leave none of the 60 training rows"):
        load([{"path": files["a"], "weight": 0.001}, {"path": files["b"], "weight": 0.002}])


def test_paths_begin_at_the_recipe_and_the_run_repeats_its_mixture(files: dict[str, str], tmp_path: Path) -> None:
    recipe = tmp_path / "mixed.yaml"
    recipe.write_text(
        "data: {source: [{path: a.csv, weight: 2}, b.csv], target: y, columns: {id: drop}}\n"
        "model: linear\ntraining: {max_steps: 2}\n",
        encoding="utf-8",
    )
    run = package.train(str(recipe), output=tmp_path / "runs", name="run")
    written = package.load_recipe(str(run.path / "recipe.yaml"))
    assert written.data.sources == (files["a"], files["b"])
    first, again = (load_data(each).splits.train.rows for each in (package.load_recipe(str(recipe)), written))
    assert first.tolist() == again.tolist()


def test_conversations_are_mixed_before_they_are_packed(tmp_path: Path) -> None:
    for name, said in (("a", "yes"), ("b", "no")):
        rows = {"prompt": [f"{name}{row}?" for row in range(30)], "response": [said] * 30}
        pl.DataFrame(rows).write_ndjson(tmp_path / f"{name}.jsonl")
    source = [{"path": str(tmp_path / "a.jsonl"), "weight": 2}, str(tmp_path / "b.jsonl")]
    recipe = {"data": {"source": source, "split": {"test": 0.1, "validation": 0.1}}, "model": "hf:llama"}
    context = load_data(check_recipe(recipe))
    assert context.dataset.kind.name == "chat"
    learned = Counter("yes" if '"yes"' in text else "no" for text in context.splits.train.column("messages").to_list())
    unmixed = context.unmixed
    assert unmixed is not None
    once = Counter("yes" if '"yes"' in text else "no" for text in unmixed.column("messages").to_list())
    assert learned == {"yes": 2 * once["yes"], "no": once["no"]}


@settings(deadline=None)
@given(st.lists(st.floats(0.05, 4.0), min_size=1, max_size=4), st.integers(0, 5))
def test_the_share_of_a_source_is_its_weight(weights: list[float], seed: int) -> None:
    """Whatever the weights, a row is there as often as its weight rounded down or up, and the sums are right."""
    from dataclasses import replace

    from danlu.core.seeds import Seed

    column = np.repeat(weights, 20)
    frame = pl.DataFrame({"weight": column})
    rows = np.arange(len(column))
    given_splits = Splits(TrainSplit(rows, frame), Split(rows[:0], frame), Split(rows[:0], frame))
    dataset = replace(DATASET, frame=frame, weight_column="weight")
    mixed = mix_sources(given_splits, dataset, Seed(seed)).train.rows
    times = np.bincount(mixed, minlength=len(rows))
    assert (times >= np.floor(column)).all()
    assert (times <= np.ceil(column)).all()
    assert (np.diff(mixed) >= 0).all()
    for weight in set(weights):
        own = column == weight
        assert times[own].sum() == int(weight) * own.sum() + round((weight - int(weight)) * own.sum())


DATASET = load_data(check_recipe({"data": {"source": "builtin:wine"}, "model": "linear"})).dataset
