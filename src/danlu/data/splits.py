"""Which rows train, validate and test. Splits are made once, by seed, before anything is learned.

`TrainSplit` is a type of its own: every `fit` of this package takes one and nothing else, so that fitting on rows that
later evaluate the model is an error of types, not a matter of care.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.data.columns import missing_values
from danlu.data.dataset import Dataset
from danlu.data.frames import WINDOW_BYTES, Table, rows_within, take_rows
from danlu.errors import DataError
from danlu.recipe.components import SplitterOptions
from danlu.recipe.sections.data import SplitOptions as SplitSection

Rows = np.ndarray
NAMES = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
NEVER_TESTED = -1


@dataclass(frozen=True)
class Split:
    """View some of a dataset's rows, in the order of the file.

    Rows are copied only when they are asked for.

    Attributes:
        rows: positions in the dataset's frame, [samples], ascending.
        table: the dataset's frame.
    """

    rows: Rows
    table: Table

    @classmethod
    def of(cls, table: Table) -> Self:
        """Return all rows of a table as one split."""
        return cls(np.arange(table.height), table)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def frame(self) -> pl.DataFrame:
        """The rows with all columns."""
        return take_rows(self.table, self.rows)

    def take(self, places: np.ndarray) -> "Split":
        """Select the rows at some positions of this split."""
        return Split(self.rows[places], self.table)

    def column(self, name: str) -> pl.Series:
        """Return one column of the rows; large tables are best read this way."""
        return self.table[name].rechunk().gather(self.rows)  # from one chunk it takes a third of the time

    def columns(self, *names: str) -> pl.DataFrame:
        """Return some columns of the rows."""
        return take_rows(self.table.select(names), self.rows)

    def iter_blocks(self, columns: Sequence[str], size: int) -> Iterator[pl.DataFrame]:
        """Yield blocks of at most `size` rows, so a large table is never copied whole."""
        chosen, size = self.table.select(columns), self.block_rows(columns, size)
        for start in range(0, len(self.rows), size):
            yield take_rows(chosen, self.rows[start : start + size])

    def block_rows(self, columns: Sequence[str], most: int) -> int:
        """Return how many rows a block has: fewer than `most` where rows are wide."""
        return rows_within(self.table.select(columns).lazy(), WINDOW_BYTES, most)


def evenly_spaced_rows(rows: int, count: int) -> np.ndarray:
    """Return the positions of at most `count` of `rows` rows, evenly spaced."""
    return np.unique(np.linspace(0, rows - 1, min(rows, count)).astype(np.int64))


def subsample(part: Split, count: int) -> Split:
    """Return `count` rows spread evenly over a split.

    A file sorted by class still gives all classes.
    """
    return Split(part.rows[evenly_spaced_rows(len(part.rows), count)], part.table)


class TrainSplit(Split):
    """View the rows that may be learned from."""


@dataclass(frozen=True)
class Splits:
    """Hold a dataset in three disjoint parts that together are the whole."""

    train: TrainSplit
    validation: Split
    test: Split

    def items(self) -> tuple[tuple[str, Split], ...]:
        return (("train", self.train), ("validation", self.validation), ("test", self.test))

    def merge_validation_into_train(self) -> "Splits":
        """Return the same splits with the validation rows moved into the training split."""
        rows, frame = np.sort(np.concatenate([self.train.rows, self.validation.rows])), self.train.table
        return Splits(TrainSplit(rows, frame), Split(rows[:0], frame), self.test)

    def eval_splits(self) -> dict[str, Split]:
        """Return the non-empty splits that are not trained on.

        After a refit on all other rows only the test split is left.
        """
        return {name: part for name, part in self.items() if name != "train" and len(part)}


class Splitter(SplitterOptions):
    """Assign every row to a split, or to a fold.

    Example:
        >>> import numpy as np
        >>> import danlu
        >>> class LastRows(danlu.Splitter):
        ...     name: str = "last-rows"
        ...     def assign(self, dataset, validation, test, seed):
        ...         place = (np.arange(dataset.frame.height) + 0.5) / dataset.frame.height
        ...         return np.digitize(place, [1 - validation - test, 1 - test]).astype(np.int8)
        ...     def fold(self, dataset, folds, seed):
        ...         return np.arange(dataset.frame.height) * folds // dataset.frame.height
        >>> LastRows().forward
        False
    """

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns, beside the target, that decide the split."""
        column = getattr(self, "column", None)
        return (column,) if column else ()

    @abstractmethod
    def assign(self, dataset: Dataset, validation: float, test: float, seed: Seed) -> Rows:
        """Return TRAIN, VALIDATION or TEST for each row, [rows] int8.

        Args:
            dataset: the rows, with target and columns.
            validation: fraction of the rows that validate, in [0, 1); with 0 no row does.
            test: fraction of the rows that test, in [0, 1); with 0 no row does.
            seed: decides which rows; the same seed gives the same split.

        Raises:
            DataError: the data cannot be split this way.
        """

    @abstractmethod
    def fold(self, dataset: Dataset, folds: int, seed: Seed) -> Rows:
        """Return the fold that tests each row, or NEVER_TESTED, [rows] int64.

        Folds are numbered from 0 to folds - 1.

        Args:
            dataset: the rows, with target and columns.
            folds: how many, at least 2.
            seed: decides which rows.

        Raises:
            DataError: there are too few rows, or they cannot be put into folds this way.
        """


