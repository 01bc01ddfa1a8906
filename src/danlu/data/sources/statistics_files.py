"""Files of Stata, SPSS and SAS: words where every value has a label, dates as dates, gaps as gaps."""

from pathlib import Path
from typing import Any

import polars as pl

from danlu.core.imports import require_extra
from danlu.data.file_form import ReadOptions, ReadTable
from danlu.errors import DataError

EXACT = float(1 << 53)  # up to here a float tells whole numbers apart
READ_BY = {
    ".dta": "read_dta",
    ".sav": "read_sav",
    ".zsav": "read_sav",
    ".por": "read_por",
    ".sas7bdat": "read_sas7bdat",
    ".xpt": "read_xport",
}


def read_statistics(path: Path, options: ReadOptions) -> ReadTable:
    """Read a file of Stata, SPSS or SAS.

    Raises:
        DataError: it is damaged.
        MissingExtra: pyreadstat is not installed.
    """
    require_extra("formats", f"{path}: a {path.suffix.lower()} file", only=("pyreadstat",))
    import pyreadstat

    read = getattr(pyreadstat, READ_BY[path.suffix.lower()])
    try:
        said = {} if options.encoding is None else {"encoding": options.encoding}  # .por knows no encodings
        frame, meta = read(str(path), output_format="polars", **({} if path.suffix.lower() == ".por" else said))
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError) as error:
        raise DataError(
            f"{path}: cannot be read as {path.suffix.lstrip('.')}: {error}; if its text is of an older encoding, "
            "say it with data.encoding",
            code="DL202",
        ) from error
    found = pl.DataFrame(frame)
    return ReadTable(found.with_columns(_spoken(values, meta.variable_value_labels) for values in found))


def _spoken(values: pl.Series, labels: dict[str, dict[Any, str]]) -> pl.Series:
    """Return a column with labels for its values, where all have one.

    Decimals that are all whole become whole numbers.
    """
    words = labels.get(values.name)
    if values.dtype == pl.Null:
        return values.cast(pl.String)
    if values.dtype == pl.String:  # these programs have no other missing text than an empty one
        values = values.set(values.str.strip_chars() == "", None)
    if words and set(values.drop_nulls().to_list()) <= set(words):
        spoken = [None if value is None else words[value].strip() for value in values.to_list()]
        return pl.Series(values.name, spoken, dtype=pl.String)
    if values.dtype.is_float() and bool(((values == values.round()) & (values.abs() < EXACT)).all()):
        return values.cast(pl.Int64)
    return values
