"""Rows that a program hands over become the frame that a file would give."""

import datetime
import importlib.util
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from danlu.data.sources.in_memory import as_frame, read_in_memory
from danlu.data.sources.reader import read_source
from danlu.data.sources.unnamed_rows import matrix_to_frame
from danlu.errors import DataError

ROWS = {"age": [31, 45, 52], "plan": ["basic", None, "plus"], "paid": [1.5, 2.0, None]}
AS_READ = pl.DataFrame(ROWS)
needs_pandas = pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")


class ArrowTable:
    """What an Arrow table of any library offers, without that library."""

    schema = ()

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.frame.__arrow_c_stream__(requested_schema)


class Feature:
    """A feature of a Hugging Face Dataset: of classes with names, or of lists of another."""

    def __init__(self, names: list[str] | None = None, feature: "Feature | None" = None) -> None:
        self.names = names
        if feature is not None:
            self.feature = feature


class HuggingFaceDataset:
    """What danlu uses of `datasets.Dataset`."""

    def __init__(self, frame: pl.DataFrame, features: dict[str, Feature]) -> None:
        self.frame, self.features = frame, features

    def with_format(self, form: str) -> "HuggingFaceDataset":
        assert form == "arrow"
        return self

    def __getitem__(self, rows: slice) -> ArrowTable:
        assert rows == slice(None)
        return ArrowTable(self.frame)