class Random(Splitter):
    """Split rows at random."""

    name: Literal["random"] = "random"

    def assign(self, dataset: Dataset, validation: float, test: float, seed: Seed) -> Rows:
        return _shuffled(dataset.frame.height, validation, test, np.random.default_rng(seed.value))

    def fold(self, dataset: Dataset, folds: int, seed: Seed) -> Rows:
        return np.random.default_rng(seed.value).permutation(dataset.frame.height) % folds


class Stratified(Splitter):
    """Split at random, with the same class shares in each part.

    A numeric target is stratified by tenths of its distribution. Rows of several labels are assigned so that each
    label's share matches (iterative stratification, Sechidis et al. 2011,
    https://doi.org/10.1007/978-3-642-23808-6_10). Without test rows a class of a single row only trains.
    """

    name: Literal["stratified"] = "stratified"

    def assign(self, dataset: Dataset, validation: float, test: float, seed: Seed) -> Rows:
        if dataset.target is None:
            raise DataError(
                f"{dataset.origin}: a stratified split needs a target; set data.split.by: random", code="DL251"
            )
        generator = np.random.default_rng(seed.value)
        labels = dataset.task.label_matrix(dataset.frame[dataset.target])
        if labels is not None:
            wanted = [(TRAIN, 1 - validation - test), (VALIDATION, validation), (TEST, test)]
            codes, shares = zip(*(pair for pair in wanted if pair[1]), strict=True)
            found = iterative_stratification(labels, np.array(shares), generator)
            of_rows: Rows = np.array(codes, dtype=np.int8)[found]
            return of_rows
        strata = _strata(dataset, dataset.target, len(NAMES) if test else 1)
        parts = np.zeros(dataset.frame.height, dtype=np.int8)
        for stratum in range(int(strata.max()) + 1):
            rows = np.flatnonzero(strata == stratum)
            parts[rows] = _shuffled(len(rows), validation, test, generator)
        return parts

    def fold(self, dataset: Dataset, folds: int, seed: Seed) -> Rows:
        assert dataset.target is not None
        generator = np.random.default_rng(seed.value)
        labels = dataset.task.label_matrix(dataset.frame[dataset.target])
        if labels is not None:
            return iterative_stratification(labels, np.full(folds, 1 / folds), generator)
        strata = _strata(dataset, dataset.target)
        # Strata in sequence, each shuffled, assigned in turn: folds differ by one row, in total and per stratum.
        order = np.lexsort((generator.random(len(strata)), strata))
        found = np.empty(len(order), dtype=np.int64)
        found[order] = np.arange(len(order)) % folds
        return found


