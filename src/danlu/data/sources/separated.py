"""Read separated values: the first rows suggest types; where a later one contradicts, the whole file decides.

Only what loses nothing becomes a number; see `narrowing`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from danlu.data.column_names import refuse_patterns
from danlu.data.file_form import ReadOptions, ReadTable, spelled_missing
from danlu.data.frames import Table, collect_like, describe_columns
from danlu.data.sources.csv_copy import normalized_csv
from danlu.data.sources.csv_dialect import refuse_uneven_rows
from danlu.data.sources.narrowing import narrowed, suggested_types
from danlu.data.sources.scans import collect, is_large

SEEN_ROWS = 10_000  # suggest the types; having the whole file decide takes fifty times as long


def read_csv(path: Path, options: ReadOptions, separator: str | None = None) -> ReadTable:
    """Read separated values, find out types, and read given words as missing.

    A column is a number only where nothing is lost: words with leading zeros stay words. Columns in `options.words`
    keep the spelling of the file.
    """
    text, dialect, form = normalized_csv(path, options, separator)
    refuse_patterns(dialect.names, str(path))
    scan = partial(
        pl.scan_csv,
        text,
        separator=dialect.separator,
        eol_char=dialect.line_end,
        quote_char=dialect.quote,
        infer_schema=False,
        new_columns=list(dialect.names),  # polars leaves doubled quotation marks in names doubled
    )
    absent = spelled_missing(options.missing_values)
    try:
        sample = scan(n_rows=SEEN_ROWS).collect()
    except pl.exceptions.ComputeError:
        refuse_uneven_rows(path, dialect, text)
        raise
    ends = sample.height < SEEN_ROWS  # the sample is the whole file
    held = sample.with_columns(pl.when(~pl.all().is_in(absent)).then(pl.all()))
    said = [name for name in sample.columns if name in options.words]
    types = suggested_types(held.drop(said))
    empty, absent_now = (dict(zip(rows.columns, rows.null_count().row(0), strict=True)) for rows in (sample, held))
    worded = any(absent_now[name] > empty[name] for name in types if types[name] != pl.String)
    unseen = [name for name in types if absent_now[name] == held.height]
    lost = {name: _lost_words(sample[name], held[name]) for name in held.columns if absent_now[name] > empty[name]}
    # polars compares every number with each of these, so they are those that occur.
    occurring = sorted({*options.missing_values, *(word for words in lost.values() for word in words)})

    def suggested(quick: bool) -> pl.LazyFrame:
        lazy = scan(schema_overrides=types) if quick else scan(schema_overrides=types, null_values=occurring)
        return narrowed(_without_words(lazy, absent), [] if ends else unseen)

    def decided() -> pl.LazyFrame:
        return narrowed(_without_words(scan(), absent), list(types))

    def whole(make: Callable[[], pl.LazyFrame]) -> pl.LazyFrame:
        return _without_blank_rows(make()) if dialect.blank_lines else make()

    large = is_large(text.stat().st_size, options)
    quick = () if worded else (partial(suggested, quick=True),)
    ways: tuple[Callable[[], pl.LazyFrame], ...] = (*quick, partial(suggested, quick=False), decided)
    for way in ways:
        try:
            table = collect(text, partial(whole, way), large, [list(absent), sorted(said), len(ways), ways.index(way)])
            break
        except pl.exceptions.ComputeError:
            refuse_uneven_rows(path, dialect, text)
            if way is decided:
                raise
    codes = [] if ends else _late_codes(table, held.select(name for name in types if types[name] == pl.Int64))
    if spelled := [*codes, *_infinite(table)]:
        return read_csv(path, replace(options, words=options.words | set(spelled)), separator)
    if not large and table[table.columns[-1]].null_count():  # a short row is filled up with missing values
        refuse_uneven_rows(path, dialect, text)
    found = {name: tuple(sorted({word.strip() for word in words})) for name, words in lost.items()}
    form = replace(form, missing_words=found, text_is_clean=True)
    added = {dialect.names[0]: "row-names"} if dialect.row_names else {}
    return ReadTable(_with_spelled(table, said), form, added=added)


def _with_spelled(table: Table, names: Sequence[str]) -> Table:
    """Narrow columns of words where the values' own spelling is that of the file."""
    if not names:
        return table
    lazy = narrowed(table.lazy(), (), names)
    return collect_like(table, lazy)


def _lost_words(written: pl.Series, held: pl.Series) -> list[str]:
    """Return the words of a column that stand for a missing value, as written.

    Args:
        written: the words.
        held: the same with null in place of those.
    """
    return written.filter(held.is_null()).drop_nulls().unique().to_list()


def _infinite(table: Table) -> list[str]:
    """Return columns of numbers with infinite ones.

    They are words such as `inf`, or numbers beyond any float, as `1e400`.
    """
    names = [name for name, dtype in table.schema.items() if dtype.is_float()]
    found = describe_columns(table, names, lambda values: values.is_infinite().any())
    return [name for name, infinite in found.items() if infinite]


def _late_codes(table: Table, sample: pl.DataFrame) -> list[str]:
    """Return whole numbers that may be codes with leading zeros.

    They are of one width in the first rows and of less in later ones.
    """
    if not sample.columns:
        return []
    widths = sample.select(pl.all().str.len_chars().min().name.suffix("\0min"), pl.all().str.len_chars().max()).row(
        0, named=True
    )
    fixed = {name: width for name in sample.columns if (width := widths[name]) and widths[f"{name}\0min"] == width > 1}
    lowest = describe_columns(table, list(fixed), lambda values: values.abs().min())
    return [name for name, width in fixed.items() if lowest[name] is not None and len(str(lowest[name])) < width]


def _without_words(lazy: pl.LazyFrame, absent: Sequence[str]) -> pl.LazyFrame:
    """Replace words for missing values in string columns.

    polars' reader would compare every number too.
    """
    words = pl.col(pl.String)
    return lazy.with_columns(pl.when(words.is_in(absent)).then(None).otherwise(words).name.keep())


def _without_blank_rows(lazy: pl.LazyFrame) -> pl.LazyFrame:
    return lazy.filter(~pl.all_horizontal(pl.all().is_null()))
