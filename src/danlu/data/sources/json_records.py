"""JSON: a list of records, an object of columns, or either below one key; lines of objects are `read_jsonl`'s."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from danlu.data.file_form import FileForm, ReadOptions, ReadTable
from danlu.data.sources.nested_json import nested_text
from danlu.errors import DataError

FORMS = 'a list of objects ([{"x": 1}, …]) or an object of columns ({"x": [1, …]})'


def read_json(path: Path, options: ReadOptions) -> ReadTable:
    """Read records or columns; every record may have keys of its own.

    Raises:
        DataError: it is of another form.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 (byte {error.start}); JSON is written in it", code="DL202") from error
    except ValueError as error:
        if _is_lines(path):
            raise DataError(f"{path}: holds one object a line; rename it to {path.stem}.jsonl", code="DL202") from None
        raise DataError(f"{path}: is not JSON ({error})", code="DL202") from None
    columns = _columns(_below_one_key(held, path), path)
    try:
        return ReadTable(frame_of_columns(path, columns), FileForm(is_json=True))
    except pl.exceptions.ShapeError as error:
        lengths = ", ".join(f"{name} {len(values)}" for name, values in columns.items())
        raise DataError(f"{path}: the columns differ in length ({lengths})", code="DL204") from error


def frame_of_columns(path: Path, columns: Mapping[str, list[Any]]) -> pl.DataFrame:
    """Convert the columns of a file's records."""
    return pl.DataFrame([_series(path, name, values) for name, values in columns.items()])


def frame_of_records(path: Path, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Convert records; every one may have keys of its own."""
    return frame_of_columns(path, _columns(rows, path))


def _is_lines(path: Path) -> bool:
    """Return whether the first line is JSON by itself."""
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
    try:
        return isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _below_one_key(held: Any, path: Path) -> Any:
    """Return what an object holds under its only list of objects.

    An example is {"data": [...], "meta": {}}.
    """
    if not isinstance(held, dict):
        return held
    lists = [name for name, value in held.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(lists) > 1 and not all(isinstance(value, list) for value in held.values()):
        raise DataError(f"{path}: holds several lists of objects ({', '.join(lists)}); keep one of them", code="DL202")
    if len(lists) == 1 and not _is_column_beside_others(held, lists[0]):
        return held[lists[0]]
    return held


def _is_column_beside_others(held: dict[str, Any], name: str) -> bool:
    """Return whether a list of objects is one column of several as long."""
    others = [value for key, value in held.items() if key != name]
    return bool(others) and all(isinstance(value, list) and len(value) == len(held[name]) for value in others)


def _columns(held: Any, path: Path) -> dict[str, list[Any]]:
    """Return the values of each column."""
    if isinstance(held, list) and held and all(isinstance(row, dict) for row in held):
        names = dict.fromkeys(name for row in held for name in row)
        return {name: [row.get(name) for row in held] for name in names}
    if isinstance(held, dict) and held:
        if set(held) >= {"columns", "data"} and isinstance(held["columns"], list):  # pandas' orient="split"
            return dict(zip(map(str, held["columns"]), map(list, zip(*held["data"], strict=True)), strict=True))
        if all(isinstance(value, list) for value in held.values()):
            return held
        if all(isinstance(value, dict) for value in held.values()):  # pandas' own: a column's values by row
            rows = list(dict.fromkeys(key for column in held.values() for key in column))
            return {name: [column.get(row) for row in rows] for name, column in held.items()}
    raise DataError(f"{path}: holds no table; a table in JSON is {FORMS}", code="DL202")


def _series(path: Path, name: str, values: list[Any]) -> pl.Series:
    """Convert a column; whole and other numbers together are numbers.

    Other mixtures are the words they are written as.
    """
    if (kept := nested_text(name, values)) is not None:
        return kept
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
    if len(kinds) > 1 and kinds <= {str, int, float, bool}:
        words = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        return pl.Series(name, words, dtype=pl.String)
    try:
        if kinds & {dict, list}:  # objects may differ in their keys, and so may those inside of lists
            lines = "\n".join(json.dumps({name: value}) for value in values)
            return pl.read_ndjson(lines.encode(), infer_schema_length=None).to_series()
        return pl.Series(name, values, strict=False)
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        names = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise DataError(f"{path}: column {name!r} holds {names}: {str(error).splitlines()[0]}", code="DL211") from error
