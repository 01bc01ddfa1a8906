"""Remove invalid rows, each with its reason: duplicates, missing values, no label, outliers among the training rows.

What looks only at a row itself, or at rows equal to it, happens before the split; what has to be learned (outliers)
happens after it, on the training split alone. Values are changed by the preprocessors, never here.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from danlu.core.seeds import Seed
from danlu.data.columns import missing_values
from danlu.data.dataset import Dataset
from danlu.data.frames import Table, is_duplicated, row_hashes, take_rows
from danlu.data.images.decode import find_unreadable
from danlu.data.messages import reason
from danlu.data.splits import ByColumn, Split, Splits, TrainSplit
from danlu.data.tabular.impute import DropMissing
from danlu.data.tabular.numbers import read_numbers
from danlu.data.tabular.outliers import is_outlier, isolation_forest_outliers, outlier_limits
from danlu.errors import DataError
from danlu.recipe.components import DuplicatesOptions
from danlu.recipe.sections.data import Clean, Outliers, SplitOptions

REASONS = {"row": pl.Int64, "reason": pl.String}
Rows = np.ndarray


class Duplicates(DuplicatesOptions):
    """Handle rows that repeat an earlier one.

    Example:
        >>> import danlu
        >>> class KeepLast(danlu.Duplicates):
        ...     name: str = "keep-last"
        ...     def repeated(self, dataset, rows):
        ...         is_last = dataset.frame.select(dataset.frame.columns).is_unique()
        ...         return rows[~is_last.gather(rows).to_numpy()]
        >>> KeepLast().name
        'keep-last'
    """

    @abstractmethod
    def repeated(self, dataset: Dataset, rows: Rows) -> Rows:
        """Return which of `rows` (positions in the frame) repeat an earlier one, [repeated]."""


class Keep(Duplicates):
    """Keep duplicates."""

    name: Literal["keep"] = "keep"

    def repeated(self, dataset: Dataset, rows: Rows) -> Rows:
        return rows[:0]


class DropExact(Duplicates):
    """Drop rows equal to an earlier one in every used column and the target."""

    name: Literal["drop"] = "drop"

    def repeated(self, dataset: Dataset, rows: Rows) -> Rows:
        names = [column.name for column in dataset.used]
        names += [dataset.target] if dataset.target and dataset.target not in names else []
        first = is_first_distinct(dataset.frame.select(names), rows)
        return np.asarray(rows[~first])


class DropNear(Duplicates):
    """Drop texts or images that are nearly the same as an earlier one.

    Attributes:
        similarity: from which texts (shared character n-grams) or images (bits of a perceptual hash) count as copies.
    """

    name: Literal["near"] = "near"
    similarity: Annotated[float, Field(gt=0.5, le=1.0)] = 0.9

    def repeated(self, dataset: Dataset, rows: Rows) -> Rows:
        values = dataset.frame[dataset.content].gather(rows).to_list()
        groups = dataset.kind.near_duplicates(values, dataset.folder, self.similarity)
        return np.asarray(rows[groups != np.arange(len(rows))])


DUPLICATES: dict[str, type[Duplicates]] = {"keep": Keep, "drop": DropExact, "near": DropNear}


def is_first_distinct(table: Table, rows: Rows) -> np.ndarray:
    """Return which of some rows are the first with their values, [rows] bool.

    A 64-bit hash finds the candidates; only rows whose hash occurs again are read and compared in full.
    """
    suspects = np.flatnonzero(is_duplicated(row_hashes(table, table.columns)[rows]))
    first = np.ones(len(rows), dtype=bool)
    if len(suspects):
        candidates = take_rows(table, rows[suspects]).with_row_index("\0row")
        chosen = candidates.unique(subset=table.columns, keep="first", maintain_order=True)["\0row"].to_numpy()
        first[suspects] = False
        first[suspects[chosen]] = True
    return first


def count_reasons(dropped: pl.DataFrame) -> dict[str, int]:
    """Count the removed rows by kind of reason, the most frequent first.

    Text after a colon in a reason is detail and is left out.
    """
    reasons = dropped["reason"].str.split(": ").list.first().alias("kind")
    return dict(reasons.value_counts(sort=True).rows())


def summarize(dropped: pl.DataFrame) -> str:
    """Summarize the removed rows: `12 repeat an earlier row, 3 a missing value`."""
    return ", ".join(f"{count:,} {kind}" for kind, count in count_reasons(dropped).items())


@dataclass(frozen=True)
class CleanResult:
    """Hold which rows of a dataset remain.

    Attributes:
        kept: positions in the dataset's frame, ascending.
        dropped: the others, columns `row` and `reason`.
    """

    kept: Rows
    dropped: pl.DataFrame


def clean_rows(dataset: Dataset, options: Clean, split: SplitOptions) -> CleanResult:
    """Remove rows before the split.

    Where a column says the split, of equal rows the one that trains stays: were it removed for a test row that stands
    before it, the test rows would decide what is learned.

    Args:
        dataset: the rows.
        options: what is done.
        split: how the rows will be split.

    Raises:
        DataError: none are left.
    """
    remains = np.ones(dataset.frame.height, dtype=bool)
    dropped: list[pl.DataFrame] = []

    def leave_out(rows: Rows, why: str) -> None:
        dropped.append(pl.DataFrame({"row": rows}).with_columns(reason=pl.lit(why)))
        remains[rows] = False

    if options.unlabelled == "drop" and dataset.target is not None:
        leave_out(np.flatnonzero(missing_values(dataset.frame[dataset.target])), reason("left-out.unlabelled"))
    if isinstance(options.missing, DropMissing):
        gaps = np.zeros(dataset.frame.height, dtype=bool)
        for column in dataset.used:
            gaps |= missing_values(dataset.frame[column.name])
        leave_out(np.flatnonzero(gaps & remains), reason("left-out.gap"))
    if options.broken == "skip" and dataset.kind.refers_to_files:
        candidates = np.flatnonzero(remains)
        references = dataset.frame[dataset.content].gather(candidates).to_list()
        for position, detail in find_unreadable(references, dataset.folder):
            leave_out(candidates[[position]], f"{reason('left-out.unreadable')}: {detail}")
    candidates = np.flatnonzero(remains)
    if isinstance(split.by, ByColumn) and options.duplicates.name != "keep":
        parts = split.by.parts(dataset)[candidates]
        candidates = candidates[np.argsort(parts, kind="stable")]
    leave_out(np.sort(Duplicates.of(options.duplicates).repeated(dataset, candidates)), reason("left-out.repetition"))
    listed = pl.concat([pl.DataFrame(schema=REASONS), *dropped], how="vertical_relaxed")
    if not remains.any():
        raise DataError(
            f"{dataset.origin}: cleaning removed all {len(remains)} rows ({summarize(listed)}); relax data.clean",
            code="DL253",
        )
    return CleanResult(np.flatnonzero(remains), listed)


def drop_outliers(
    splits: Splits, dataset: Dataset, options: Outliers | None, seed: Seed
) -> tuple[Splits, pl.DataFrame]:
    """Remove outliers from the training split, with limits from itself alone.

    Validation and test stay whole.

    Returns:
        the splits, and the rows left out with the reason.

    Raises:
        DataError: no training row would be left.
    """
    if options is None or options.action != "drop":
        return splits, pl.DataFrame(schema=REASONS)
    train = splits.train
    far, reasons = _find_outliers(train, dataset, options, seed)
    if far.all():
        raise DataError(
            f"{dataset.origin}: every training row is an outlier by {options.method}; relax data.clean.outliers",
            code="DL253",
        )
    remaining = TrainSplit(train.rows[~far], train.table)
    dropped = pl.DataFrame({"row": train.rows[far], "reason": pl.Series(reasons[far], dtype=pl.String)})
    return replace(splits, train=remaining), dropped.cast(REASONS)  # type: ignore[arg-type]


def _find_outliers(train: Split, dataset: Dataset, options: Outliers, seed: Seed) -> tuple[np.ndarray, np.ndarray]:
    """Return which training rows are outliers, [rows] bool, and why, [rows]."""
    names = [column.name for column in dataset.used if column.type == "number"]
    far = np.zeros(len(train), dtype=bool)
    reasons = np.full(len(train), "", dtype=object)
    if not names:
        return far, reasons
    if options.method == "isolation-forest":
        matrix = np.column_stack(
            [_fill_with_median(read_numbers(train.column(name), None, dataset.origin)) for name in names]
        )
        far = isolation_forest_outliers(matrix, options, seed.derive("isolation-forest"))
        reasons[far] = reason("left-out.forest")
        return far, reasons
    for name in names:
        values = read_numbers(train.column(name), None, dataset.origin)
        beyond = is_outlier(values, outlier_limits(values, options))
        reasons[beyond & ~far] = reason("left-out.outlier", column=name, method=options.method)
        far |= beyond
    return far, reasons


def _fill_with_median(values: np.ndarray) -> np.ndarray:
    absent = np.isnan(values)
    return np.where(absent, np.median(values[~absent]) if not absent.all() else 0.0, values)
