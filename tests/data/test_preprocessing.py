"""Preparation: learned from the training split alone, exact on it, the same after a round trip through a bundle."""

from datetime import date, time, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter

from danlu.core.seeds import Seed
from danlu.data.dataset import Dataset
from danlu.data.descriptors import DataRequirements, Origin, RawData
from danlu.data.images.decode import decode
from danlu.data.interpret import interpret
from danlu.data.kinds.table import get_kind
from danlu.data.splits import TrainSplit
from danlu.data.tabular.categories import MISSING, OTHER
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.errors import DataError
from danlu.experiment.data_context import load_data
from danlu.recipe.load import check_recipe
from danlu.recipe.sections.data import Data
from danlu.tasks.base import FitInputs
from danlu.tasks.classification import ClassTarget
from danlu.tasks.regression import NumericTarget
from danlu.tasks.table import get_task

HERE = Origin("the test", Path())
numbers = st.floats(-1e6, 1e6, allow_nan=False, width=32)
columns = st.lists(st.one_of(st.none(), numbers), min_size=8, max_size=60).filter(
    lambda values: len({value for value in values if value is not None}) > 1
)


def section(scale: str = "standard") -> Data:
    return check_recipe({"data": {"source": "x.csv", "target": "y", "scale": scale}}).data


