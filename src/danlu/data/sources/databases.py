"""Tables of SQLite and DuckDB files, opened for reading alone: `path::TABLE`, or the only table.

A table's name is always quoted; no SQL of the user's is run.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

from danlu.core.imports import require_extra
from danlu.core.text import suggestion
from danlu.data.file_form import ReadOptions, ReadTable
from danlu.errors import DataError

SQLITE_MAGIC = b"SQLite format 3\0"
DUCKDB_MAGIC, DUCKDB_OFFSET = b"DUCK", 8
# DuckDB's types that polars has none for, and what they are read as.
CASTS = {"INTERVAL": "VARCHAR", "BIT": "VARCHAR", "UUID": "VARCHAR", "BIGNUM": "VARCHAR", "VARINT": "VARCHAR"}
WHOLE = {"HUGEINT", "UHUGEINT"}


def read_database(path: Path, options: ReadOptions) -> ReadTable:
    """Read one table of an SQLite or a DuckDB file, whichever it is.

    Raises:
        DataError: it is neither, or it is not said which of its tables is meant.
        MissingExtra: duckdb is not installed.
    """
    with path.open("rb") as file:
        head = file.read(len(SQLITE_MAGIC))
    if head == SQLITE_MAGIC:
        return _read_sqlite(path, options.part)
    if head[DUCKDB_OFFSET : DUCKDB_OFFSET + len(DUCKDB_MAGIC)] == DUCKDB_MAGIC:
        return _read_duckdb(path, options.part)
    raise DataError(f"{path}: is neither an SQLite nor a DuckDB file", code="DL202")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _chosen(path: Path, said: str | None, tables: list[str]) -> str:
    """Return the table that is meant."""
    if not tables:
        raise DataError(f"{path}: has no tables", code="DL203")
    if said is None and len(tables) == 1:
        return tables[0]
    if said is None:
        raise DataError(
            f"{path}: holds several tables ({', '.join(tables)}); name one, as {path.name}::{tables[0]}", code="DL202"
        )
    if said not in tables:
        raise DataError(f"{path}: has no table {said!r}{suggestion(said, tables)}", code="DL202")
    return said


def _read_sqlite(path: Path, said: str | None) -> ReadTable:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            listed = database.execute("select name from sqlite_master where type in ('table', 'view') order by name")
            # SQLite's own, and those in which SpatiaLite and GeoPackage keep what they know.
            tables = [name for (name,) in listed if not name.startswith(("sqlite_", "gpkg_", "rtree_"))]
            table = _chosen(path, said, tables)
            kinds = {name: kind for _, name, kind, *_ in database.execute(f"pragma table_info({_quoted(table)})")}
            found = database.execute(f"select * from {_quoted(table)}")  # noqa: S608 - quoted, and one of its tables
            names = [name for name, *_ in found.description]
            rows = found.fetchall()
    except sqlite3.Error as error:
        raise DataError(f"{path}: cannot be read as an SQLite file: {error}", code="DL202") from error
    columns = [_sqlite_column(name, [row[at] for row in rows], kinds.get(name, "")) for at, name in enumerate(names)]
    return ReadTable(pl.DataFrame(columns))


def _sqlite_column(name: str, values: list[Any], declared: str) -> pl.Series:
    """Convert a column of SQLite, whose every value has a type of its own.

    A number among words is the word it is written as; truth values and times are known by the declared type alone.
    """
    kinds = {type(value) for value in values if value is not None}
    declared = declared.upper()
    if kinds == {int} and declared.startswith("BOOL"):
        return pl.Series(name, [None if value is None else bool(value) for value in values], dtype=pl.Boolean)
    if kinds == {int, float}:
        return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
    if kinds == {str} and declared.startswith(("DATE", "TIME")):
        return _times(pl.Series(name, values, dtype=pl.String))
    if len(kinds) > 1:
        words = [value if value is None or isinstance(value, str) else _word(value) for value in values]
        return pl.Series(name, words, dtype=pl.String)
    return pl.Series(name, values) if kinds else pl.Series(name, values, dtype=pl.String)


def _times(words: pl.Series) -> pl.Series:
    """Return dates or times as such, if all words are as SQLite writes them."""
    for kind, form in ((pl.Date(), "%Y-%m-%d"), (pl.Datetime("us"), "%Y-%m-%d %H:%M:%S%.f")):
        parsed = words.str.strptime(kind, form, strict=False)
        if parsed.null_count() == words.null_count():
            return parsed
    return words


def _word(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _read_duckdb(path: Path, said: str | None) -> ReadTable:
    require_extra("formats", f"{path}: a DuckDB file", only=("duckdb",))
    import duckdb

    try:
        with duckdb.connect(str(path), read_only=True, config={"enable_external_access": "false"}) as database:
            listed = database.execute(
                "select schema_name, table_name from duckdb_tables() where not internal union all "
                "select schema_name, view_name from duckdb_views() where not internal order by all"
            ).fetchall()
            places = {name if schema == "main" else f"{schema}.{name}": (schema, name) for schema, name in listed}
            schema, name = places[_chosen(path, said, list(places))]
            place = f"{_quoted(schema)}.{_quoted(name)}"
            described = database.execute(f"describe {place}").fetchall()
            columns = ", ".join(_duckdb_column(column, kind) for column, kind, *_ in described)
            found = database.sql(f"select {columns} from {place}")  # noqa: S608 - quoted, and one of its tables
            return ReadTable(pl.DataFrame(found))
    except duckdb.Error as error:
        raise DataError(
            f"{path}: cannot be read as a DuckDB file: {str(error).splitlines()[0]}", code="DL202"
        ) from error


def _duckdb_column(name: str, kind: str) -> str:
    """Return the SQL of a column in a type that polars has."""
    quoted = _quoted(name)
    if kind in CASTS or kind.startswith(("GEOMETRY", "UNION", "VARIANT")):
        return f"cast({quoted} as varchar) as {quoted}"
    return f"cast({quoted} as double) as {quoted}" if kind in WHOLE else quoted
