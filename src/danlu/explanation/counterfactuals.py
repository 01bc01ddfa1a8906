"""Counterfactuals: the nearest changes of a row that flip what is predicted (Wachter et al. 2018).

https://arxiv.org/abs/1711.00399. Changes stay within the ranges and categories of the training rows that the bundle
keeps. Starts are single changed columns, those joined that help most, and the nearest kept rows that are answered
otherwise; columns go back to the row's own cell while the answer stays flipped, then numbers come as near as they can.
What is given was predicted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from danlu.explanation.answers import PREDICTION, labels_of
from danlu.explanation.results import Counterfactual, cell_of
from danlu.explanation.row_answers import RowAnswers

STARTS = 5  # kept rows
MOST_JOINED = 10  # single changes that are joined
LEAST_WAY = 0.02  # that a change counts as, so that tiny steps do not win
REFINED = 3  # the nearest of what was found, whose numbers are then brought nearer
HALVINGS = 10  # of a number's way back
DIGITS = 6  # that a number is shown and tried with
Change = Mapping[str, Any]  # column -> its new cell


@dataclass(frozen=True)
class Search:
    """Search changes of rows.

    Attributes:
        kept: training rows that the bundle keeps, as they are read.
        ranges: column -> the lowest and highest number of the training rows, and places between, ascending.
        columns: that may be changed.
        wanted: the label that is to be predicted; None for any other than now.
    """

    rows: RowAnswers
    kept: pl.DataFrame
    ranges: Mapping[str, tuple[float, ...]]
    columns: tuple[str, ...]
    wanted: str | None = None

    def find(self, row: pl.DataFrame, number: int) -> Counterfactual | None:
        """Find the nearest change of a row, [1, columns]; None where none was found."""
        row = row.select(self.rows.columns)
        now = self._labels(row)[0]
        if now == self.wanted:
            return None
        goal = _Goal(self, row, now)
        found = [change for change in self._starts(row) if change]
        flipped = [change for change, there in zip(found, goal.reached(found), strict=True) if there]
        alone = sorted((each for each in flipped if len(each) == 1), key=goal.distance)
        far = sorted((each for each in flipped if len(each) > 1), key=goal.distance)
        grown = goal.grow([change for change in found if len(change) == 1]) if not alone else None
        joined = far[:STARTS] if grown is None else [grown, *far[:1]]
        sparse = [*alone[:STARTS], *(goal.fewer(change) for change in joined)]
        nearer = [goal.closer(change) for change in sorted(sparse, key=goal.distance)[:REFINED]]
        checked = [(change, there) for change, there in zip(nearer, goal.reached(nearer), strict=True) if there]
        if not checked:
            return None
        best = min((change for change, _ in checked), key=lambda change: (goal.distance(change), sorted(change)))
        changes = {name: (cell_of(row[name][0]), cell_of(best[name])) for name in row.columns if name in best}
        return Counterfactual(number, changes, self._labels(_changed(row, [best]))[0], goal.distance(best))

    def _labels(self, frame: pl.DataFrame) -> list[str]:
        target = self.rows.target
        return [str(label) for label in target.decode(self.rows.outputs(frame))[PREDICTION].to_list()]

    def _starts(self, row: pl.DataFrame) -> list[dict[str, Any]]:
        """Return single changed columns, and changes to each of the kept rows."""
        found: list[dict[str, Any]] = []
        for name in self.columns:
            own = row[name][0]
            places = self.ranges.get(name) or self.kept[name].drop_nulls().unique().sort().to_list()
            found += [{name: cell} for cell in pl.Series(places, dtype=row[name].dtype, strict=False) if cell != own]
        for other in self.kept.select(self.columns).iter_rows(named=True):
            inside = {name: self._inside(name, cell) for name, cell in other.items() if cell is not None}
            found.append({name: cell for name, cell in inside.items() if cell != row[name][0]})
        return found

    def _inside(self, name: str, cell: Any) -> Any:
        places = self.ranges.get(name)
        return cell if places is None else min(max(cell, places[0]), places[-1])


class _Goal:
    """Know a row, what it is answered now, and how far a change goes."""

    def __init__(self, search: Search, row: pl.DataFrame, now: str) -> None:
        self.search, self.row, self.now = search, row, now

    def reached(self, changes: Sequence[Change]) -> list[bool]:
        """Return whether changes flip the answer."""
        if not changes:
            return []
        wanted = self.search.wanted
        labels = self.search._labels(_changed(self.row, changes))
        return [label == wanted if wanted is not None else label != self.now for label in labels]

    def distance(self, change: Change) -> float:
        """Return the sum of ways as shares of a column's range; a category's is 1."""
        return float(sum(self._way(name, cell) for name, cell in change.items()))

    def _way(self, name: str, cell: Any) -> float:
        own, places = self.row[name][0], self.search.ranges.get(name)
        if places is None or own is None or not np.isfinite(own):
            return 1.0
        return float(abs(cell - own) / ((places[-1] - places[0]) or 1.0))

    def grow(self, singles: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """Join the single changes that help most for their way, one by one."""
        found: dict[str, Any] = {}
        before = self._likely([found])[0]
        for _ in range(MOST_JOINED):
            tried = [{**found, **single} for single in singles if not found.keys() & single.keys()]
            if not tried:
                return None
            likely = self._likely(tried)
            ways = np.array([self.distance(change) for change in tried]) - self.distance(found)
            found = tried[int(((likely - before) / (ways + LEAST_WAY)).argmax())]
            before = self._likely([found])[0]
            if self.reached([found])[0]:
                return found
        return None

    def _likely(self, changes: Sequence[Change]) -> np.ndarray:
        """Return the log odds of the wanted label, or of any other than now, [changes]."""
        target = self.search.rows.target
        wanted = self.search.wanted
        outputs = self.search.rows.outputs(_changed(self.row, changes)).astype(np.float64)
        own = outputs[:, labels_of(target).index(self.now if wanted is None else wanted)].clip(1e-12, 1 - 1e-12)
        odds = np.log(own / (1 - own))
        return np.asarray(-odds if wanted is None else odds)

    def fewer(self, change: Change) -> dict[str, Any]:
        """Take columns back, in ever smaller blocks, the farthest first, while the answer stays flipped."""
        left = dict(sorted(change.items(), key=lambda item: (-self._way(*item), item[0])))
        size = len(left) // 2
        while size >= 1:
            for start in range(0, len(left), size):
                names = list(left)[start : start + size]
                rest = {name: cell for name, cell in left.items() if name not in names}
                if names and rest and self.reached([rest])[0]:
                    left = rest
            size //= 2
        return left

    def closer(self, change: Change) -> dict[str, Any]:
        """Bring numbers as near to the row's own as the answer stays flipped."""
        found = dict(change)
        for name, cell in change.items():
            own, places = self.row[name][0], self.search.ranges.get(name)
            if places is None or own is None or not np.isfinite(own):
                continue
            is_whole = self.row[name].dtype.is_integer()
            near, far = min(max(own, places[0]), places[-1]), cell
            for _ in range(HALVINGS):
                middle = (near + far) / 2
                middle = round(middle) if is_whole else middle
                if self.reached([{**found, name: middle}])[0]:
                    far = middle
                else:
                    near = middle
            shown = far if is_whole else min(max(_rounded(far, up=far > own), places[0]), places[-1])
            found[name] = shown if self.reached([{**found, name: shown}])[0] else far
        return found


def _rounded(value: float, *, up: bool) -> float:
    """Round a number to six digits, away from where it came from."""
    step = 10.0 ** (int(np.floor(np.log10(abs(value)))) - DIGITS + 1) if value else 1.0
    return float(f"{(np.ceil if up else np.floor)(value / step) * step:.{DIGITS}g}")


def _changed(row: pl.DataFrame, changes: Sequence[Change]) -> pl.DataFrame:
    """Return a row per change, with its cells."""
    columns = []
    for name in row.columns:
        own = row[name]
        cells = [change.get(name, own[0]) for change in changes]
        columns.append(pl.Series(name, cells, dtype=own.dtype, strict=False))
    return pl.DataFrame(columns)
