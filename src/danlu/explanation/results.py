"""What an explanation gives: frozen values, and the JSON that they become."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from danlu.explanation.influence import Influence

FORMAT = 1


@dataclass(frozen=True)
class Interval:
    """Hold a figure with its 95 % interval; no ends where it has none."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """Return `value`, `low` and `high`."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class ColumnValue:
    """Hold a column's or a word's share in an answer.

    Attributes:
        name: the column, or the words as the text has them.
        input: its cell, as it was read; None for words.
        share: what it adds to the answer, beside the base.
        start, end: where words stand in their text; None for columns.
    """

    name: str
    input: Any
    share: Interval
    start: int | None = None
    end: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `values`."""
        if self.start is None:
            return {"name": self.name, "input": self.input, **self.share.to_json()}
        return {"name": self.name, "start": self.start, "end": self.end, **self.share.to_json()}


@dataclass(frozen=True)
class PixelValues:
    """Hold an image and what each of its pixels adds to an answer.

    Attributes:
        values: [height, width]; those that are complete sum to the answer less the base.
        image: as the network takes it, [height, width, channels] uint8.
        low, high: ends of 95 % intervals, [height, width]; None where there are none.
        segments: the segment of each pixel, [height, width]; None where pixels stand for themselves.
    """

    values: np.ndarray
    image: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    segments: np.ndarray | None = None

    def to_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return the numbers of values.npz, with the values under the name itself."""
        beside = {f"{name}/{key}": getattr(self, key) for key in ("low", "high", "segments")}
        return {name: self.values, **{key: found for key, found in beside.items() if found is not None}}


@dataclass(frozen=True)
class LocalExplanation:
    """Hold what columns, words or pixels do in one answer, by one method.

    Attributes:
        row: the row's number in its source, from 0.
        label: the label or output that is explained; None where there is one number.
        scale: what the values add up to: `probability`, `number`, or `score`, a model's log odds or logits.
        estimator: how they were computed.
        exact: whether nothing was sampled.
        base: the mean answer over the background, or without any words or segments; of LIME what the local model
            answers.
        answer: the answer to this row.
        completeness_error: how far base and values are from it; None where they are not to add up.
        calls: coalitions that were asked for.
        reached_error: the widest interval to either side.
        values: in the order of the model's columns, or of the text; none of images.
        wanted_error: the one that was asked for, in the answer's unit; None where none was, or values are exact.
        method: shap, lime, or one that networks alone have.
        fidelity: of LIME, the share of the answers' variance nearby that the local model gives.
        about: what of the row is answered: a word that is tagged, or the text that the next token follows.
        layer: that Grad-CAM was taken of.
        pixels: of images; None for others.
        told_apart: columns whose interval holds no 0, the largest first.
    """

    row: int
    label: str | None
    scale: str
    estimator: str
    exact: bool
    base: float
    answer: float
    completeness_error: float | None
    calls: int
    reached_error: float
    values: tuple[ColumnValue, ...]
    wanted_error: float | None = None
    method: str = "shap"
    fidelity: float | None = None
    about: str | None = None
    layer: str | None = None
    pixels: PixelValues | None = field(default=None, compare=False)

    @property
    def array(self) -> str:
        """Where values.npz has what belongs to this row alone."""
        return f"local/{self.row}/{self.method}"

    @property
    def told_apart(self) -> tuple[str, ...]:
        """The columns whose interval does not hold 0, the largest first."""
        known = [each for each in self.values if not (each.share.low or 0) <= 0 <= (each.share.high or 0)]
        return tuple(each.name for each in sorted(known, key=lambda each: -abs(each.share.value)))

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `local` in explanation.json."""
        plain = ("row", "label", "method", "scale", "estimator", "exact", "base", "answer", "completeness_error")
        beside = {name: getattr(self, name) for name in ("about", "layer") if getattr(self, name) is not None}
        found = {
            **{name: getattr(self, name) for name in (*plain, "calls", "reached_error", "wanted_error", "fidelity")},
            **beside,
        }
        if self.pixels is not None:
            return {**found, "shape": list(self.pixels.values.shape), "array": self.array}
        return {**found, "told_apart": list(self.told_apart), "values": [each.to_json() for each in self.values]}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return what values.npz holds of this row alone: an image's pixels, or a text's words."""
        if self.pixels is not None:
            return {f"local/{self.row}/input": self.pixels.image, **self.pixels.to_arrays(self.array)}
        ends = {name: [getattr(each.share, name) for each in self.values] for name in ("value", "low", "high")}
        return {f"{self.array}/{name}": np.array(list(map(_number, found))) for name, found in ends.items()}