class Group(Splitter):
    """Keep rows that share a value of `column` (a user, a document) in one part.

    Each row without a value is a group of its own.
    """

    name: Literal["group"] = "group"
    column: str

    def assign(self, dataset: Dataset, validation: float, test: float, seed: Seed) -> Rows:
        numbers, count = self._numbered(dataset)
        if count < num_parts(validation, test):
            message = f"{self.column!r} has {count} groups; a split needs at least {num_parts(validation, test)}"
            raise DataError(f"{dataset.origin}: {message}", code="DL250")
        return np.asarray(_shuffled(count, validation, test, np.random.default_rng(seed.value))[numbers])

    def fold(self, dataset: Dataset, folds: int, seed: Seed) -> Rows:
        numbers, count = self._numbered(dataset)
        if count < folds:
            raise DataError(
                f"{dataset.origin}: {self.column!r} has {count} groups, too few for {folds} folds", code="DL250"
            )
        sizes = np.bincount(numbers)
        shuffled = np.random.default_rng(seed.value).permutation(count)
        filled = np.zeros(folds, dtype=np.int64)
        fold_of = np.empty(count, dtype=np.int64)
        for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:  # large ones first keeps folds balanced
            fold_of[group] = filled.argmin()
            filled[fold_of[group]] += sizes[group]
        return np.asarray(fold_of[numbers])

    def _numbered(self, dataset: Dataset) -> tuple[Rows, int]:
        """Give each row its group's number and count the groups.

        A row without a group has one of its own: nothing says that two such rows belong together.
        """
        groups = dataset.frame[self.column]
        alone = missing_values(groups)
        named = groups.filter(~alone).cast(pl.String)
        names = named.unique(maintain_order=True)
        numbers = np.empty(len(groups), dtype=np.int64)
        numbers[~alone] = named.replace_strict(names, np.arange(len(names)), return_dtype=pl.Int64).to_numpy()
        numbers[alone] = len(names) + np.arange(alone.sum())
        return numbers, len(names) + int(alone.sum())


class Time(Splitter):
    """Train on the earliest rows, validate on later ones, test on the latest.

    Rows of one instant stay together.
    """

    forward = True
    name: Literal["time"] = "time"
    column: str

    def assign(self, dataset: Dataset, validation: float, test: float, seed: Seed) -> Rows:
        order, cuts = self._ordered(dataset)
        fewest = num_parts(validation, test)
        if len(cuts) + 1 < fewest:
            message = f"{self.column!r} has {len(cuts) + 1} instants; a split needs at least {fewest}"
            raise DataError(f"{dataset.origin}: {message}", code="DL250")
        first_test = len(order) - (max(1, round(len(order) * test)) if test else 0)
        wanted = {VALIDATION: first_test - max(1, round(len(order) * validation))} if validation else {}
        wanted |= {TEST: first_test} if test else {}
        starts = _nearest_cuts(cuts, list(wanted.values()))
        parts = np.zeros(len(order), dtype=np.int8)
        for part, start in zip(wanted, starts, strict=True):
            parts[order[start:]] = part
        return parts

    def fold(self, dataset: Dataset, folds: int, seed: Seed) -> Rows:
        """Assign one more block than folds, each after the one before.

        The first only trains.
        """
        order, cuts = self._ordered(dataset)
        if len(cuts) < folds:
            message = f"{self.column!r} has {len(cuts) + 1} instants, too few for {folds} folds by time"
            raise DataError(f"{dataset.origin}: {message}", code="DL250")
        cuts = cuts[1:] if len(cuts) > folds else cuts  # of the first block's rows some validate
        size = len(order) // (folds + 1)
        starts = _nearest_cuts(cuts, [len(order) - size * (folds - fold) for fold in range(folds)])
        found = np.empty(len(order), dtype=np.int64)
        found[order] = np.searchsorted(starts, np.arange(len(order)), side="right") - 1
        return found

    def _ordered(self, dataset: Dataset) -> tuple[Rows, Rows]:
        """Return the rows in order, and the places in it where another instant begins."""
        times = dataset.frame[self.column]
        if times.dtype == pl.String:  # dates have become times when the data was read
            raise DataError(
                f"{dataset.origin}: {self.column!r} holds strings other than dates; cannot order them", code="DL251"
            )
        absent = int(missing_values(times).sum())
        if absent:
            raise DataError(
                f"{dataset.origin}: {self.column!r} is missing in {absent} rows; cannot order them", code="DL251"
            )
        ranks = times.rank("dense").to_numpy()
        order = np.argsort(ranks, kind="stable")
        return order, np.flatnonzero(np.diff(ranks[order])) + 1


