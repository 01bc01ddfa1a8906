"""Rows that a Python program hands over -> one polars frame, as if it had been read from a file.

In: frames of polars and pandas, Arrow tables, a Hugging Face Dataset, a dict of columns, a structured array, rows as
dicts, images or texts with their labels. Out: RawData without objects, of categories those in an order alone; images as
encoded bytes. No library of these is imported: a value is known by the methods it has.
"""

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeGuard
from uuid import UUID

import numpy as np
import polars as pl

from danlu.data.column_names import trimmed_names
from danlu.data.descriptors import RawData
from danlu.data.frames import with_words
from danlu.data.sources.arrays import series_of_array
from danlu.data.sources.image_files import IMAGE_SUFFIXES
from danlu.data.sources.in_memory_images import as_pixels, encode_file, encode_images, is_image
from danlu.data.sources.nested_json import nested_text
from danlu.errors import DataError

ORIGIN = "data"  # how errors name the rows
IMAGE, TEXT, LABEL = "image", "text", "label"  # columns of images or texts that come without names
# What polars raises for values that it does not take.
UNTAKEN = (
    AttributeError,
    TypeError,
    ValueError,
    OverflowError,
    RuntimeError,
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)
FORMS = (
    "a polars or pandas DataFrame, an Arrow table, a Hugging Face Dataset, a dict of columns, "
    "a structured numpy array, a list of dicts, a list of images or texts, or a pair (images or texts, labels)"
)


def read_in_memory(data: object) -> RawData:
    """Convert rows in memory to a frame.

    A pair of images or texts and their labels gets the columns `image` or `text`, and `label`, its target.

    Raises:
        DataError: it is of another form, is empty, or a column mixes types.
    """
    frame, target = _ordered_frame(data), None
    if frame is None and isinstance(data, tuple) and len(data) == 2:
        samples = _unnamed(data[0])
        if samples is not None:
            frame, target = _frame([samples, _column(LABEL, data[1])]), LABEL
    elif frame is None and (samples := _unnamed(data)) is not None:
        frame = samples.to_frame()
    if frame is None:
        cure = f"set data.source to {str(data)!r}, or " if isinstance(data, str | Path) else ""
        raise DataError(f"{ORIGIN}: cannot take {_describe(data)}; {cure}give {FORMS}", code="DL207")
    if frame.height == 0 or frame.width == 0:
        raise DataError(f"{ORIGIN}: has no {'columns' if frame.width == 0 else 'rows'}", code="DL203")
    return RawData(_with_absolute_images(frame), ORIGIN, Path.cwd(), target=target)


def as_frame(data: object) -> pl.DataFrame | None:
    """Convert data whose columns have names to a frame; None if they have none.

    Raises:
        DataError: a column mixes types or is of a type that no file has.
    """
    frame = _ordered_frame(one_row(data))
    return None if frame is None else with_words(frame)


def _ordered_frame(data: object) -> pl.DataFrame | None:
    """Convert data as `as_frame` does, and keep the order of ordered categories."""
    values: Any = data
    if isinstance(values, pl.LazyFrame):
        try:
            values = values.collect()
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{ORIGIN}: the lazy frame cannot be computed: {reason}", code="DL207") from error
    if isinstance(values, pl.DataFrame):
        return _frame(list(values))
    if hasattr(values, "iloc") and hasattr(values, "dtypes") and hasattr(values, "columns"):
        return _frame([_from_pandas(str(name), values.iloc[:, at]) for at, name in enumerate(values.columns)])
    if hasattr(values, "features") and hasattr(values, "with_format"):
        return _from_dataset(values)
    if hasattr(values, "schema") and (hasattr(values, "__arrow_c_stream__") or hasattr(values, "__arrow_c_array__")):
        return _frame(list(_from_arrow(values)))
    return _from_columns(values)


def _from_arrow(table: Any) -> pl.DataFrame:
    """Convert an Arrow table of any library.

    Raises:
        DataError: a column is of a type that polars has not, such as intervals.
    """
    try:
        return pl.DataFrame(table)
    except UNTAKEN as error:
        wrong = next((str(name) for name in getattr(table, "column_names", ()) if not _is_taken(table, name)), None)
        column = f"column {wrong!r} is" if wrong else "a column is"
        reason = str(error).splitlines()[0].partition(". Hint")[0]
        raise DataError(f"{ORIGIN}: {column} of a type that polars has not ({reason})", code="DL207") from error


