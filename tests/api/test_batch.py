"""A bundle as a function of batches: the answers of `predict`, in order, by the real Ray Data and Spark where they are.

Both are heavy and stay out of the test environment; `pip install "ray[data]" pyspark` into one of their own runs the
tests marked slow here.
"""

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import danlu
from danlu.errors import ArgumentError, ArtifactError, DataError
from danlu.models import batch_predictor


@pytest.fixture(scope="module")
def rows(table_file: Path) -> pl.DataFrame:
    """Numbers with gaps, a category, a date, an identifier; one row cannot be answered."""
    frame = pl.read_csv(table_file, try_parse_dates=True).drop("cultivar")
    return frame.with_columns(pl.when(pl.int_range(pl.len()) == 11).then(1e300).otherwise("alcohol").alias("alcohol"))


@pytest.fixture(scope="module")
def expected(table_run: Path, rows: pl.DataFrame) -> pl.DataFrame:
    found = danlu.predict(table_run, rows, keep=["id"])
    assert found["error"].null_count() == rows.height - 1
    return found


def assert_same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert found.columns == expected.columns
    for name in expected.columns:
        if expected[name].dtype.is_float():
            np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), rtol=1e-5, atol=1e-6)
        else:
            assert found[name].to_list() == expected[name].to_list()


def from_dict(answers: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame({name: list(values) for name, values in answers.items()}, nan_to_null=False)


def test_batches_of_any_form_come_back_in_it(table_run: Path, rows: pl.DataFrame, expected: pl.DataFrame) -> None:
    predict = danlu.batch(table_run, keep=["id"])
    assert_same(predict(rows), expected)
    pandas = predict(rows.to_pandas().set_axis(range(100, 100 + rows.height)))  # an index of another part of the data
    assert isinstance(pandas, pd.DataFrame) and list(pandas.index) == list(range(rows.height))
    assert_same(pl.from_pandas(pandas), expected)
    arrow = predict(rows.to_arrow())
    assert isinstance(arrow, pa.Table)
    assert_same(pl.DataFrame(pl.from_arrow(arrow)), expected)
    arrays = predict({name: values.to_numpy() for name, values in rows.to_dict().items()})
    assert all(isinstance(values, np.ndarray) for values in arrays.values())
    assert_same(from_dict(arrays).with_columns(pl.col(pl.Float64).fill_nan(None)), expected)


def test_parts_have_the_columns_of_the_whole_and_an_empty_one_too(
    table_run: Path, rows: pl.DataFrame, expected: pl.DataFrame
) -> None:
    predict = danlu.batch(table_run, keep=["id"])
    pandas = rows.to_pandas()
    parts: Iterator[pd.DataFrame] = iter([pandas[:5], pandas[5:5], pandas[5:]])
    found = predict(parts)
    assert not isinstance(found, list | pd.DataFrame)
    whole = list(found)
    assert [list(part.columns) for part in whole] == [expected.columns] * 3
    assert_same(pl.concat(pl.from_pandas(part, schema_overrides=expected.schema) for part in whole), expected)
    assert predict(rows.clear()).columns == expected.columns
    assert predict(rows.clear().to_arrow()).column_names == expected.columns
    assert list(predict({name: np.array([]) for name in rows.columns})) == expected.columns


def test_what_is_sent_is_small_and_each_process_opens_the_bundle_once(table_run: Path, rows: pl.DataFrame) -> None:
    sent = pickle.dumps(danlu.batch(table_run))
    assert len(sent) < 1000
    batch_predictor._opened.cache_clear()
    for _ in range(3):
        pickle.loads(sent)(rows)
    assert batch_predictor._opened.cache_info().misses == 1


def test_another_bundle_in_the_folder_answers_nothing(
    table_run: Path, small_bundle: Path, tmp_path: Path, rows: pl.DataFrame
) -> None:
    shutil.copytree(table_run / "model", tmp_path / "model")
    predict = danlu.batch(tmp_path / "model")
    shutil.rmtree(tmp_path / "model")
    shutil.copytree(small_bundle, tmp_path / "model")
    with pytest.raises(ArtifactError, match="another bundle"):
        predict(rows)


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {"data": {"source": "builtin:wine"}, "model": "linear", "training": {"max_steps": 2}}
    return danlu.train(recipe, output=tmp_path_factory.mktemp("small")).path / "model"


def test_columns_that_cannot_be_kept_are_refused(table_run: Path, rows: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="no column 'name'"):
        danlu.batch(table_run, keep=["name"])(rows)
    with pytest.raises(ArgumentError, match="prediction column"):
        danlu.batch(table_run, keep=["prediction"])(rows.with_columns(prediction=1))
    with pytest.raises(DataError, match="malic_acid"):
        danlu.batch(table_run)(rows.drop("malic_acid"))


def test_spark_is_told_the_types_of_the_answers(table_run: Path) -> None:
    said = danlu.batch(table_run).spark_schema()
    assert said.startswith("`prediction` string, `probability` float, `probability_class_0` float")
    assert said.endswith("`error` string")
    with pytest.raises(ArgumentError, match="kept"):
        danlu.batch(table_run, keep=["id"]).spark_schema()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["pandas", "pyarrow", "numpy"])
def test_ray_data_answers_as_predict_does(
    table_run: Path, rows: pl.DataFrame, expected: pl.DataFrame, form: str
) -> None:
    ray = pytest.importorskip("ray", reason="needs ray[data]")
    pytest.importorskip("ray.data", reason="needs ray[data]")
    if not ray.is_initialized():
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    blocks = ray.data.from_arrow([rows[start : start + 50].to_arrow() for start in range(0, rows.height, 50)])
    found = blocks.map_batches(danlu.batch(table_run, keep=["id"]), batch_format=form, batch_size=16)
    assert_same(pl.from_pandas(found.to_pandas())[expected.columns], expected)


@pytest.mark.slow
def test_spark_answers_as_predict_does(
    table_run: Path, rows: pl.DataFrame, expected: pl.DataFrame, tmp_path: Path
) -> None:
    sql = pytest.importorskip("pyspark.sql", reason="needs pyspark")
    rows.write_parquet(tmp_path / "rows.parquet")
    session = (
        sql.SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "16")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    try:
        frame = session.read.parquet(str(tmp_path / "rows.parquet"))
        predict = danlu.batch(table_run, keep=["id"])
        found = frame.mapInPandas(predict, predict.spark_schema(frame)).toPandas()
        assert_same(pl.from_pandas(found), expected)
    finally:
        session.stop()