def _nearest_cuts(cuts: Rows, wanted: Sequence[int]) -> list[int]:
    """Choose for each wanted place the nearest cut, all different and in order.

    Args:
        cuts: the possible ones, ascending, at least as many as are wanted.
        wanted: places, ascending.
    """
    chosen: list[int] = []
    first = 0
    for number, place in enumerate(wanted):
        left = cuts[first : len(cuts) - (len(wanted) - number - 1)]  # the others need a cut each
        first += int(np.abs(left - place).argmin())
        chosen.append(int(cuts[first]))
        first += 1
    return chosen


class ByColumn(Splitter):
    """Read the split from a column: `train`, `validation` (`valid`, `val`, `dev`) or `test`.

    A split that the column never names is drawn from the rows that train.
    """

    name: Literal["column"] = "column"
    column: str

    def assign(self, dataset: Dataset, validation: float, test: float, seed: Seed) -> Rows:
        parts = self.parts(dataset)
        wanted = {VALIDATION: validation, TEST: test}
        drawn = [part for part, share in wanted.items() if share and not (parts == part).any()]
        if drawn:
            rows = np.flatnonzero(parts == TRAIN)
            parts[rows] = _drawn(dataset, rows, {part: wanted[part] for part in drawn}, seed)
        return parts

    def parts(self, dataset: Dataset) -> Rows:
        """Return TRAIN, VALIDATION or TEST for each row, [rows] int8."""
        codes = {"train": TRAIN, "training": TRAIN, "validation": VALIDATION, "valid": VALIDATION}
        codes |= {"val": VALIDATION, "dev": VALIDATION, "test": TEST}
        words = [str(word).strip().lower() for word in dataset.frame[self.column].to_list()]
        unknown = sorted({word for word in words if word not in codes})
        if unknown:
            raise DataError(
                f"{dataset.origin}: {self.column!r} holds {unknown[0]!r}; allowed: {', '.join(codes)}", code="DL251"
            )
        return np.array([codes[word] for word in words], dtype=np.int8)

    def fold(self, dataset: Dataset, folds: int, seed: Seed) -> Rows:
        raise DataError(
            f"{dataset.origin}: {self.column!r} gives one split, not folds; split by stratified, random, group or time",
            code="DL251",
        )


SPLITTERS: dict[str, type[Splitter]] = {
    "stratified": Stratified,
    "random": Random,
    "group": Group,
    "time": Time,
    "column": ByColumn,
}


def split_dataset(dataset: Dataset, section: SplitSection, seed: Seed, kept: Rows | None = None) -> Splits:
    """Split a dataset as the recipe says.

    With `test: 0` or `validation: 0` that split is empty: the other rows train.

    Args:
        dataset: the rows.
        section: the recipe's, with its splitter.
        seed: the recipe's.
        kept: positions of the rows that cleaning kept, ascending; all by default.

    Raises:
        DataError: it cannot be split this way, or a part would be empty.
    """
    splitter = Splitter.of(section.by)
    remaining = dataset
    if kept is not None and len(kept) < dataset.frame.height:
        deciding = list(dict.fromkeys(filter(None, (dataset.target, *splitter.reads))))
        remaining = replace(
            dataset, frame=take_rows(dataset.frame.select(deciding), kept) if deciding else _blank(len(kept))
        )
    parts = splitter.assign(remaining, section.validation, section.test, seed.derive("split"))
    rows = [np.flatnonzero(parts == part) for part in range(len(NAMES))]
    if kept is not None:
        rows = [kept[members] for members in rows]
    for name, members in zip(NAMES, rows, strict=True):
        if len(members) == 0 and (name == "train" or getattr(section, name)):
            raise DataError(
                f"{dataset.origin}: splitting {remaining.frame.height} rows by {splitter.name} leaves no rows for "
                f"{name}; give more rows or other fractions in data.split",
                code="DL250",
            )
    train, validation, test = rows
    return Splits(TrainSplit(train, dataset.frame), Split(validation, dataset.frame), Split(test, dataset.frame))