def _is_taken(table: Any, name: Any) -> bool:
    """Return whether polars takes one column of an Arrow table."""
    try:
        pl.Series(table.column(name))
    except UNTAKEN:
        return False
    return True


def one_row(samples: Any) -> Any:
    """Return one row as a list of rows.

    A row is a dict of values, or a pandas Series of them; other samples stay as they are.
    """
    if isinstance(samples, Mapping) and samples and all(map(_is_value, samples.values())):
        return [dict(samples)]
    if _is_row(samples):
        samples = [samples]
    if isinstance(samples, list) and samples and all(map(_is_row, samples)):
        return [dict(zip(row.index, row.tolist(), strict=True)) for row in samples]
    return samples


def _is_row(value: Any) -> bool:
    """Return whether a value is a pandas Series whose index names columns, as `frame.iloc[0]` is."""
    if not (hasattr(value, "iloc") and hasattr(value, "index")) or hasattr(value, "columns"):
        return False
    return len(value) > 0 and all(isinstance(label, str) for label in value.index)


def _is_value(value: Any) -> bool:
    """Return whether something is one value, and no column of them."""
    if value is None or isinstance(value, str | bytes | bytearray | np.generic):
        return True
    is_several = hasattr(value, "__len__") or hasattr(value, "__iter__") or hasattr(value, "with_format")
    return not is_several


def _from_columns(values: Any) -> pl.DataFrame | None:
    """Convert a dict of columns, a structured array or a list of dicts; else None."""
    if isinstance(values, Mapping):
        if splits := [str(name) for name, part in values.items() if hasattr(part, "with_format")]:
            raise DataError(
                f"{ORIGIN}: is a dict of data sets ({', '.join(splits)}); give one of them, as data[{splits[0]!r}]",
                code="DL207",
            )
        return _frame([_column(str(name), column) for name, column in values.items()])
    if isinstance(values, np.ndarray) and values.dtype.names:
        return _frame([_column(name, values[name]) for name in values.dtype.names])
    if isinstance(values, list) and values and all(isinstance(row, Mapping) for row in values):
        names = dict.fromkeys(name for row in values for name in row)
        return _frame([_column(str(name), [row.get(name) for row in values]) for name in names])
    return None


def _unnamed(samples: Any) -> pl.Series | None:
    """Return images or texts without a name as a column; else None."""
    pixels = as_pixels(samples)
    if pixels is not None and pixels.ndim > 2:
        return encode_images(samples, ORIGIN, batch=True).alias(IMAGE)
    if isinstance(samples, str | bytes | Mapping) or not isinstance(samples, Iterable):
        return None
    if getattr(samples, "ndim", 1) == 0:  # an array of no dimension is said to be iterable
        return None
    values = list(samples)
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, str) for value in present):
        return pl.Series(TEXT, values, dtype=pl.String)
    return encode_images(values, ORIGIN).alias(IMAGE) if present and all(map(is_image, present)) else None


def _frame(columns: list[pl.Series]) -> pl.DataFrame:
    """Put columns side by side, in the types that files have.

    Raises:
        DataError: two have the same name, or they differ in length.
    """
    names = [column.name for column in columns]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{ORIGIN}: the column name {twice[0]!r} is given twice; rename one of them", code="DL207")
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(f"{column.name} {len(column):,}" for column in columns)
        raise DataError(
            f"{ORIGIN}: the columns differ in length ({lengths}); every row needs a value in each", code="DL207"
        )
    short = trimmed_names(names, ORIGIN)
    return pl.DataFrame([_plain(column).alias(name) for column, name in zip(columns, short, strict=True)])


def _plain(values: pl.Series) -> pl.Series:
    """Return a column in a type that files have."""
    dtype = values.dtype
    if dtype == pl.Categorical:
        return values.cast(pl.String)
    if isinstance(dtype, pl.Array) or (isinstance(dtype, pl.List) and dtype.inner in (pl.Categorical, pl.Enum)):
        inner = pl.String if dtype.inner in (pl.Categorical, pl.Enum) else dtype.inner
        return values.cast(pl.List(inner))
    if isinstance(dtype, pl.Struct) and {field.name for field in dtype.fields} == {"bytes", "path"}:
        files = [None if file is None else file["bytes"] or file["path"] for file in values.to_list()]
        return pl.Series(values.name, [encode_file(file) for file in files], dtype=pl.Binary)
    return _from_objects(values.name, values.to_list()) if dtype == pl.Object else values


