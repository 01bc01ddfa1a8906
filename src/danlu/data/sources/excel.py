"""Workbooks of Excel and LibreOffice: one sheet, the first unless `path.xlsx::SHEET` names another."""

from pathlib import Path

import polars as pl

from danlu.core.imports import require_extra
from danlu.core.text import suggestion
from danlu.data.file_form import ReadOptions, ReadTable
from danlu.errors import DataError

# What Excel shows where a formula fails; without a value of its own, the cell counts as empty.
ERRORS = ("#N/A", "#NA", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!")


def read_excel(path: Path, options: ReadOptions) -> ReadTable:
    """Read a sheet; every row decides the columns' types.

    Raises:
        DataError: there is no such sheet, or it is empty.
        MissingExtra: the library that reads workbooks is not installed.
    """
    require_extra("formats", f"{path}: a workbook", only=("fastexcel",))
    import fastexcel

    try:
        book = fastexcel.read_excel(str(path))
    except fastexcel.FastExcelError as error:
        raise DataError(f"{path}: cannot be read as a workbook: {_first_line(error)}", code="DL202") from error
    sheet = options.part if options.part is not None else book.sheet_names[0]
    if sheet not in book.sheet_names:
        raise DataError(f"{path}: has no sheet {sheet!r}{suggestion(sheet, book.sheet_names)}", code="DL202")
    try:
        frame = pl.read_excel(
            path,
            sheet_name=sheet,
            engine="calamine",
            infer_schema_length=None,  # polars' own 1,000 rows lose the words that come later
            drop_empty_rows=False,
            raise_if_empty=False,
        )
    except (fastexcel.FastExcelError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: sheet {sheet!r} cannot be read: {_first_line(error)}", code="DL202") from error
    words = pl.col(pl.String)
    frame = frame.with_columns(pl.when(words.is_in(ERRORS)).then(None).otherwise(words).name.keep())
    frame = frame.select(name for name in frame.columns if not _is_blank(name, frame[name]))
    return ReadTable(frame.head(_last_row(frame)) if frame.width else frame)


def _last_row(frame: pl.DataFrame) -> int:
    """Return the number of rows up to the last that holds a value.

    Formats reach further down.
    """
    held = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    return int(held[-1]) + 1 if len(held) else 0


def _is_blank(name: str, values: pl.Series) -> bool:
    """Return whether a column has neither a name nor a value.

    A sheet is as wide as its widest format.
    """
    return name.startswith("__UNNAMED__") and values.null_count() == len(values)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