@dataclass(frozen=True)
class ColumnImportance:
    """Hold how much worse a model gets without a column.

    Attributes:
        plain: with the column shuffled over all rows.
        conditional: with it shuffled only among rows that are alike in the columns that go with it.
        differs: whether an interval separates the two.
    """

    name: str
    plain: Interval
    conditional: Interval
    differs: bool

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `columns`."""
        return {
            "name": self.name,
            **self.plain.to_json(),
            "conditional": self.conditional.to_json(),
            "differs": self.differs,
        }


@dataclass(frozen=True)
class GlobalExplanation:
    """Hold the importance of a model's columns.

    Attributes:
        metric: whose increase is measured; larger is worse.
        rows: labelled rows that it is measured on.
        columns: in the order of the model's columns.
    """

    metric: str
    repeats: int
    rows: int
    columns: tuple[ColumnImportance, ...]
    method: str = "permutation"

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `global` in explanation.json."""
        columns = [each.to_json() for each in self.columns]
        return {
            "method": self.method,
            "metric": self.metric,
            "repeats": self.repeats,
            "rows": self.rows,
            "columns": columns,
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the numbers of values.npz, [columns] each."""
        found = {"columns": np.array([each.name for each in self.columns])}
        for name in ("value", "low", "high"):
            plain = [_number(getattr(each.plain, name)) for each in self.columns]
            conditional = [_number(getattr(each.conditional, name)) for each in self.columns]
            found[f"global/{self.method}/{name}"] = np.array(plain)
            found[f"global/{self.method}/conditional/{name}"] = np.array(conditional)
        return found


@dataclass(frozen=True)
class Point:
    """Hold a place of a curve.

    Attributes:
        input: the cell.
        share: the mean answer there, or what moves up to it add.
    """

    input: Any
    share: Interval


@dataclass(frozen=True)
class ColumnCurve:
    """Hold a curve over one column.

    Attributes:
        points: its places, ascending.
        single: the answer to each row at each place, [rows, points]; None where the method has none.
    """

    name: str
    points: tuple[Point, ...]
    single: np.ndarray | None = field(default=None, compare=False)

    @property
    def height(self) -> float:
        """The largest value less the smallest."""
        values = [each.share.value for each in self.points]
        return max(values) - min(values)


@dataclass(frozen=True)
class Curves:
    """Hold how a model's answer follows each column.

    Attributes:
        method: partial-dependence or accumulated-effects.
        label: the label or output; None where there is one number.
        scale: `probability` or `number`.
        rows: that it was computed from.
        columns: in the order of the model's columns.
    """

    method: str
    label: str | None
    scale: str
    rows: int
    columns: tuple[ColumnCurve, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `global` in explanation.json."""
        columns = [
            {"name": curve.name, "points": [{"input": each.input, **each.share.to_json()} for each in curve.points]}
            for curve in self.columns
        ]
        plain = {name: getattr(self, name) for name in ("method", "label", "scale", "rows")}
        return {**plain, "columns": columns}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the numbers of values.npz: `value`, `low`, `high` [points] and `single` [rows, points] by column."""
        begin = f"global/{self.method}"
        found = {f"{begin}/columns": np.array([each.name for each in self.columns])}
        for at, curve in enumerate(self.columns):
            for name in ("value", "low", "high"):
                found[f"{begin}/{at}/{name}"] = np.array([_number(getattr(each.share, name)) for each in curve.points])
            if curve.single is not None:
                found[f"{begin}/{at}/single"] = curve.single
        return found


@dataclass(frozen=True)
class Rule:
    """Hold a leaf of a surrogate tree.

    Attributes:
        conditions: all of which lead to it.
        value: the mean of the model's answers there.
        rows: of the fit that reach it.
    """

    conditions: tuple[str, ...]
    value: float
    rows: int


@dataclass(frozen=True)
class Surrogate:
    """Hold a small tree that stands for a model.

    Attributes:
        label: the label or output; None where there is one number.
        rules: its leaves, from left to right.
        fidelity: R2 on the rows that were left out, with a 95 % interval over them.
        rows: that it was fitted on.
    """

    label: str | None
    rules: tuple[Rule, ...]
    fidelity: Interval
    rows: int
    method: str = "surrogate"

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `global` in explanation.json."""
        rules = [{"if": list(each.conditions), "value": each.value, "rows": each.rows} for each in self.rules]
        return {
            "method": self.method,
            "label": self.label,
            "rows": self.rows,
            "fidelity": self.fidelity.to_json(),
            "rules": rules,
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return nothing: rules are no arrays."""
        return {}


@dataclass(frozen=True)
class Pair:
    """Hold how much two columns act together, from 0 to about 1."""

    names: tuple[str, str]
    share: Interval


@dataclass(frozen=True)
class Interactions:
    """Hold the H statistic of pairs of columns.

    Attributes:
        label: the label or output; None where there is one number.
        rows: that it was computed from.
        pairs: the largest first.
    """

    label: str | None
    rows: int
    pairs: tuple[Pair, ...]
    method: str = "interactions"

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `global` in explanation.json."""
        pairs = [{"names": list(each.names), **each.share.to_json()} for each in self.pairs]
        return {"method": self.method, "label": self.label, "rows": self.rows, "pairs": pairs}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the numbers of values.npz: names [pairs, 2], `value`, `low`, `high` [pairs]."""
        found = {f"global/{self.method}/names": np.array([each.names for each in self.pairs])}
        for name in ("value", "low", "high"):
            found[f"global/{self.method}/{name}"] = np.array(
                [_number(getattr(each.share, name)) for each in self.pairs]
            )
        return found


Overall = GlobalExplanation | Curves | Interactions | Surrogate


@dataclass(frozen=True)
class Counterfactual:
    """Hold a change of a row that flips what is predicted.

    Attributes:
        row: the row's number in its source, from 0.
        changes: column -> its cell, and the new one.
        prediction: what is predicted then.
        distance: the sum over columns of the way as a share of the training rows' range; 1 for a category.
    """

    row: int
    changes: dict[str, tuple[Any, Any]]
    prediction: str
    distance: float

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `counterfactuals` in explanation.json."""
        changes = {name: list(ends) for name, ends in self.changes.items()}
        return {"row": self.row, "changes": changes, "prediction": self.prediction, "distance": self.distance}


@dataclass(frozen=True)
class Removal:
    """Hold how far answers move where a method's largest columns are taken away.

    Attributes:
        sizes: how many columns are taken away at each place.
        curves: method or dummy -> the mean move at each place, [sizes].
        areas: method or dummy -> the mean move over all places; larger is better.
        ranks: methods and dummies that no interval tells apart, the best group first.
        beats_dummies: method -> whether intervals separate it from every dummy.
    """

    sizes: tuple[int, ...]
    curves: dict[str, tuple[float, ...]]
    areas: dict[str, Interval]
    ranks: tuple[tuple[str, ...], ...]
    beats_dummies: dict[str, bool]

    def to_json(self) -> dict[str, Any]:
        """Return the entry `removal` of `trust`."""
        return {
            "sizes": list(self.sizes),
            "curves": {name: list(each) for name, each in self.curves.items()},
            "areas": {name: each.to_json() for name, each in self.areas.items()},
            "ranks": [list(each) for each in self.ranks],
            "beats_dummies": self.beats_dummies,
        }


@dataclass(frozen=True)
class Trust:
    """Hold how far a local method can be trusted on some rows.

    Attributes:
        rows: that it was measured on.
        completeness: the largest error of a sum.
        infidelity: the squared error of what is lost without columns, as a share of it; 0 is best.
        dummies: the same of values that know nothing, scaled to do their best.
        beats_dummies: whether an interval over rows separates it from the best of them.
        stability: how far values move with a row that hardly moves, relative to their size.
        randomisation: rank correlation with a shuffled model's values; near 1 is wrong. None where it is unknown.
        removal: how fast the answer changes without the largest columns, other methods and dummies beside.
    """

    method: str
    rows: int
    completeness: Interval
    infidelity: Interval
    dummies: dict[str, Interval]
    beats_dummies: bool
    stability: Interval
    randomisation: Interval | None
    removal: Removal

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `trust` in explanation.json."""
        return {
            "method": self.method,
            "rows": self.rows,
            "completeness": self.completeness.to_json(),
            "infidelity": self.infidelity.to_json(),
            "dummies": {name: each.to_json() for name, each in self.dummies.items()},
            "beats_dummies": self.beats_dummies,
            "stability": self.stability.to_json(),
            "randomisation": None if self.randomisation is None else self.randomisation.to_json(),
            "removal": self.removal.to_json(),
        }


@dataclass(frozen=True)
class Explanation:
    """Hold everything that was explained.

    Attributes:
        bundle: the digest of the bundle.
        task, engine: of the model.
        source: `split` or `origin`, and `rows`.
        local: of single rows, by row.
        overall: of the model.
        counterfactuals: changes that flip an answer, by row.
        trust: how far local methods can be trusted, where it was measured.
        influence: training rows that taught an answer, by row.
        recommended: the method that danlu recommends here.
        warnings: code and message of what limits it.
        arrays: path of values.npz, where it was written.
    """

    bundle: str
    task: str
    engine: str
    source: dict[str, Any]
    local: tuple[LocalExplanation, ...] = ()
    overall: tuple[Overall, ...] = ()
    counterfactuals: tuple[Counterfactual, ...] = ()
    trust: tuple[Trust, ...] = ()
    influence: tuple[Influence, ...] = ()
    recommended: str = "shap"
    warnings: tuple[tuple[str, str], ...] = ()
    arrays: str | None = field(default=None)

    def to_json(self) -> dict[str, Any]:
        """Return explanation.json."""
        return {
            "format": FORMAT,
            "bundle": self.bundle,
            "task": self.task,
            "engine": self.engine,
            "source": self.source,
            "local": [each.to_json() for each in self.local],
            "global": [each.to_json() for each in self.overall],
            "counterfactuals": [each.to_json() for each in self.counterfactuals],
            "trust": self._trust(),
            "influence": [each.to_json() for each in self.influence],
            "recommended": self.recommended,
            "arrays": self.arrays,
            "warnings": [{"code": code, "message": message} for code, message in self.warnings],
        }

    def _trust(self) -> list[dict[str, Any]]:
        """Return how far the local methods can be trusted: the largest error of their sums."""
        if self.trust:
            return [each.to_json() for each in self.trust]
        errors: dict[str, list[float]] = {}
        for one in self.local:
            if one.completeness_error is not None:
                errors.setdefault(one.method, []).append(one.completeness_error)
        return [{"method": name, "completeness": Interval(max(known)).to_json()} for name, known in errors.items()]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return values.npz: `columns`, and per method its numbers, [rows, columns] or [columns]; else per row."""
        found: dict[str, np.ndarray] = {}
        for method in dict.fromkeys(one.method for one in self.local):
            local = [one for one in self.local if one.method == method]
            if local[0].pixels is not None or local[0].values[0].start is not None:
                for one in local:
                    found |= one.to_arrays()
                continue
            found["columns"] = np.array([each.name for each in local[0].values])
            found["rows"] = np.array([each.row for each in local])
            for name in ("value", "low", "high"):
                table = [[_number(getattr(each.share, name)) for each in one.values] for one in local]
                found[f"local/{method}/{name}"] = np.array(table)
            found[f"local/{method}/base"] = np.array([each.base for each in local])
            found[f"local/{method}/answer"] = np.array([each.answer for each in local])
        for overall in self.overall:
            found |= overall.to_arrays()
        found |= {f"influence/{each.row}/{each.method}": each.shares for each in self.influence}
        return found


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def cell_of(value: Any) -> Any:
    """Return a cell as JSON can hold it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return str(value)
