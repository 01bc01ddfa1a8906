"""How far SHAP values of a table can be trusted, measured beside dummies on the rows themselves.

Infidelity (Yeh et al. 2019, https://arxiv.org/abs/1901.09392): what values say that columns are worth, against what the
answer loses without them. Stability: how much values move with a row that hardly moves. Randomisation (Adebayo et al.
2018, https://arxiv.org/abs/1810.03292): how alike the values of a model with shuffled weights are; alike is bad.
Removal curves stand in `removal`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.explanation.answers import choose_answers
from danlu.explanation.games import interventional_value
from danlu.explanation.intervals import Interval, mean_interval
from danlu.explanation.lime import draw_near, lime_rows
from danlu.explanation.local_shap import explain_rows
from danlu.explanation.removal import lost_by_removal, removal_sizes, sum_up
from danlu.explanation.results import LocalExplanation
from danlu.explanation.row_answers import RowAnswers
from danlu.explanation.tabular import TabularAnswers
from danlu.explanation.trust_results import Trust

MOST_ROWS = 10
REMOVALS = 64  # sets of columns that are taken from each row
SMALL_MOVE = 0.01  # standard deviations
DUMMIES = ("random", "input-magnitude")  # that know nothing of the model


@dataclass(frozen=True)
class ShapExplainer:
    """Hold what explains a row, so that others are explained alike."""

    background: pl.DataFrame
    seed: Seed
    error: float | None
    budget: int | None

    def explain(self, rows: RowAnswers, frame: pl.DataFrame, label: str | None) -> list[LocalExplanation]:
        """Return the SHAP values of rows."""
        numbers = list(range(frame.height))
        found = explain_rows(
            rows, frame, numbers, self.background, self.seed, label=label, error=self.error, budget=self.budget
        )
        return list(found)


def measure_trust(rows: RowAnswers, frame: pl.DataFrame, shap: ShapExplainer, label: str | None) -> Trust:
    """Measure SHAP values of rows, 10 at most.

    Args:
        frame: the rows, as they were read.
    """
    frame = frame.select(rows.columns)[:MOST_ROWS]
    local = shap.explain(rows, frame, label)
    own, random, size = (np.empty(len(local)) for _ in range(3))
    moves, lost_by = np.empty(len(local)), []
    slopes = lime_rows(rows, frame, list(range(len(local))), shap.background, shap.seed, label=label)
    for place, (one, near) in enumerate(zip(local, slopes, strict=True)):
        row = frame[place : place + 1]
        removed = _removed(len(rows.columns), shap.seed)
        lost = _lost(rows, row, shap.background, one, removed)
        values, sizes = _values(one), _sizes(row, shap.background)
        own[place] = infidelity(values, removed, lost)
        drawn = np.random.default_rng(shap.seed.derive("dummy", "random").value).standard_normal(len(values))
        random[place] = infidelity(_scaled(drawn, removed, lost), removed, lost)
        size[place] = infidelity(_scaled(sizes, removed, lost), removed, lost)
        moves[place] = _moved(rows, row, shap, one)
        answer = choose_answers(rows.target, rows.outputs(row), one.label)[0]
        shuffled = np.random.default_rng(shap.seed.derive("dummy", "random", place).value).permutation(len(values))
        tried = {"shap": values, "lime": _values(near), "random": shuffled + 1.0, "input-magnitude": sizes}
        lost_by.append(lost_by_removal(rows, row, shap.background, answer, tried))
    best = np.minimum(random, size)
    return Trust(
        method="shap",
        rows=len(local),
        completeness=Interval(max(one.completeness_error or 0.0 for one in local)),
        infidelity=mean_interval(own),
        dummies={"random": mean_interval(random), "input-magnitude": mean_interval(size)},
        beats_dummies=(mean_interval(own - best).high or 0.0) < 0,
        stability=mean_interval(moves),
        randomisation=_randomised(rows, frame, shap, local),
        removal=sum_up(lost_by, removal_sizes(len(rows.columns)), DUMMIES),
    )


def infidelity(values: np.ndarray, removed: np.ndarray, lost: np.ndarray) -> float:
    """Return the squared error of losses that values tell, relative to the losses.

    Args:
        values: of the columns, [columns].
        removed: sets of columns, [sets, columns] bool.
        lost: what the answer loses without each, [sets].
    """
    scale = float((lost**2).mean())
    return float(((removed @ values - lost) ** 2).mean()) / scale if scale > 0 else 0.0


def _removed(players: int, seed: Seed) -> np.ndarray:
    """Draw sets of columns of all sizes but none, [sets, columns]."""
    rng = np.random.default_rng(seed.derive("removed").value)
    sizes = rng.integers(1, players + 1, REMOVALS)
    return rng.random((REMOVALS, players)).argsort(axis=1).argsort(axis=1) < sizes[:, None]


def _lost(
    rows: RowAnswers, row: pl.DataFrame, background: pl.DataFrame, one: LocalExplanation, removed: np.ndarray
) -> np.ndarray:
    """Return what the explained number loses without sets of columns, [sets]."""
    answer = choose_answers(rows.target, rows.outputs(row), one.label)[0]
    is_score = one.estimator in ("linear", "additive", "trees")
    mixed = rows.mixed(row, background, answer, of_scores=is_score)
    value = interventional_value(mixed, background.height, len(rows.columns))
    found = value(np.concatenate([np.ones((1, removed.shape[1]), dtype=bool), ~removed]))
    return np.asarray(found[0] - found[1:])


def _scaled(values: np.ndarray, removed: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return values times the number that makes them least unfaithful."""
    said = removed @ values
    norm = float(said @ said)
    return values * (float(said @ lost) / norm if norm > 0 else 0.0)