def _column(name: str, values: Any) -> pl.Series:
    """Convert one column of any form.

    Raises:
        DataError: it has no rows, has more than one dimension, or mixes types.
    """
    if isinstance(values, pl.Series):
        return values.alias(name)
    if hasattr(values, "iloc") and hasattr(values, "dtype"):
        return _from_pandas(name, values)
    if hasattr(values, "__arrow_c_stream__") or hasattr(values, "__arrow_c_array__"):
        return _from_arrow_array(name, values)
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise DataError(
            f"{ORIGIN}: column {name!r} is {_describe(values)}; give a list or an array of a value a row", code="DL207"
        )
    if hasattr(values, "detach") and (pixels := as_pixels(values)) is not None:
        return _from_array(name, pixels)
    if isinstance(values, np.ndarray) or hasattr(values, "__array__"):
        return _from_array(name, values if isinstance(values, np.ma.MaskedArray) else np.asarray(values))
    return _from_objects(name, list(values))


def _from_array(name: str, values: np.ndarray) -> pl.Series:
    """Convert an array; NaN and NaT mean missing."""
    if values.ndim == 4 or (values.ndim == 3 and values.dtype == np.uint8):
        return encode_images(values, f"{ORIGIN}: column {name!r}", batch=True).alias(name)
    if values.ndim == 1 and (isinstance(values, np.ma.MaskedArray) or values.dtype == object):
        return _from_objects(name, values.tolist())
    return series_of_array(name, values, ORIGIN, "DL207")


def _from_pandas(name: str, values: Any) -> pl.Series:
    """Convert a pandas Series of any dtype.

    Unlike polars' own way, it needs no pyarrow but for dtypes of Arrow.
    """
    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        return _from_array(name, values.to_numpy())
    if hasattr(values, "cat"):
        codes = pl.Series(values.cat.codes.to_numpy()).cast(pl.Int64)
        categories = _from_pandas(name, values.cat.categories.to_series())
        found = categories.gather(codes.set(codes == -1, None))
        return found.cast(pl.Enum(categories)) if values.cat.ordered and categories.dtype == pl.String else found
    if hasattr(dtype, "pyarrow_dtype"):
        return _from_arrow_array(name, values.array.__arrow_array__())
    if hasattr(dtype, "numpy_dtype"):  # nullable integers, floats and booleans
        missing, kind = values.isna().to_numpy(), dtype.numpy_dtype
        filled = _from_array(name, values.to_numpy(dtype=kind, na_value=kind.type(0)))
        return filled.set(pl.Series(missing), None)
    if hasattr(dtype, "tz"):
        instants = values.dt.tz_convert("UTC").dt.tz_localize(None)
        return _in_zone(_from_array(name, instants.to_numpy()).dt.replace_time_zone("UTC"), str(dtype.tz))
    if str(dtype).startswith("period"):
        return _from_pandas(name, values.dt.to_timestamp())
    if hasattr(dtype, "fill_value"):
        return _from_pandas(name, values.sparse.to_dense())
    if str(dtype).startswith("interval"):
        return _from_objects(name, [None if is_missing(value) else str(value) for value in values])
    found = _from_objects(name, values.tolist())
    return found.cast(pl.String) if found.dtype == pl.Null else found


def _from_arrow_array(name: str, values: Any) -> pl.Series:
    try:
        return pl.Series(values).alias(name)
    except UNTAKEN as error:
        reason = str(error).splitlines()[0].partition(". Hint")[0]
        raise DataError(
            f"{ORIGIN}: column {name!r} is of a type that polars has not ({reason})", code="DL207"
        ) from error


def _in_zone(values: pl.Series, zone: str) -> pl.Series:
    """Show times in their zone; polars knows no fixed offsets, whose times stay in UTC."""
    try:
        return values.dt.convert_time_zone(zone)
    except pl.exceptions.ComputeError:
        return values


