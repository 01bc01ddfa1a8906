"""Read table files. A table too large for memory is converted once into an Arrow file in the cache and read from there.

The first rows of a text file suggest each column's type; where a later row contradicts, the whole file decides.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from danlu.artifacts.cache import cached_dir, file_identity
from danlu.data.frames import DiskFrame, Table, rows_within
from danlu.data.sources.csv_dialect import refuse_uneven_rows, sniff_dialect
from danlu.data.sources.narrowing import narrowed, suggested_types
from danlu.data.sources.options import FileForm, ReadOptions, ReadTable, spelled_missing

SEEN_ROWS = 10_000  # suggest the types; having the whole file decide takes fifty times as long
LARGE = 1 << 30  # bytes; a larger file is not read into memory
PACKED = 4  # factor by which parquet grows when read
BATCH_BYTES = 1 << 20  # of a cached table that polars reads at once, several in each of its threads
PASS_BYTES = 1 << 28  # of parquet that are converted at once
VERSION = 3  # of cached tables; another version is rebuilt


def read_csv(path: Path, options: ReadOptions, separator: str | None = None) -> ReadTable:
    """Read separated values, find out types, and read given words as missing.

    A column is a number only where nothing is lost: words with leading zeros stay words. Columns in `options.words`
    keep the spelling of the file.
    """
    dialect = sniff_dialect(path, separator)
    scan = partial(pl.scan_csv, path, separator=dialect.separator, eol_char=dialect.line_end, infer_schema=False)
    absent = spelled_missing(options.missing_values)
    try:
        sample = scan(n_rows=SEEN_ROWS).collect()
    except pl.exceptions.ComputeError:
        refuse_uneven_rows(path, dialect)
        raise
    ends = sample.height < SEEN_ROWS  # the sample is the whole file
    held = sample.with_columns(pl.when(~pl.all().is_in(absent)).then(pl.all()))
    said = [name for name in sample.columns if name in options.words]
    types = suggested_types(held.drop(said))
    worded = any(held[name].null_count() > sample[name].null_count() for name in types if types[name] != pl.String)
    unseen = [name for name in types if held[name].null_count() == held.height]

    def suggested(quick: bool) -> pl.LazyFrame:
        lazy = scan(schema_overrides=types) if quick else scan(schema_overrides=types, null_values=absent)
        return narrowed(_without_words(lazy, absent) if quick else lazy, [] if ends else unseen, said)

    def decided() -> pl.LazyFrame:
        return narrowed(scan(null_values=absent), list(types), said)

    def whole(make: Callable[[], pl.LazyFrame]) -> pl.LazyFrame:
        return _without_blank_rows(make()) if dialect.blank_lines else make()

    large = path.stat().st_size > LARGE
    # polars compares every number with words for missing values, so they are given to it only where they occur.
    quick = () if worded else (partial(suggested, quick=True),)
    ways: tuple[Callable[[], pl.LazyFrame], ...] = (*quick, partial(suggested, quick=False), decided)
    for way in ways:
        try:
            table = _read(path, partial(whole, way), large, [list(absent), sorted(said), len(ways), ways.index(way)])
            break
        except pl.exceptions.ComputeError:
            refuse_uneven_rows(path, dialect)
            if way is decided:
                raise
    if codes := [] if ends else _late_codes(table, held.select(name for name in types if types[name] == pl.Int64)):
        return read_csv(path, replace(options, words=options.words | set(codes)), separator)
    if not large and table[table.columns[-1]].null_count():  # a short row is filled up with missing values
        refuse_uneven_rows(path, dialect)
    return ReadTable(table, FileForm(separator=dialect.separator, missing_words=_found_missing(sample, absent)))


def _found_missing(sample: pl.DataFrame, absent: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the words in each column that stand for a missing value."""
    found = {
        name: sample[name].filter(sample[name].is_in(absent)).str.strip_chars().unique() for name in sample.columns
    }
    return {name: tuple(sorted(words)) for name, words in found.items() if len(words)}


def _late_codes(table: Table, sample: pl.DataFrame) -> list[str]:
    """Return whole numbers of one width in the first rows and of less in later ones: codes with leading zeros?"""
    if not sample.columns:
        return []
    widths = sample.select(pl.all().str.len_chars().min().name.suffix("\0min"), pl.all().str.len_chars().max()).row(
        0, named=True
    )
    fixed = {name: width for name in sample.columns if (width := widths[name]) and widths[f"{name}\0min"] == width > 1}
    if not fixed:
        return []
    lowest = table.lazy().select(pl.col(list(fixed)).abs().min()).collect(engine="streaming").row(0, named=True)
    return [name for name, width in fixed.items() if lowest[name] is not None and len(str(lowest[name])) < width]


def read_tsv(path: Path, options: ReadOptions) -> ReadTable:
    """Read values separated by tabs."""
    return read_csv(path, options, "\t")


def read_parquet(path: Path, options: ReadOptions) -> ReadTable:
    """Read parquet, which has its own missing values."""
    return ReadTable(_read(path, partial(pl.scan_parquet, path), path.stat().st_size * PACKED > LARGE, []))


def read_arrow(path: Path, options: ReadOptions) -> ReadTable:
    """Read arrow's file format (feather), which can be read in parts without conversion."""
    return ReadTable(DiskFrame(pl.scan_ipc(path)) if path.stat().st_size > LARGE else pl.read_ipc(path))


def read_jsonl(path: Path, options: ReadOptions) -> ReadTable:
    """Read one JSON object per line.

    Any line may have keys of its own, so the whole file decides the columns.
    """
    return ReadTable(pl.read_ndjson(path, infer_schema_length=None))


READERS: dict[str, Callable[[Path, ReadOptions], ReadTable]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".jsonl": read_jsonl,
}


def _read(path: Path, scan: Callable[[], pl.LazyFrame], large: bool, options: list[object]) -> Table:
    """Collect a scan into memory, or into a cached file if large; streaming throughout."""
    if not large:
        return scan().collect(engine="streaming")

    def write(empty: Path) -> None:
        lazy = scan()
        batch = rows_within(lazy, BATCH_BYTES)
        for number, part in enumerate(_passes(path, lazy)):
            part.sink_ipc(empty / f"{number:05}.arrow", compression="uncompressed", record_batch_size=batch)

    folder = cached_dir("tables", [VERSION, file_identity(path), options], write)
    return DiskFrame(pl.scan_ipc(sorted(folder.glob("*.arrow"))))


def _passes(path: Path, lazy: pl.LazyFrame) -> Iterator[pl.LazyFrame]:
    """Cut a scan into parts of about PASS_BYTES, where later rows can be reached directly.

    polars reads ahead twice as many row groups of a parquet file as it has threads: on a machine of many cores the
    whole of a table that should stay on disk.
    """
    if path.suffix.lower() != ".parquet":
        yield lazy
        return
    rows, size = int(lazy.select(pl.len()).collect().item()), rows_within(lazy, PASS_BYTES, most=None)
    for start in range(0, max(1, rows), size):
        yield lazy.slice(start, size)


def _without_words(lazy: pl.LazyFrame, absent: Sequence[str]) -> pl.LazyFrame:
    """Replace words for missing values in string columns.

    polars' reader would compare every number too.
    """
    words = pl.col(pl.String)
    return lazy.with_columns(pl.when(words.is_in(absent)).then(None).otherwise(words).name.keep())


def _without_blank_rows(lazy: pl.LazyFrame) -> pl.LazyFrame:
    return lazy.filter(~pl.all_horizontal(pl.all().is_null()))
