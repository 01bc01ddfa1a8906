"""Rows of any number, read and answered in order: at once where they are few, else block by block onto the disk.

In: a file or other source. Out: a table of answers, in memory or on disk, and a summary of the rows in error. What is
held at a time does not grow with the number of rows.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import polars as pl

from danlu.artifacts.bundle import Bundle
from danlu.artifacts.cache import scratch_folder, temporary_copies
from danlu.artifacts.files import translate_write_errors
from danlu.core.console import info
from danlu.core.text import suggestion
from danlu.data.descriptors import RawData
from danlu.data.frames import WINDOW_BYTES, DiskFrame, Table, iter_windows, rows_within
from danlu.data.preprocessing import BLOCK_ROWS
from danlu.data.row_errors import ERROR, Broken, with_error_column, without_errors
from danlu.data.sources.image_files import describe_suffixes
from danlu.data.sources.image_folders import IMAGE
from danlu.errors import DataError
from danlu.models.read_for import as_values, read_words_for

STREAMED_BYTES = 1 << 25  # of a table in memory; a larger one is answered by blocks
Progress = Callable[[int, int], None]  # rows answered, and all rows


class AnswerRows(Protocol):
    """Answer some rows of a source, as `Predictor.predict_source` does."""

    def __call__(self, rows: RawData, /, *, broken: Broken, first_row: int) -> pl.DataFrame:
        """Return an answer a row, in order."""


@dataclass
class RowsInError:
    """Count the rows that could not be answered.

    Attributes:
        count: of them.
        first: row and reason of the first one, where there is one.
    """

    count: int = 0
    first: tuple[int, str] | None = None

    def add(self, answers: pl.DataFrame, first_row: int) -> None:
        """Take note of a block's rows in error."""
        if ERROR not in answers.columns:
            return
        wrong = answers[ERROR].is_not_null()
        if self.first is None and wrong.any():
            row = int(wrong.arg_max() or 0)
            self.first = first_row + row, answers[ERROR][row]
        self.count += int(wrong.sum())


@dataclass(frozen=True)
class Answered:
    """Hold the answers to all rows.

    Attributes:
        table: columns that are kept, answers, and `error` where a row has one.
        errors: the rows that could not be answered, also where they are left out.
    """

    table: Table
    errors: RowsInError = field(default_factory=RowsInError)


@dataclass(frozen=True)
class ReadRows:
    """Hold the rows of a source.

    Attributes:
        words: as they are written.
        read: as the model reads them.
        kept: columns of `words` that stand before the answers.
    """

    words: RawData
    read: RawData
    kept: Sequence[str]


@contextmanager
def rows_to_answer(bundle: Bundle, source: object, keep: Sequence[str] = ()) -> Iterator[ReadRows]:
    """Read the rows of a source; large ones are on disk within the block.

    Args:
        bundle: whose model answers them.
        source: as of `predict`.
        keep: columns that stand before the answers, beside names of images.

    Raises:
        DataError: it cannot be read, or has no such column.
    """
    with temporary_copies():
        words = read_words_for(bundle, source, keep, labelled=False, most_bytes=STREAMED_BYTES)
        for name in keep:
            if name not in words.frame.columns:
                near = suggestion(name, words.frame.columns)
                raise DataError(f"{words.origin}: no column {name!r}{near}", code="DL210")
        if unread := words.form.unread:
            info(f"{words.origin}: {describe_suffixes(unread)} not read")
        named = words.layout == "images" and words.frame.schema.get(IMAGE) == pl.String and IMAGE not in keep
        yield ReadRows(words, as_values(bundle, words), [*([IMAGE] if named else []), *keep])


@contextmanager
def answered(
    answer: AnswerRows, rows: ReadRows, broken: Broken, progress: Progress = lambda done, rows: None
) -> Iterator[Answered]:
    """Answer all rows; answers on disk live as long as the block.

    Args:
        answer: rows -> answers.
        rows: that were read.
        broken: as of `predict`.
        progress: is told after each block; whatever it raises ends the work.

    Raises:
        DataError: a row cannot be answered, and `broken` is `fail`.
    """
    errors, read, kept = RowsInError(), rows.read, rows.kept

    def blocks() -> Iterator[pl.DataFrame]:
        size = rows_within(read.frame.lazy(), WINDOW_BYTES, BLOCK_ROWS)
        shown = iter_windows(rows.words.frame.select(kept), size) if kept else None
        start = 0
        for block in iter_windows(read.frame, size):
            found = answer(replace(read, frame=block), broken="fail" if broken == "fail" else "row", first_row=start)
            errors.add(found, start)
            if shown is not None:
                found = next(shown).hstack(found)
            start += block.height
            yield without_errors(found) if broken == "skip" else found
            progress(start, read.frame.height)

    if isinstance(read.frame, pl.DataFrame):
        (table,) = blocks()
        yield Answered(table, errors)
        return
    with tempfile.TemporaryDirectory(dir=scratch_folder(), ignore_cleanup_errors=True) as folder:
        yield Answered(_on_disk(blocks(), Path(folder), broken, errors), errors)


def _on_disk(blocks: Iterator[pl.DataFrame], folder: Path, broken: Broken, errors: RowsInError) -> DiskFrame:
    """Write blocks into a folder, and return them as one table.

    All parts have a column for errors, which the table has where one row needs it.
    """
    height = 0
    for number, block in enumerate(blocks):
        if broken == "row":
            block = with_error_column(block)
        with translate_write_errors(folder):
            block.write_ipc(folder / f"{number:06}.arrow", compression="lz4")
        height += block.height
    scan = pl.scan_ipc(sorted(folder.glob("*.arrow")))
    return DiskFrame(scan if broken != "row" or errors.count else scan.drop(ERROR), height)
