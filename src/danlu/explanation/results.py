"""What an explanation gives: frozen values, and the JSON that they become."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from danlu.explanation.influence import Influence
from danlu.explanation.intervals import Interval, or_nan
from danlu.explanation.overall import Overall
from danlu.explanation.trust_results import Trust

FORMAT = 1


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
        return {f"{self.array}/{name}": np.array(list(map(or_nan, found))) for name, found in ends.items()}


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
                table = [[or_nan(getattr(each.share, name)) for each in one.values] for one in local]
                found[f"local/{method}/{name}"] = np.array(table)
            found[f"local/{method}/base"] = np.array([each.base for each in local])
            found[f"local/{method}/answer"] = np.array([each.answer for each in local])
        for overall in self.overall:
            found |= overall.to_arrays()
        found |= {f"influence/{each.row}/{each.method}": each.shares for each in self.influence}
        return found


def cell_of(value: Any) -> Any:
    """Return a cell as JSON can hold it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return str(value)
