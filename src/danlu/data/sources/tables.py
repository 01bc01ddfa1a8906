"""Read table files. A table too large for memory is converted once into an Arrow file in the cache and read from there.

The first rows of a text file suggest each column's type; where a later row contradicts, the whole file decides.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from danlu.artifacts.cache import cached_dir, file_identity
from danlu.data.frames import DiskFrame, Table, rows_within
from danlu.data.sources.csv_copy import normalized_csv
from danlu.data.sources.csv_dialect import refuse_uneven_rows
from danlu.data.sources.encoding import text_file
from danlu.data.sources.options import FileForm, ReadOptions, ReadTable

SEEN_ROWS = 10_000  # suggest the types; having the whole file decide takes fifty times as long
LARGE = 1 << 30  # bytes; a larger file is not read into memory
PACKED = 4  # factor by which parquet grows when read
NARROWER: tuple[type[pl.DataType], ...] = (pl.Int64, pl.Int128, pl.Float64)
BATCH_BYTES = 1 << 20  # of a cached table that polars reads at once, several in each of its threads
PASS_BYTES = 1 << 28  # of parquet that are converted at once
VERSION = 2  # of cached tables; another version is rebuilt


def read_csv(path: Path, options: ReadOptions, separator: str | None = None) -> ReadTable:
    """Read separated values, infer types, and read given words as missing."""
    origin = path
    path, dialect, form = normalized_csv(path, options, separator)
    scan = partial(
        pl.scan_csv,
        path,
        separator=dialect.separator,
        eol_char=dialect.line_end,
        quote_char=dialect.quote,
    )
    absent = [*options.missing_values, *(f" {word}" for word in options.missing_values if word)]  # as in `1, ?, 2`

    def suggested(quick: bool) -> pl.LazyFrame:
        lazy = scan(infer_schema_length=SEEN_ROWS, null_values=absent)
        seen = lazy.head(SEEN_ROWS).collect()
        unseen = [name for name, values in zip(seen.columns, seen, strict=True) if values.null_count() == seen.height]
        plain = scan(infer_schema_length=SEEN_ROWS)
        if quick and plain.collect_schema() == seen.schema:
            lazy = _without_words(plain, absent)
        return _narrowed(lazy, unseen) if seen.height == SEEN_ROWS else lazy

    def decided() -> pl.LazyFrame:
        lazy = scan(infer_schema=False, null_values=absent)
        return _narrowed(lazy, lazy.collect_schema().names())

    def whole(make: Callable[[], pl.LazyFrame]) -> pl.LazyFrame:
        return _without_blank_rows(make()) if dialect.blank_lines else make()

    large = path.stat().st_size > LARGE
    ways: tuple[Callable[[], pl.LazyFrame], ...] = (
        partial(suggested, quick=True),
        partial(suggested, quick=False),
        decided,
    )
    for number, way in enumerate(ways):
        try:
            table = _read(path, partial(whole, way), large, [list(options.missing_values), number])
            break
        except pl.exceptions.ComputeError:
            refuse_uneven_rows(origin, dialect, path)
            if way is ways[-1]:
                raise
    if not large and table[table.columns[-1]].null_count():  # a short row is filled up with missing values
        refuse_uneven_rows(origin, dialect, path)
    return ReadTable(table, form)


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
    text, encoding = text_file(path, options.encoding)
    return ReadTable(pl.read_ndjson(text, infer_schema_length=None), FileForm(encoding=encoding))


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


def _narrowed(lazy: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
    """Cast string columns to integers, numbers or booleans where every value of the file allows."""
    if not names:
        return lazy
    tries = [
        pl.struct(
            *(
                (pl.col(name).cast(kind, strict=False).null_count() == pl.col(name).null_count()).alias(str(kind))
                for kind in NARROWER
            ),
            pl.col(name).is_in(["true", "false"]).all().alias("truth"),
            (pl.col(name).null_count() == pl.len()).alias("empty"),
        ).alias(name)
        for name in names
    ]
    fits = lazy.select(tries).collect(engine="streaming").row(0, named=True)
    return lazy.with_columns(_narrow(name, fits[name]) for name in names)


def _narrow(name: str, fits: dict[str, bool]) -> pl.Expr:
    if fits["empty"]:
        return pl.col(name)
    if fits["truth"]:
        return pl.col(name) == "true"
    return next((pl.col(name).cast(kind) for kind in NARROWER if fits[str(kind)]), pl.col(name))


def _without_blank_rows(lazy: pl.LazyFrame) -> pl.LazyFrame:
    return lazy.filter(~pl.all_horizontal(pl.all().is_null()))