def _drawn(dataset: Dataset, rows: Rows, shares: dict[int, float], seed: Seed) -> Rows:
    """Draw one or two other splits from rows that train, [rows] int8.

    Args:
        dataset: all rows, of which the target is read.
        rows: positions of those that train.
        shares: of them, by the split that they go to.
        seed: decides which.
    """
    frame = take_rows(dataset.frame.select([dataset.target]), rows) if dataset.target else _blank(len(rows))
    splitter: Splitter = Stratified() if dataset.target else Random()
    first, *others = shares
    found = splitter.assign(replace(dataset, frame=frame), shares[first], sum(shares[part] for part in others), seed)
    names = {TRAIN: TRAIN, VALIDATION: first, TEST: others[0] if others else TEST}
    return np.array([names[part] for part in found.tolist()], dtype=np.int8)


def _blank(count: int) -> pl.DataFrame:
    """Return a frame with a height and nothing else of use."""
    return pl.DataFrame({"row": np.arange(count)})


def num_parts(validation: float, test: float) -> int:
    """Return how many parts a split has: a fraction of 0 is none."""
    return 1 + (validation > 0) + (test > 0)


def _shuffled(count: int, validation: float, test: float, generator: np.random.Generator) -> Rows:
    """Assign `count` rows at random.

    Every part gets at least one where there are as many rows as parts.
    """
    if count < num_parts(validation, test):
        return np.zeros(count, dtype=np.int8)
    tested = min(max(1, round(count * test)), count - 1 - (validation > 0)) if test else 0
    validated = min(max(1, round(count * validation)), count - 1 - tested) if validation else 0
    parts = np.zeros(count, dtype=np.int8)
    parts[:tested] = TEST
    parts[tested : tested + validated] = VALIDATION
    return generator.permutation(parts)


def _strata(dataset: Dataset, target: str, fewest: int = len(NAMES)) -> Rows:
    """Return each row's stratum: its class, or the tenth of the target's distribution.

    Args:
        fewest: rows that each class needs.
    """
    return dataset.task.strata(dataset.frame[target], dataset.origin, fewest)


def iterative_stratification(labels: np.ndarray, shares: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Assign each row to a part so that label shares match, [rows] int64.

    Iterative stratification (Sechidis et al. 2011, https://doi.org/10.1007/978-3-642-23808-6_10). The rarest remaining
    label goes first, each of its rows to the part that lacks it most.

    Args:
        labels: [rows, labels] bool.
        shares: of the parts, [parts], sum 1; ties fill an earlier part first.
        generator: decides the order of rows.
    """
    rows = len(labels)
    found = np.full(rows, -1, dtype=np.int64)
    wanted = shares * rows  # rows that each part still needs
    lacking = shares[:, None] * labels.sum(axis=0)  # of each label, [parts, labels]
    order = generator.permutation(rows)
    of_row = [np.flatnonzero(row) for row in labels]
    left = labels.sum(axis=0).astype(np.int64)
    while (left > 0).any():
        rarest = int(np.where(left > 0, left, np.iinfo(np.int64).max).argmin())
        members = order[labels[order, rarest]]
        for row in members[found[members] < 0]:
            part = _neediest(lacking[:, rarest], wanted)
            found[row] = part
            wanted[part] -= 1
            lacking[part, of_row[row]] -= 1
            left[of_row[row]] -= 1
    for row in order[found[order] < 0]:  # those without a label
        part = int(wanted.argmax())
        found[row] = part
        wanted[part] -= 1
    return found


def _neediest(lacking: np.ndarray, wanted: np.ndarray) -> int:
    """Return the part that lacks a label most.

    Ties go to the part that lacks most rows.
    """
    best = np.flatnonzero(lacking >= lacking.max() - 1e-9)
    return int(best[wanted[best].argmax()])