def _from_objects(name: str, values: list[Any]) -> pl.Series:
    """Convert Python objects of one type; None, NaN, NA and NaT mean missing.

    Raises:
        DataError: they are of several types, or of one that no file has.
    """
    plain = [_as_python(value) for value in values]
    if (kept := nested_text(name, plain)) is not None:
        return kept
    held = [value for value in plain if value is not None]
    kinds = set(map(type, held))
    if held and kinds != {bytes} and all(map(is_image, held)):
        return encode_images(plain, f"{ORIGIN}: column {name!r}").alias(name)
    if len(kinds) > 1 and kinds <= {int, float, Decimal}:
        return pl.Series(name, [None if value is None else float(value) for value in plain], dtype=pl.Float64)
    if kinds == {datetime.date, datetime.datetime}:
        plain = [_as_datetime(value) for value in plain]
    names = " and ".join(sorted(kind.__name__ for kind in kinds))
    try:
        found = pl.Series(name, plain)
    except UNTAKEN as error:
        if kinds == {Decimal}:  # of more digits than a decimal column has
            return pl.Series(name, [None if value is None else float(value) for value in plain], dtype=pl.Float64)
        if len(kinds) > 1:
            reason = f"mixes {names}; convert its values to one type"
        else:
            reason = f"cannot be taken as {names}: {str(error).splitlines()[0]}"
        raise DataError(f"{ORIGIN}: column {name!r} {reason}", code="DL207") from error
    if found.dtype == pl.Object:
        raise DataError(
            f"{ORIGIN}: column {name!r} holds {names} objects; "
            "convert them to numbers, strings, times, lists or images",
            code="DL207",
        )
    return found


def _as_datetime(value: Any) -> Any:
    """Return a date as its midnight."""
    is_date = isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
    return datetime.datetime.combine(value, datetime.time()) if is_date else value


def _as_python(value: Any) -> Any:
    """Return a value as Python's own type; None if it is missing."""
    if is_missing(value):
        return None
    if hasattr(value, "to_timestamp"):  # pandas' Period, as its column is taken
        value = value.to_timestamp()
    if hasattr(value, "to_pydatetime"):  # pandas' Timestamp
        return value.floor("us").to_pydatetime()
    if hasattr(value, "to_pytimedelta"):
        return value.to_pytimedelta()
    if isinstance(value, Decimal) and not value.is_finite():
        return float(value)
    if isinstance(value, UUID) or type(value).__name__ == "Interval":  # pandas'
        return str(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    return str(value) if isinstance(value, Path) else value


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, or pandas' NA or NaT."""
    is_nan = (isinstance(value, float) and value != value) or (isinstance(value, Decimal) and value.is_nan())
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def _from_dataset(dataset: Any) -> pl.DataFrame:
    """Convert a Hugging Face Dataset; class numbers become the names of their classes."""
    if not hasattr(dataset, "__getitem__"):
        raise DataError(
            f"{ORIGIN}: {_describe(dataset)} is streamed and has no rows yet; load it without streaming=True",
            code="DL207",
        )
    frame = pl.DataFrame(dataset.with_format("arrow")[:])
    named = []
    for column, feature in dataset.features.items():
        inner = getattr(feature, "feature", feature)
        if isinstance(classes := getattr(inner, "names", None), list):
            words = pl.element() if inner is not feature else pl.col(column)
            spoken = words.replace_strict(dict(enumerate(classes)), default=None, return_dtype=pl.String)
            named.append(pl.col(column).list.eval(spoken) if inner is not feature else spoken)
    return _frame(list(frame.with_columns(named)))


def _with_absolute_images(frame: pl.DataFrame) -> pl.DataFrame:
    """Make paths of images absolute: they begin in the current folder, not in a run's."""
    return frame.with_columns(
        pl.Series(values.name, [_absolute_image(value) for value in values], dtype=pl.String)
        for values in frame
        if values.dtype == pl.String and _names_image(first := values.drop_nulls().first()) and Path(first).is_file()
    )


def _names_image(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and Path(value).suffix.lower() in IMAGE_SUFFIXES


def _absolute_image(value: str | None) -> str | None:
    return str(Path(value).absolute()) if value is not None and _names_image(value) else value


def _describe(value: object) -> str:
    """Describe a value that cannot be taken by type and shape."""
    shape = getattr(value, "shape", None)
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return f"{kind} of shape {tuple(shape)}" if isinstance(shape, tuple) else kind
