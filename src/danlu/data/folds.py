"""Cross-validation: the same rows split several times, so that each is tested once in every round.

In: a dataset and how it is split. Out: one `Splits` per fold; whatever is fitted is fitted again for each.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from danlu.core.seeds import Seed
from danlu.data.dataset import Dataset
from danlu.data.frames import take_rows
from danlu.data.splits import TRAIN, Rows, Split, Splits, Splitter, TrainSplit
from danlu.errors import DataError
from danlu.recipe.sections.data import SplitOptions

MAX_NAMED_FOLDS = 100  # a column with more values does not name folds


def fold_dataset(
    dataset: Dataset,
    section: SplitOptions,
    folds: int,
    seed: Seed,
    repeats: int = 1,
    kept: Rows | None = None,
    given: str | None = None,
) -> Iterator[Splits]:
    """Split a dataset into folds, `repeats` times in different ways.

    The rows of a fold test; of the others, the share `validation` of the recipe validates, chosen in the same manner,
    so that early stopping and calibration have not seen the fold.

    Args:
        dataset: the rows.
        section: the recipe's `data.split`, with its splitter; `test` has no meaning here.
        folds: at least 2.
        seed: the recipe's.
        repeats: how many rounds; an order in time allows only one.
        kept: positions of the rows that cleaning kept, ascending; all by default.
        given: a column that names each row's fold, in place of `folds` and `repeats`.

    Raises:
        DataError: the rows cannot be put into so many folds.
    """
    splitter = Splitter.of(section.by)
    rows = np.arange(dataset.frame.height) if kept is None else kept
    for repeat in range(1 if splitter.forward or given else repeats):
        chosen = seed.derive("folds", repeat)
        if given is None:
            numbers = splitter.fold(_of(dataset, rows), folds, chosen)
        else:
            numbers, folds = _given(_of(dataset, rows), given)
        for fold in range(folds):
            rest = rows[numbers < fold] if splitter.forward and given is None else rows[numbers != fold]
            validating = _validating(dataset, splitter, rest, section.validation, chosen.derive("validation", fold))
            yield Splits(
                TrainSplit(rest[~validating], dataset.frame),
                Split(rest[validating], dataset.frame),
                Split(rows[numbers == fold], dataset.frame),
            )


def _given(dataset: Dataset, column: str) -> tuple[Rows, int]:
    """Return each row's fold as a column names it (scikit-learn's PredefinedSplit).

    Folds are numbered in the order of the names.
    """
    names = dataset.frame[column]
    count = names.n_unique()
    if names.null_count():
        raise DataError(
            f"{dataset.origin}: {column!r} is missing in {names.null_count()} rows; drop or fill them", code="DL251"
        )
    if not 2 <= count <= MAX_NAMED_FOLDS:
        raise DataError(
            f"{dataset.origin}: {column!r} names {count} folds; allowed are 2 to {MAX_NAMED_FOLDS}", code="DL251"
        )
    return names.rank("dense").to_numpy().astype(np.int64) - 1, count


def _validating(dataset: Dataset, splitter: Splitter, rest: Rows, share: float, seed: Seed) -> np.ndarray:
    """Return which of the remaining rows validate, [rest] bool.

    They are the rows that a single split would use for validation or test; in time, where each cut takes an instant of
    its own, a split without test rows.
    """
    if splitter.forward:
        return np.asarray(splitter.assign(_of(dataset, rest), share, 0.0, seed) != TRAIN)
    parts = splitter.assign(_of(dataset, rest), share / 2, share / 2, seed)
    return np.asarray(parts != TRAIN)


def _of(dataset: Dataset, rows: Rows) -> Dataset:
    return dataset if len(rows) == dataset.frame.height else replace(dataset, frame=take_rows(dataset.frame, rows))