FORMS: dict[str, Callable[[], Any]] = {
    "polars": lambda: AS_READ,
    "lazy polars": lambda: AS_READ.lazy(),
    "categorical polars": lambda: AS_READ.with_columns(pl.col("plan").cast(pl.Categorical)),
    "arrow": lambda: ArrowTable(AS_READ),
    "hugging face": lambda: HuggingFaceDataset(AS_READ, dict.fromkeys(ROWS, Feature())),
    "dict of lists": lambda: ROWS,
    "dict of arrays": lambda: {
        "age": np.array([31, 45, 52]),
        "plan": np.array(["basic", None, "plus"], dtype=object),
        "paid": np.array([1.5, 2.0, np.nan]),
    },
    "list of dicts": lambda: AS_READ.to_dicts(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_frame_of_a_file(form: str, tmp_path: Path) -> None:
    AS_READ.write_parquet(tmp_path / "rows.parquet")
    read = read_in_memory(FORMS[form]()).frame
    assert isinstance(read, pl.DataFrame)
    assert read.equals(read_source(str(tmp_path / "rows.parquet")).frame)
    assert read.schema == {"age": pl.Int64, "plan": pl.String, "paid": pl.Float64}


def test_structured_arrays_have_names() -> None:
    records = np.array([(1, 2.5, "a"), (2, np.nan, "b")], dtype=[("n", "i4"), ("x", ">f8"), ("word", "U3")])
    assert read_in_memory(records).frame.to_dict(as_series=False) == {"n": [1, 2], "x": [2.5, None], "word": ["a", "b"]}


def test_rows_as_dicts_may_lack_keys() -> None:
    assert read_in_memory([{"a": 1}, {"b": 2.5}]).frame.to_dict(as_series=False) == {"a": [1, None], "b": [None, 2.5]}


@needs_pandas
def test_every_dtype_of_pandas_is_taken() -> None:
    import pandas as pd

    day, later = datetime.datetime(2020, 1, 1), datetime.datetime(2021, 5, 5, 10)
    times = pd.Series([day, None, later], dtype="datetime64[s]")
    columns: dict[str, tuple[Any, pl.DataType | type[pl.DataType], list[Any]]] = {
        "float": ([1.5, np.nan, 2.0], pl.Float64, [1.5, None, 2.0]),
        "half": (np.array([1, 2, 3], "f2"), pl.Float32, [1.0, 2.0, 3.0]),
        "object": (pd.Series(["x", np.nan, None], dtype=object), pl.String, ["x", None, None]),
        "numbers": (pd.Series([1, 2.5, None], dtype=object), pl.Float64, [1.0, 2.5, None]),
        "Int64": (pd.array([2**60 + 1, None, 3], dtype="Int64"), pl.Int64, [2**60 + 1, None, 3]),
        "Float32": (pd.array([1.5, None, 3], dtype="Float32"), pl.Float32, [1.5, None, 3.0]),
        "boolean": (pd.array([True, None, False], dtype="boolean"), pl.Boolean, [True, None, False]),
        "string": (pd.array(["a", None, "c"], dtype="string"), pl.String, ["a", None, "c"]),
        "gone": (pd.array([None, None, None], dtype="string"), pl.String, [None, None, None]),
        "category": (pd.Categorical(["v", None, "u"]), pl.String, ["v", None, "u"]),
        "number category": (pd.Categorical([3, None, 1]), pl.Int64, [3, None, 1]),
        "time": (times, pl.Datetime("us"), [day, None, later]),
        "delta": (pd.to_timedelta(["1s", None, "3s"]), pl.Duration, None),
        "period": (pd.period_range("2020-01", periods=3, freq="M"), pl.Datetime, None),
        "interval": (pd.interval_range(0, 3), pl.String, ["(0, 1]", "(1, 2]", "(2, 3]"]),
        "sparse": (pd.arrays.SparseArray([0, 0, 1]), pl.Int64, [0, 0, 1]),
        "list": (pd.Series([["a"], ["b", "c"], []]), pl.List(pl.String), [["a"], ["b", "c"], []]),
    }
    frame = pd.DataFrame({name: pd.Series(values) for name, (values, _, _) in columns.items()})
    read = read_in_memory(frame).frame
    assert list(read.columns) == list(columns)
    for name, (_, dtype, values) in columns.items():
        assert read.schema[name] == dtype, name
        assert values is None or read[name].to_list() == values, name
    assert read["delta"].dt.total_seconds().to_list() == [1, None, 3]
    assert read["period"].dt.month().to_list() == [1, 2, 3]


@needs_pandas
def test_times_keep_their_zone() -> None:
    import pandas as pd

    noon = pd.Series(pd.to_datetime(["2020-06-01 12:00"]))
    fixed = pd.Series(pd.to_datetime(["2020-06-01T12:00+02:00"]))
    read = read_in_memory(pd.DataFrame({"berlin": noon.dt.tz_localize("Europe/Berlin"), "fixed": fixed})).frame
    assert read["berlin"].dt.hour().to_list() == [12]
    assert read["fixed"].dt.hour().to_list() == [10]  # in UTC


@needs_pandas
def test_dtypes_of_arrow_are_taken() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pandas as pd

    words = pd.array(["a", None, "a"], dtype=pd.ArrowDtype(pyarrow.dictionary(pyarrow.int32(), pyarrow.string())))
    frame = pd.DataFrame({"n": pd.array([1, None, 3], dtype="int64[pyarrow]"), "word": words})
    assert read_in_memory(frame).frame.to_dict(as_series=False) == {"n": [1, None, 3], "word": ["a", None, "a"]}


def test_classes_of_a_data_set_have_their_names() -> None:
    frame = pl.DataFrame({"tokens": [["Li", "ran"], ["so"]], "tags": [[1, 0], [0]], "label": [1, -1]})
    classes = Feature(names=["other", "name"])
    features = {"tokens": Feature(feature=Feature()), "tags": Feature(feature=classes), "label": classes}
    read = read_in_memory(HuggingFaceDataset(frame, features)).frame
    assert read["tags"].to_list() == [["name", "other"], ["other"]]
    assert read["label"].to_list() == ["name", None]


def test_images_of_a_data_set_become_bytes(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"of a file")
    images = [{"bytes": b"itself", "path": "x.png"}, {"bytes": None, "path": str(tmp_path / "one.png")}]
    frame = pl.DataFrame({"image": images}, schema={"image": pl.Struct({"bytes": pl.Binary, "path": pl.String})})
    read = read_in_memory(HuggingFaceDataset(frame, {"image": Feature()})).frame
    assert read["image"].to_list() == [b"itself", b"of a file"]


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "I;16", "CMYK", "F", "HSV"])
def test_images_are_kept_without_loss(mode: str) -> None:
    image = Image.linear_gradient("L").resize((8, 8)).convert(mode if mode != "HSV" else "RGB")
    image = image.convert("HSV") if mode == "HSV" else image
    read = read_in_memory(([image, image], ["a", "b"]))
    assert (read.frame.columns, read.target) == (["image", "label"], "label")
    found = Image.open(BytesIO(read.frame["image"][0]))
    expected = image.convert("RGB") if mode == "HSV" else image
    assert np.array_equal(np.asarray(found), np.asarray(expected))


def test_images_keep_their_orientation() -> None:
    image = Image.new("RGB", (2, 4))
    image.getexif()[0x0112] = 6
    read = read_in_memory({"photo": [image], "label": ["a"]}).frame
    kept = Image.open(BytesIO(read["photo"][0]))
    assert (kept.size, kept.getexif().get(0x0112)) == ((4, 2), None)  # turned, so that nothing need be noted


