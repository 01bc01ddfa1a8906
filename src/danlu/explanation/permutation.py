"""Permutation importance: how much worse a model answers where a column's cells are shuffled among the rows.

Plain shuffling (Breiman 2001) also asks for rows that cannot occur, where columns go together
(https://arxiv.org/abs/2604.11253). So each column is shuffled a second time only among rows that are alike in the
columns that go with it: the leaves of a small tree (Molnar et al. 2023, https://arxiv.org/abs/2006.04628).
"""

from collections.abc import Callable

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.explanation.answers import labels_of
from danlu.explanation.results import ColumnImportance, GlobalExplanation, Interval
from danlu.explanation.tabular import PreparedRows, TabularAnswers
from danlu.tasks.base import Target
from danlu.tasks.classification import ClassTarget
from danlu.tasks.multi_label import MultiLabelTarget
from danlu.tasks.regression import NumericTarget

REPEATS = 10
GOES_WITH = 0.3  # rank correlation from which columns go together
ROWS_OF_LEAF = 10
CONFIDENCE = 0.95
MOST_ROWS = 10_000
LEAST_PROBABILITY = 1e-7

RowLoss = Callable[[np.ndarray], np.ndarray]  # calibrated outputs, [rows, ...] -> [rows]


def permutation_importance(
    rows: TabularAnswers, frame: pl.DataFrame, seed: Seed, *, repeats: int = REPEATS
) -> GlobalExplanation:
    """Measure the importance of all columns, plain and conditional.

    The rows are put in an order of their own first, so that their order in the source changes nothing.

    Args:
        frame: labelled rows, as they were read.
        repeats: shuffles per column.

    Raises:
        ArgumentError: the task has no loss of single rows here, or there are too few rows.
    """
    target = rows.predictor.target
    if frame.height < 2:
        raise ArgumentError(f"permutation: needs at least 2 labelled rows, got {frame.height}", code="DL402")
    frame = frame.sort([*rows.columns, *target.columns], nulls_last=True)
    if frame.height > MOST_ROWS:
        frame = frame.sample(MOST_ROWS, seed=seed.derive("rows").value % 2**63)
    metric, loss = _row_loss(target, frame)
    shuffled = _Shuffled(rows, frame, repeats)
    before = loss(rows.outputs(frame))
    ranks = shuffled.ranks()
    found = []
    for column, name in enumerate(rows.columns):
        draws = [seed.derive("shuffle", name, repeat) for repeat in range(repeats)]
        plain = shuffled.losses(column, np.zeros(frame.height, dtype=np.int64), draws, loss) - before
        groups = _alike(ranks, column)
        given = plain if groups is None else shuffled.losses(column, groups, draws, loss) - before
        apart = _interval(plain - given)
        differs = groups is not None and not (apart.low or 0.0) <= 0.0 <= (apart.high or 0.0)
        found.append(ColumnImportance(name, _interval(plain), _interval(given), differs))
    return GlobalExplanation(metric, repeats, frame.height, tuple(found))


def _row_loss(target: Target, frame: pl.DataFrame) -> tuple[str, RowLoss]:
    """Return the name of a row's loss and its function."""
    if isinstance(target, ClassTarget):
        codes = target.codes(frame)
        return "log-loss", lambda outputs: -np.log(_likely(outputs)[np.arange(len(codes)), codes])
    if isinstance(target, MultiLabelTarget):
        truth = np.asarray(target.encode(frame), dtype=np.float64)
        return (
            "log-loss",
            lambda outputs: (
                -np.log(np.where(truth > 0.5, _likely(outputs), _likely(1.0 - outputs.astype(np.float64)))).mean(axis=1)
            ),
        )
    if isinstance(target, NumericTarget):
        numbers = frame[target.column].cast(pl.Float64).to_numpy()
        return "mse", lambda outputs: (target.decode(outputs)["prediction"].to_numpy() - numbers) ** 2
    known = f" ({len(labels_of(target))} labels)" if labels_of(target) else ""
    raise ArgumentError(f"permutation: is not for {target.task}{known}; use shap", code="DL409")


def _likely(probabilities: np.ndarray) -> np.ndarray:
    return np.clip(probabilities.astype(np.float64), LEAST_PROBABILITY, 1.0)


class _Shuffled:
    """Answer rows with one column's cells shuffled, all repeats in one batch."""

    def __init__(self, rows: TabularAnswers, frame: pl.DataFrame, repeats: int) -> None:
        self.rows, self.frame, self.repeats = rows, frame, repeats
        self.prepared = None if rows.owners is None else rows.prepare(frame)

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
        sources = [_shuffle_within(groups, np.random.default_rng(draw.value)) for draw in draws]
        if self.prepared is None or self.rows.owners is None:
            name = self.rows.columns[column]
            parts = [self.frame.with_columns(self.frame[name].gather(each)) for each in sources]
            return np.asarray(np.mean([loss(self.rows.outputs(part)) for part in parts], axis=0))
        count, numbers = len(self.prepared), self.rows.num_numbers
        changed = self.rows.owners == column
        order = np.concatenate(sources)
        numeric, codes = (
            np.tile(self.prepared.numeric, (len(sources), 1)),
            np.tile(self.prepared.codes, (len(sources), 1)),
        )
        numeric[:, changed[:numbers]] = self.prepared.numeric[order][:, changed[:numbers]]
        codes[:, changed[numbers:]] = self.prepared.codes[order][:, changed[numbers:]]
        outputs = self.rows.outputs_of_prepared(PreparedRows(numeric, codes))
        split = outputs.reshape(len(sources), count, *outputs.shape[1:])
        return np.asarray(np.mean([loss(part) for part in split], axis=0))


def _shuffle_within(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each row the row of its group whose cell it gets, [rows]."""
    order = np.argsort(groups, kind="stable")
    drawn = np.lexsort((rng.random(len(groups)), groups))
    found = np.empty_like(order)
    found[order] = drawn
    return found


def _alike(ranks: np.ndarray, column: int) -> np.ndarray | None:
    """Group rows by the columns that go with one; None where none does."""
    from sklearn.tree import DecisionTreeRegressor

    spread = ranks.std(axis=0)
    centred = (ranks - ranks.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    correlations = np.abs(centred.T @ centred[:, column]) / len(ranks)
    correlations[column] = 0.0
    others = correlations >= GOES_WITH
    if not others.any() or len(ranks) < 2 * ROWS_OF_LEAF:
        return None
    tree = DecisionTreeRegressor(min_samples_leaf=ROWS_OF_LEAF, random_state=0)
    return np.asarray(tree.fit(ranks[:, others], ranks[:, column]).apply(ranks[:, others]))


def _interval(differences: np.ndarray) -> Interval:
    """Return the mean over rows with Student's interval."""
    from scipy.stats import t

    mean, count = float(differences.mean()), len(differences)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1) * differences.std(ddof=1) / np.sqrt(count))
    return Interval(mean, mean - half, mean + half)
