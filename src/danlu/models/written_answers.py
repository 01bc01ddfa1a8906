"""Answers as files: CSV, lines of JSON or Parquet, written window by window where they are too many for memory."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
from polars import selectors

from danlu.data.frames import Table, iter_windows, wide_integers_as_words
from danlu.tasks.classification import PREDICTION_SET

LABEL_SEPARATOR = ";"


def without_lists(frame: pl.DataFrame) -> pl.DataFrame:
    """Return predictions as CSV can hold them, which has no lists.

    Labels are joined, as data.target_separator would read them; a prediction set becomes a JSON list.
    """
    if PREDICTION_SET in frame.columns and frame[PREDICTION_SET].dtype.is_nested():
        sets = [json.dumps(labels, ensure_ascii=False) for labels in frame[PREDICTION_SET].to_list()]
        frame = frame.with_columns(pl.Series(PREDICTION_SET, sets, dtype=pl.String))
    return frame.with_columns(selectors.list().list.join(LABEL_SEPARATOR))


def without_wide_integers(table: Table) -> Table:
    """Return a table with whole numbers beyond 64 bits as words.

    Hardly another program reads such numbers.
    """
    for name in table.columns:
        table = wide_integers_as_words(table, name)
    return table


def _write_parquet(table: Table, path: Path) -> None:
    table = without_wide_integers(table)
    if isinstance(table, pl.DataFrame):
        table.write_parquet(path)
    else:
        table.lazy().sink_parquet(path)


def _write_csv(table: Table, path: Path) -> None:
    with path.open("wb") as file:
        for number, frame in enumerate(iter_windows(table)):
            without_lists(frame).write_csv(file, include_header=number == 0)


def _write_jsonl(table: Table, path: Path) -> None:
    with path.open("wb") as file:
        for frame in iter_windows(table):
            frame.write_ndjson(file)


WRITERS: dict[str, Callable[[Table, Path], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
}