def test_arrays_of_pixels_are_images() -> None:
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    for data in ((pixels, [0, 1]), {"image": pixels, "label": [0, 1]}, {"image": list(pixels), "label": [0, 1]}):
        read = read_in_memory(data).frame
        assert np.array_equal(np.asarray(Image.open(BytesIO(read["image"][1]))), pixels[1])


def test_texts_come_with_labels_or_without() -> None:
    read = read_in_memory((["so be it", "no"], np.array([1, 0])))
    assert read.frame.to_dict(as_series=False) == {"text": ["so be it", "no"], "label": [1, 0]}
    assert read.target == "label"
    assert read_in_memory(["so be it", "no"]).frame.columns == ["text"]


def test_paths_of_images_begin_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (2, 2)).save("one.png")
    read = read_in_memory({"photo": ["one.png", "two.png"], "logo": ["none.png", "no.png"]}).frame
    assert read["photo"].to_list() == [str(tmp_path / "one.png"), str(tmp_path / "two.png")]
    assert read["logo"].to_list() == ["none.png", "no.png"]  # a word, since there is no such file


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (5, "cannot take int; give a polars or pandas DataFrame, an Arrow table"),
        ("rows.csv", "cannot take str; set data.source to 'rows.csv', or give"),
        (np.zeros((2, 3)), r"cannot take numpy.ndarray of shape \(2, 3\)"),
        (([1, 2], [0, 1]), "cannot take tuple"),
        ({"x": np.zeros((2, 3))}, "column 'x' is an array of 2×3"),
        ({"x": "abc"}, "column 'x' is str; give a list"),
        ({"x": [1, "a"]}, "column 'x' mixes int and str"),
        ({"x": [object()]}, "column 'x' holds object objects"),
        ({"x": np.array([1j])}, "column 'x' holds complex128 values"),
        ({"x": [1, 2], "y": [1]}, "columns differ in length .x 2, y 1."),
        ({}, "has no columns"),
        (pl.DataFrame({"x": []}), "has no rows"),
        ({"train": HuggingFaceDataset(AS_READ, {}), "test": HuggingFaceDataset(AS_READ, {})}, r"data\['train'\]"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(data: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_in_memory(data)


@needs_pandas
def test_a_column_name_given_twice_is_refused() -> None:
    import pandas as pd

    with pytest.raises(DataError, match="'a' is given twice"):
        read_in_memory(pd.DataFrame([[1, 2]], columns=["a", "a"]))


# Odd values, one row, and rows without names


@needs_pandas
def test_dtypes_of_pandas_that_hold_gaps() -> None:
    import pandas as pd
    import pyarrow as pa

    frame = pd.DataFrame(
        {
            "whole": pd.array([1, None], dtype="Int64"),
            "arrow": pd.array([1, None], dtype="int64[pyarrow]"),
            "objects": pd.array([1, pd.NA], dtype=object),
            "nat": pd.Series([pd.Timestamp("2024-01-01"), pd.NaT], dtype=object),
            "money": [Decimal("1.50"), None],
            "arrow_money": pd.array([Decimal("1.5"), None], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
            "truth": pd.array([True, None], dtype="boolean"),
        }
    )
    found = read_in_memory(frame).frame
    assert found.select("whole", "arrow", "objects", "truth").rows() == [(1, 1, 1, True), (None, None, None, None)]
    assert found["nat"].to_list() == [datetime.datetime(2024, 1, 1), None]
    assert found["money"].cast(pl.Float64).to_list() == found["arrow_money"].cast(pl.Float64).to_list() == [1.5, None]


def test_numbers_and_times_of_several_types_are_one() -> None:
    mixed = {
        "n": [1, 2.5, Decimal("0.5")],
        "nan": [Decimal("1.5"), Decimal("NaN"), 2],
        "t": [datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 2, 3), None],
        "u": [UUID(int=1), None, UUID(int=2)],
    }
    assert read_in_memory(mixed).frame.rows() == [
        (1.0, 1.5, datetime.datetime(2024, 1, 1), "00000000-0000-0000-0000-000000000001"),
        (2.5, None, datetime.datetime(2024, 1, 2, 3), None),
        (0.5, 2.0, None, "00000000-0000-0000-0000-000000000002"),
    ]


@needs_pandas
def test_one_row_as_a_series_or_a_dict() -> None:
    import pandas as pd

    frame = pd.DataFrame({"age": [31, 45], "plan": ["basic", None], "day": pd.to_datetime(["2024-01-01", None])})
    day = datetime.datetime(2024, 1, 1)

    def rows_of(samples: Any) -> pl.DataFrame:
        found = as_frame(samples)
        assert found is not None
        return found

    assert rows_of(frame.iloc[0]).rows(named=True) == [{"age": 31, "plan": "basic", "day": day}]
    assert rows_of([frame.iloc[0], frame.iloc[1]]).rows() == [(31, "basic", day), (45, None, None)]
    assert rows_of({"age": np.int64(31), "day": day, "plan": None}).rows() == [(31, day, None)]
    assert read_in_memory(pd.Series(["one text", "another"])).frame["text"].to_list() == ["one text", "another"]


@needs_pandas
@pytest.mark.parametrize("library", ["pandas", "pyarrow"])
def test_intervals_are_named(library: str) -> None:
    import pandas as pd
    import pyarrow as pa

    gaps = pa.array([(1, 2, 3)], type=pa.month_day_nano_interval())
    held = pa.table({"x": [1], "gap": gaps})
    if library == "pandas":
        held = pd.DataFrame({"x": [1], "gap": pd.array(gaps, dtype=pd.ArrowDtype(gaps.type))})
    with pytest.raises(DataError, match="column 'gap' is of a type that polars has not"):
        read_in_memory(held)


class Odd:
    def __eq__(self, other: object) -> bool:
        raise TypeError("cannot be compared")

    __hash__ = None  # type: ignore[assignment]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**130), 2**130),
    st.floats(),
    st.decimals(allow_infinity=True),
    st.fractions(),
    st.complex_numbers(),
    st.text(st.characters(exclude_categories=()), max_size=3),
    st.binary(max_size=3),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.lists(st.one_of(st.integers(0, 3), st.text(max_size=2), st.none()), max_size=2),
    st.dictionaries(st.text(max_size=1), st.integers(0, 3), max_size=2),
    st.sampled_from([Odd(), object(), Odd, {1}, range(2), np.int8(3), np.float16(2), np.zeros((2, 2)), np.array(1)]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from(["dict", "rows", "objects", "pandas", "matrix"]))
def test_any_values_become_a_frame_or_an_error_of_ours(values: list[Any], form: str) -> None:
    pandas = pytest.importorskip("pandas")
    column = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        column[place] = value
    make: dict[str, Callable[[], Any]] = {
        "dict": lambda: read_in_memory({"c": values}).frame,
        "rows": lambda: read_in_memory([{"c": value} for value in values]).frame,
        "objects": lambda: read_in_memory({"c": column}).frame,
        "pandas": lambda: read_in_memory(pandas.DataFrame({"c": pandas.Series(column, dtype=object)})).frame,
        "matrix": lambda: matrix_to_frame(column[:, None], ["c"]),
    }
    with suppress(DataError):
        found = make[form]()
        assert found.height == len(values)
        assert found["c"].dtype != pl.Object


@pytest.mark.parametrize(
    "matrix",
    [np.array([[1.0, 2.0], [3.0, 4.0]]), [[1.0, 2.0], (3.0, 4.0)], np.array([[1.0, 2.0], [3.0, 4.0]], dtype=object)],
)
def test_a_matrix_in_the_order_of_training(matrix: Any) -> None:
    assert matrix_to_frame(matrix, ["b", "a"]).to_dict(as_series=False) == {"b": [1.0, 3.0], "a": [2.0, 4.0]}


def test_a_matrix_of_another_width_is_refused() -> None:
    with pytest.raises(DataError, match=r"values of 2×3 as rows; .* a column for each of b, a, in this order"):
        matrix_to_frame(np.zeros((2, 3)), ["b", "a"])


def test_a_lazy_frame_that_fails_is_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match='lazy frame cannot be computed: unable to find column "b"'):
        read_in_memory(pl.LazyFrame({"a": [1]}).select("b"))


def test_periods_and_intervals_in_a_row_are_as_in_their_column() -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {"p": pd.period_range("2020-01", periods=2, freq="M"), "i": pd.interval_range(0, 2), "c": ["a", "b"]}
    )
    whole, rows = read_in_memory(frame).frame, as_frame(frame.iloc[1])
    assert rows is not None
    assert rows.rows() == whole.rows()[1:]