def _sizes(row: pl.DataFrame, background: pl.DataFrame) -> np.ndarray:
    """Return how far a row's cells are from the usual, [columns]."""
    found = []
    for name in row.columns:
        own, others = row[name][0], background[name].drop_nulls()
        if row[name].dtype.is_numeric() and own is not None and len(others) > 1:
            numbers = others.cast(pl.Float64).to_numpy()
            found.append(abs(float(own) - numbers.mean()) / (numbers.std() or 1.0))
        else:
            found.append(1.0 - float((background[name].cast(pl.String) == str(own)).fill_null(False).mean() or 0.0))  # type: ignore[arg-type]
    return np.array(found)


def _moved(rows: RowAnswers, row: pl.DataFrame, shap: ShapExplainer, one: LocalExplanation) -> float:
    """Return how far values move, relatively, where the row hardly moves."""
    near, moves = draw_near(row, shap.background, 1, shap.seed)
    cells = []
    for place, name in enumerate(row.columns):
        is_number = row[name].dtype.is_float() and row[name][0] is not None and np.isfinite(row[name][0])
        step = SMALL_MOVE * (near[name][0] - row[name][0]) if is_number and moves[0, place] else None
        cells.append(row[name] if step is None else row[name] + step)
    after = _values(shap.explain(rows, pl.DataFrame(cells), one.label)[0])
    before = _values(one)
    return float(np.linalg.norm(after - before) / max(float(np.linalg.norm(before)), np.finfo(np.float64).tiny))


def _randomised(
    rows: RowAnswers, frame: pl.DataFrame, shap: ShapExplainer, local: list[LocalExplanation]
) -> Interval | None:
    """Return the rank correlation with a shuffled model's values, if it can be had."""
    from scipy.stats import spearmanr

    if not isinstance(rows, TabularAnswers) or rows.engine != "numpy" or len(rows.columns) < 3:
        return None
    shuffled = rows.with_weights(_shuffled(rows.weights, shap.seed))
    found = []
    for place, one in enumerate(local):
        other = shap.explain(shuffled, frame[place : place + 1], one.label)[0]
        sizes = [np.abs(_values(each)) for each in (one, other)]
        if all(float(np.ptp(each)) > 0 for each in sizes):
            found.append(float(spearmanr(*sizes).statistic))
    return mean_interval(np.array(found)) if found else None


def _shuffled(weights: Mapping[str, np.ndarray], seed: Seed) -> dict[str, np.ndarray]:
    """Shuffle each array of weights in itself; of trees as `_shuffled_trees`."""
    if "roots" in weights:
        return _shuffled_trees(weights, np.random.default_rng(seed.derive("shuffled").value))
    found = {}
    for name, values in weights.items():
        rng = np.random.default_rng(seed.derive("shuffled", name).value)
        found[name] = rng.permutation(values.ravel()).reshape(values.shape)
    return found


def _shuffled_trees(weights: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Shuffle leaves, and give splits by a number other numbers and their thresholds."""
    is_leaf = weights["left"] == np.arange(len(weights["left"]))
    splits = np.flatnonzero(~is_leaf & (weights["set_size"] == 0))
    values, feature, threshold = (weights[name].copy() for name in ("value", "feature", "threshold"))
    values[is_leaf] = rng.permutation(values[is_leaf])
    used = np.unique(feature[splits])
    drawn = rng.choice(used, len(splits)) if len(splits) else feature[splits]
    for each in used:
        known = weights["threshold"][splits[weights["feature"][splits] == each]]
        threshold[splits[drawn == each]] = rng.choice(known, int((drawn == each).sum()))
    feature[splits] = drawn
    return {**weights, "value": values, "feature": feature, "threshold": threshold}


def _values(one: LocalExplanation) -> np.ndarray:
    return np.array([each.share.value for each in one.values])