def opened(frame: pl.DataFrame) -> Dataset:
    target = pl.Series("y", ["a", "b"] * (frame.height // 2) + ["a"] * (frame.height % 2))
    return interpret(RawData(frame.with_columns(target), "the test", Path()), section())


def fit(frame: pl.DataFrame, scale: str = "standard") -> tuple[TabularPreprocessor, Dataset]:
    dataset = opened(frame)
    train = TrainSplit(np.arange(frame.height), dataset.frame)
    return TabularPreprocessor.fit(train, dataset, section(scale), DataRequirements(), Seed(0)), dataset


@given(columns)
@settings(max_examples=100, deadline=None)
def test_transformed_training_data_is_standardised(values: list[float | None]) -> None:
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    preprocessor, _ = fit(frame)
    numeric, _ = preprocessor.arrays(frame, "the test")
    assert np.isfinite(numeric).all()
    assert abs(numeric[:, 0].mean()) < 1e-3
    assert abs(numeric[:, 0].std() - 1) < 1e-3


@example(values=[0.0, 0.0, 0.0, 1.0, 1.0, 8e-44], scale="robust")  # quartiles that all but coincide
@given(columns, st.sampled_from(["minmax", "symmetric", "robust", "quantile", "none", "standard"]))
@settings(max_examples=100, deadline=None)
def test_every_scaler_keeps_order_and_its_range(values: list[float | None], scale: str) -> None:
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    preprocessor, _ = fit(frame, scale)
    numeric, _ = preprocessor.arrays(frame, "the test")
    present = np.array([value for value in values if value is not None])
    scaled = numeric[[value is not None for value in values], 0]
    order = np.argsort(present, kind="stable")
    assert (np.diff(scaled[order]) >= -1e-5 * max(1.0, float(np.abs(scaled).max()))).all()
    low, high = {"minmax": (0, 1), "symmetric": (-1, 1), "quantile": (-1, 1)}.get(scale, (-np.inf, np.inf))
    assert scaled.min() >= low - 1e-6
    assert scaled.max() <= high + 1e-6


@pytest.mark.training
@given(columns, columns, st.lists(st.sampled_from(["red", "green", "blue", None]), min_size=8, max_size=60))
@settings(max_examples=100, deadline=None)
def test_a_round_trip_through_a_bundle_changes_nothing(
    first: list[float | None], second: list[float | None], words: list[str | None]
) -> None:
    rows = min(len(first), len(second), len(words))
    frame = pl.DataFrame({"a": first[:rows], "b": second[:rows], "c": words[:rows]}, schema_overrides={"c": pl.String})
    preprocessor, _ = fit(frame.with_columns(d=pl.int_range(rows) * 0.1))
    again = type(preprocessor).model_validate_json(preprocessor.model_dump_json())
    assert again == preprocessor
    full = frame.with_columns(d=pl.int_range(rows) * 0.1)
    for one, other in zip(preprocessor.arrays(full, "x"), again.arrays(full, "x"), strict=True):
        np.testing.assert_array_equal(one, other)


@given(st.floats(-1e9, 1e9), st.text(max_size=5))
@settings(max_examples=25, deadline=None)
def test_rows_that_are_not_for_training_decide_nothing(extreme: float, word: str) -> None:
    base = pl.DataFrame({"x": [float(i % 13) for i in range(60)], "c": [("u", "v", "w")[i % 3] for i in range(60)]})
    train_rows = np.arange(40)
    changed = base.with_columns(
        x=pl.when(pl.int_range(60) >= 40).then(pl.lit(extreme)).otherwise(pl.col("x")),
        c=pl.when(pl.int_range(60) >= 40).then(pl.lit(word + "!")).otherwise(pl.col("c")),
    )
    states = []
    for frame in (base, changed):
        dataset = opened(frame)
        train = TrainSplit(train_rows, dataset.frame)
        states.append(TabularPreprocessor.fit(train, dataset, section(), DataRequirements(), Seed(0)))
    assert states[0] == states[1]


def test_nothing_of_a_real_set_but_its_training_rows_is_learned(table_file: Path) -> None:
    recipe = check_recipe({"data": {"source": str(table_file), "target": "cultivar"}})
    data = load_data(recipe)
    preprocessor = TabularPreprocessor.fit(
        data.splits.train, data.dataset, data.recipe.data, DataRequirements(), Seed(0)
    )
    state = {number.column: number for number in preprocessor.numbers}
    train, whole = data.splits.train.frame["proline"], data.dataset.frame["proline"]
    assert state["proline"].scaling.offset == pytest.approx(train.mean())
    assert state["proline"].scaling.offset != pytest.approx(whole.mean())
    assert state["ash"].fill == pytest.approx(data.splits.train.frame["ash"].median())


def test_missing_rare_and_unseen_categories_have_codes_of_their_own() -> None:
    frame = pl.DataFrame({"c": ["a", "a", "b", "b", "rare", None] * 1 + ["a", "b"] * 4, "x": np.arange(14) * 0.7})
    preprocessor, _ = fit(frame)
    _, codes = preprocessor.arrays(pl.DataFrame({"c": ["a", "b", "rare", "new", None], "x": [0.0] * 5}), "x")
    assert codes[:, 0].tolist() == [2, 3, OTHER, OTHER, MISSING]
    assert preprocessor.inputs.cardinalities == (4,)


def test_a_missing_number_becomes_the_training_median() -> None:
    preprocessor, _ = fit(pl.DataFrame({"x": [1.0, 2.0, 3.0, 100.0, None, 2.5, 1.5, 2.25]}), "none")
    numeric, _ = preprocessor.arrays(pl.DataFrame({"x": [None, float("nan"), float("inf"), 7.0]}), "x")
    assert numeric[:, 0].tolist() == [2.25, 2.25, 2.25, 7.0]


def test_dates_become_numbers_that_know_the_week() -> None:
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 12, 31), eager=True)
    preprocessor, _ = fit(pl.DataFrame({"when": days}), "none")
    numeric, _ = preprocessor.arrays(pl.DataFrame({"when": ["2024-03-04", "2024-03-11", "2024-03-05"]}), "x")
    parts = [number.part for number in preprocessor.numbers]
    week = numeric[:, [parts.index("week-sin"), parts.index("week-cos")]]
    np.testing.assert_allclose(week[0], week[1], atol=1e-3)
    assert np.abs(week[0] - week[2]).max() > 0.3


