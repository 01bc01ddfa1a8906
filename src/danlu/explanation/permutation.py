"""Permutation importance: how much worse a model answers where a column's cells are shuffled among the rows.

Plain shuffling (Breiman 2001) also asks for rows that cannot occur, where columns go together
(https://arxiv.org/abs/2604.11253). So each column is shuffled a second time only among rows that are alike in the
columns that go with it: the leaves of a small tree (Molnar et al. 2023, https://arxiv.org/abs/2006.04628).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.explanation.answers import labels_of
from danlu.explanation.edits import EditableRows
from danlu.explanation.intervals import CONFIDENCE, mean_interval
from danlu.explanation.overall import ColumnImportance, GlobalExplanation
from danlu.explanation.row_answers import RowAnswers
from danlu.tasks.base import Target
from danlu.tasks.classification import ClassTarget
from danlu.tasks.multi_label import MultiLabelTarget
from danlu.tasks.multi_output import MultiNumericTarget
from danlu.tasks.regression import NumericTarget

REPEATS = 10
GOES_WITH = 0.3  # rank correlation from which columns go together, where chance gives no larger ones
MOST_TOGETHER = 32  # columns that a column is conditioned on, those that go with it most
ROWS_OF_LEAF = 10
MOST_ROWS, MOST_ANSWERS = 10_000, 20_000_000  # of these, one for each row, column and shuffle
FEWEST_ROWS = 500  # however many columns there are
LEAST_PROBABILITY = 1e-7

RowLoss = Callable[[np.ndarray], np.ndarray]  # calibrated outputs, [rows, ...] -> [rows]


@dataclass(frozen=True)
class Measure:
    """Hold what importance is measured by, on which rows.

    Attributes:
        metric: whose increase is measured.
        frame: the rows, as they were read, in an order of their own.
        loss: of single rows.
    """

    metric: str
    frame: pl.DataFrame
    loss: RowLoss
    repeats: int

    def result(self, columns: Sequence[ColumnImportance]) -> GlobalExplanation:
        """Return the importance of columns."""
        return GlobalExplanation(self.metric, self.repeats, self.frame.height, tuple(columns))


def permutation_measure(
    rows: RowAnswers, frame: pl.DataFrame, seed: Seed, *, label: str | None = None, repeats: int = REPEATS
) -> Measure:
    """Choose rows and the loss.

    The rows are put in an order of their own first, so that their order in the source changes nothing.

    Args:
        frame: labelled rows, as they were read.
        label: of several numbers to predict the one whose error is measured; by default the mean of all, each relative
            to its variance in training.
        repeats: shuffles per column.

    Raises:
        ArgumentError: the task has no loss of single rows here, or there are too few rows.
    """
    if frame.height < 2:
        raise ArgumentError(f"permutation: needs at least 2 labelled rows, got {frame.height}", code="DL402")
    frame = frame.sort([*rows.columns, *rows.target.columns], nulls_last=True)
    most = min(MOST_ROWS, max(FEWEST_ROWS, MOST_ANSWERS // (repeats * len(rows.columns))))
    if frame.height > most:
        frame = frame.sample(most, seed=seed.derive("rows").value % 2**63)
    return Measure(*_row_loss(rows.target, frame, label), repeats)


def permutation_importance(
    rows: RowAnswers, frame: pl.DataFrame, seed: Seed, *, label: str | None = None, repeats: int = REPEATS
) -> GlobalExplanation:
    """Measure the importance of all columns, plain and conditional; see `permutation_measure`."""
    measure = permutation_measure(rows, frame, seed, label=label, repeats=repeats)
    return measure.result(list(measure_columns(rows, measure, seed)))


def measure_columns(rows: RowAnswers, measure: Measure, seed: Seed) -> Iterator[ColumnImportance]:
    """Measure one column after the other, in the order of the model's."""
    frame, loss = measure.frame, measure.loss
    shuffled = _Shuffled(rows, frame)
    before = loss(rows.outputs(frame))
    ranks = shuffled.ranks()
    together = _correlations(ranks)
    for column, name in enumerate(rows.columns):
        draws = [seed.derive("shuffle", name, repeat) for repeat in range(measure.repeats)]
        plain = shuffled.losses(column, np.zeros(frame.height, dtype=np.int64), draws, loss) - before
        groups = _alike(ranks, together[column], column)
        given = plain if groups is None else shuffled.losses(column, groups, draws, loss) - before
        apart = mean_interval(plain - given)
        differs = groups is not None and not (apart.low or 0.0) <= 0.0 <= (apart.high or 0.0)
        yield ColumnImportance(name, mean_interval(plain), mean_interval(given), differs)


