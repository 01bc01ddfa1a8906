"""Rows that a Python program hands over -> one polars frame, as if it had been read from a file.

In: frames of polars and pandas, Arrow tables, a Hugging Face Dataset, a dict of columns, a structured array, rows as
dicts, images or texts with their labels. Out: RawData without objects, of categories those in an order alone; images as
encoded bytes. No library of these is imported: a value is known by the methods it has.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import polars as pl

from danlu.data.descriptors import RawData
from danlu.data.frames import with_words
from danlu.data.sources.image_files import IMAGE_SUFFIXES
from danlu.data.sources.in_memory_images import as_pixels, encode_file, encode_images, is_image
from danlu.errors import DataError

ORIGIN = "data"  # how errors name the rows
IMAGE, TEXT, LABEL = "image", "text", "label"  # columns of images or texts that come without names
FORMS = (
    "a polars or pandas DataFrame, an Arrow table, a Hugging Face Dataset, a dict of columns, "
    "a structured numpy array, a list of dicts, a list of images or texts, or a pair (images or texts, labels)"
)
RESOLUTIONS = ("D", "ms", "us", "ns")  # of numpy's times that polars takes


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
    frame = _ordered_frame(data)
    return None if frame is None else with_words(frame)


def _ordered_frame(data: object) -> pl.DataFrame | None:
    """Convert data as `as_frame` does, and keep the order of ordered categories."""
    values: Any = data
    if isinstance(values, pl.LazyFrame):
        values = values.collect()
    if isinstance(values, pl.DataFrame):
        return _frame(list(values))
    if hasattr(values, "iloc") and hasattr(values, "dtypes") and hasattr(values, "columns"):
        return _frame([_from_pandas(str(name), values.iloc[:, at]) for at, name in enumerate(values.columns)])
    if hasattr(values, "features") and hasattr(values, "with_format"):
        return _from_dataset(values)
    if hasattr(values, "schema") and (hasattr(values, "__arrow_c_stream__") or hasattr(values, "__arrow_c_array__")):
        return _frame(list(pl.DataFrame(values)))
    return _from_columns(values)


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
    if twice := next((name for at, name in enumerate(names) if name in names[:at]), None):
        raise DataError(f"{ORIGIN}: the column name {twice!r} is given twice; rename one of them", code="DL207")
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(f"{column.name} {len(column):,}" for column in columns)
        raise DataError(
            f"{ORIGIN}: the columns differ in length ({lengths}); every row needs a value in each", code="DL207"
        )
    return pl.DataFrame([_plain(column) for column in columns])


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
        return pl.Series(values.name, [encode_file(file, ORIGIN) for file in files], dtype=pl.Binary)
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
        return pl.Series(values).alias(name)
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
    if values.ndim != 1:
        shape = "×".join(map(str, values.shape))
        raise DataError(
            f"{ORIGIN}: column {name!r} is an array of {shape or 'no dimension'}; give one column for each",
            code="DL207",
        )
    letter = values.dtype.kind  # numpy's: O objects, S bytes, U text, m and M times, f floats …
    if isinstance(values, np.ma.MaskedArray) or letter == "O":
        return _from_objects(name, values.tolist())
    if letter == "S":
        return _from_objects(name, np.char.decode(values, "utf-8").tolist())
    if letter in "mM" and np.datetime_data(values.dtype)[0] not in RESOLUTIONS:
        values = values.astype(f"{letter}8[us]")
    if letter == "f" and values.dtype.itemsize not in (4, 8):
        values = values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
    if letter not in "biufUmM":
        raise DataError(
            f"{ORIGIN}: column {name!r} holds {values.dtype} values; convert them to numbers or strings", code="DL207"
        )
    native = values.astype(values.dtype.newbyteorder("="))
    return pl.Series(name, native.tolist() if letter == "U" else native, nan_to_null=True)


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
        return pl.Series(values.array.__arrow_array__()).alias(name)
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
    held = [value for value in plain if value is not None]
    kinds = set(map(type, held))
    if held and kinds != {bytes} and all(map(is_image, held)):
        return encode_images(plain, f"{ORIGIN}: column {name!r}").alias(name)
    if kinds == {int, float}:
        return pl.Series(name, plain, dtype=pl.Float64, strict=False)
    names = " and ".join(sorted(kind.__name__ for kind in kinds))
    try:
        found = pl.Series(name, plain)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
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


def _as_python(value: Any) -> Any:
    """Return a value as Python's own type; None if it is missing."""
    if is_missing(value):
        return None
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    return str(value) if isinstance(value, Path) else value


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, or pandas' NA or NaT."""
    is_nan = isinstance(value, float) and value != value
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