def test_durations_and_times_are_seconds_in_any_unit() -> None:
    seconds = [10.0, 20.0, 60.0, 3600.0] * 3
    durations = pl.Series([timedelta(seconds=value) for value in seconds])
    frame = pl.DataFrame({"d": durations, "t": [time(int(value) // 3600, 0, 1) for value in seconds]})
    fitted, _ = fit(frame)
    whole, _ = fitted.arrays(frame, "the test")
    other, _ = fitted.arrays(frame.with_columns(durations.dt.cast_time_unit("ns").alias("d")), "the test")
    assert np.array_equal(whole, other)
    assert [state.fill for state in fitted.numbers] == [40.0, 1.0]


@pytest.mark.parametrize("wrong", [date(2026, 1, 1), [1.0], b"1"])
def test_what_is_no_number_is_refused_where_one_was_learned(wrong: object) -> None:
    fitted, _ = fit(pl.DataFrame({"x": [0.5, 1.5, 2.5] * 4}))
    with pytest.raises(DataError, match=r"column 'x' holds .*, not numbers"):
        fitted.arrays(pl.DataFrame({"x": [wrong]}), "the test")


def test_a_numeric_target_is_standardised_and_comes_back_in_its_units() -> None:
    frame = pl.DataFrame({"y": [10.0, 20.0, 30.0, 40.0]})
    dataset = Dataset(frame, (), get_kind("tabular"), get_task("regression"), "", "y", "x", Path())
    target = dataset.task.fit_target(FitInputs(frame["y"], "y", "x"))
    assert isinstance(target, NumericTarget)
    encoded = target.encode(frame).numpy()
    assert abs(encoded.mean()) < 1e-6
    assert target.decode(encoded[:, None])["prediction"].to_list() == pytest.approx([10, 20, 30, 40])


@pytest.mark.parametrize("labels", [["b", "a", "c"], [3, 1, 2], [True, False, True]])
def test_labels_come_back_as_they_were(labels: list[object]) -> None:
    frame = pl.DataFrame({"y": labels})
    dataset = Dataset(frame, (), get_kind("tabular"), get_task("classification"), "", "y", "x", Path())
    target = dataset.task.fit_target(FitInputs(frame["y"], "y", "x"))
    assert isinstance(target, ClassTarget)
    again = TypeAdapter(ClassTarget).validate_json(target.model_dump_json())
    outputs = np.eye(len(target.labels))[again.codes(frame)]
    assert again.decode(outputs)["prediction"].to_list() == labels


def test_images_are_normalised_by_the_training_images(image_folder: Path) -> None:
    from danlu.experiment.data_context import fit_preprocessing

    data = load_data(check_recipe({"data": {"source": str(image_folder)}, "model": "timm:test_resnet"}))
    preprocessor = fit_preprocessing(data).preprocessor
    pixels = (
        preprocessor.transform(data.splits.train.frame, data.origin)
        .columns[0]
        .take(np.arange(len(data.splits.train.rows)))["image"]
    )
    assert preprocessor.inputs.mean == pytest.approx([float((pixels / 255.0).mean())], abs=1e-5)
    assert preprocessor.inputs.std == pytest.approx([float((pixels / 255.0).std())], abs=1e-4)


def test_images_stand_as_their_camera_says(tmp_path: Path) -> None:
    upright = Image.new("RGB", (8, 16), "red")
    turned = Image.Exif()
    turned[0x112] = 6  # to be shown turned by 90 degrees
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpg", exif=turned)
    assert decode("a.jpg", tmp_path).size == upright.size


def test_a_tokenizer_learns_from_the_training_texts_alone(text_file: Path, tmp_path: Path) -> None:
    from danlu.experiment.data_context import fit_preprocessing

    recipe = {"data": {"source": str(text_file), "target": "era", "vocabulary": 600}, "model": "hf:bert"}
    data = load_data(check_recipe(recipe))
    frame = data.dataset.frame
    judged = np.concatenate([data.splits.validation.rows, data.splits.test.rows])
    strange = frame.with_columns(
        text=pl.when(pl.int_range(frame.height).is_in(judged)).then(pl.lit("zqx " * 500)).otherwise(pl.col("text"))
    )
    strange.write_ndjson(tmp_path / "strange.jsonl")
    recipe["data"] = {**recipe["data"], "source": str(tmp_path / "strange.jsonl"), "text": "text"}
    other = load_data(check_recipe(recipe))
    assert other.splits.train.rows.tolist() == data.splits.train.rows.tolist()
    assert fit_preprocessing(other).preprocessor == fit_preprocessing(data).preprocessor