def _row_loss(target: Target, frame: pl.DataFrame, label: str | None) -> tuple[str, pl.DataFrame, RowLoss]:
    """Return the name of a row's loss, the rows, and its function."""
    if isinstance(target, ClassTarget):
        codes = target.codes(frame)
        return "log-loss", frame, lambda outputs: -np.log(_likely(outputs)[np.arange(len(codes)), codes])
    if isinstance(target, MultiLabelTarget):
        truth = np.asarray(target.encode(frame), dtype=np.float64)
        return (
            "log-loss",
            frame,
            lambda outputs: (
                -np.log(np.where(truth > 0.5, _likely(outputs), _likely(1.0 - outputs.astype(np.float64)))).mean(axis=1)
            ),
        )
    if isinstance(target, NumericTarget):
        numbers = frame[target.column].cast(pl.Float64).to_numpy()
        return "mse", frame, lambda outputs: (target.decode(outputs)["prediction"].to_numpy() - numbers) ** 2
    if isinstance(target, MultiNumericTarget):
        truths, stds = target.numbers(frame), np.array(target.stds)
        if label in target.names:
            place = target.names.index(label)
            return "mse", frame, lambda outputs: (target.in_units(outputs)[:, place] - truths[:, place]) ** 2
        return "relative-mse", frame, lambda outputs: (((target.in_units(outputs) - truths) / stds) ** 2).mean(axis=1)
    known = f" ({len(labels_of(target))} labels)" if labels_of(target) else ""
    raise ArgumentError(f"permutation: is not for {target.task}{known}; use shap", code="DL409")


def _likely(probabilities: np.ndarray) -> np.ndarray:
    return np.clip(probabilities.astype(np.float64), LEAST_PROBABILITY, 1.0)


class _Shuffled:
    """Answer rows with one column's cells shuffled among them."""

    def __init__(self, rows: RowAnswers, frame: pl.DataFrame) -> None:
        self.rows, self.frame = rows, frame.select(rows.columns)
        self.edits = EditableRows(rows, self.frame)

    def ranks(self) -> np.ndarray:
        """Return the ranks of each column's cells, [rows, columns]."""
        columns = [self.frame[name] for name in self.rows.columns]
        ranked = [
            (values if values.dtype.is_numeric() or values.dtype.is_temporal() else values.cast(pl.String))
            .rank("average")
            .fill_null(0.0)
            .to_numpy()
            for values in columns
        ]
        return np.stack(ranked, axis=1).astype(np.float64)

    def losses(self, column: int, groups: np.ndarray, draws: list[Seed], loss: RowLoss) -> np.ndarray:
        """Return each row's mean loss over the shuffles, [rows]."""
        name, count = self.rows.columns[column], self.frame.height
        sources = np.concatenate([_shuffle_within(groups, np.random.default_rng(draw.value)) for draw in draws])
        outputs = self.edits.outputs(np.tile(np.arange(count), len(draws)), name, sources)
        split = outputs.reshape(len(draws), count, *outputs.shape[1:])
        return np.asarray(np.mean([loss(part) for part in split], axis=0))


def _shuffle_within(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each row the row of its group whose cell it gets, [rows]."""
    order = np.argsort(groups, kind="stable")
    drawn = np.lexsort((rng.random(len(groups)), groups))
    found = np.empty_like(order)
    found[order] = drawn
    return found


def _correlations(ranks: np.ndarray) -> np.ndarray:
    """Return the size of rank correlations, [columns, columns]; 0 of a column with itself."""
    spread = ranks.std(axis=0)
    centred = (ranks - ranks.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    found = np.abs(centred.T @ centred) / len(ranks)
    np.fill_diagonal(found, 0.0)
    return np.asarray(found)


def _alike(ranks: np.ndarray, together: np.ndarray, column: int) -> np.ndarray | None:
    """Group rows by the columns that go with one; None where none does.

    Args:
        together: the column's correlations, [columns].
    """
    from scipy.stats import norm
    from sklearn.tree import DecisionTreeRegressor

    # Of many columns and few rows some go together by chance: the largest such correlation, simultaneous at 95 %.
    chance = float(norm.isf((1 - CONFIDENCE) / 2 / len(together))) / np.sqrt(len(ranks))
    others = np.flatnonzero(together >= max(GOES_WITH, chance))
    others = np.sort(others[np.argsort(-together[others], kind="stable")[:MOST_TOGETHER]])
    if len(others) == 0 or len(ranks) < 2 * ROWS_OF_LEAF:
        return None
    tree = DecisionTreeRegressor(min_samples_leaf=ROWS_OF_LEAF, random_state=0)
    return np.asarray(tree.fit(ranks[:, others], ranks[:, column]).apply(ranks[:, others]))
