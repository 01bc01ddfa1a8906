"""What an explanation gives: frozen values, and the JSON that they become."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    """Hold a column's share in an answer.

    Attributes:
        name: the column.
        input: its cell, as it was read.
        share: what it adds to the answer, beside the base.
    """

    name: str
    input: Any
    share: Interval


@dataclass(frozen=True)
class LocalExplanation:
    """Hold the SHAP values of one answer.

    Attributes:
        row: the row's number in its source, from 0.
        label: the label or output that is explained; None where there is one number.
        scale: what the values add up to: `probability`, `number`, or `score`, a model's log odds or logits.
        estimator: how they were computed.
        exact: whether nothing was sampled.
        base: the mean answer over the background.
        answer: the answer to this row.
        completeness_error: how far base and values are from it.
        calls: coalitions that were asked for.
        reached_error: the widest interval to either side.
        values: in the order of the model's columns.
        wanted_error: the one that was asked for, in the answer's unit; None where none was, or values are exact.
        told_apart: columns whose interval holds no 0, the largest first.
    """

    row: int
    label: str | None
    scale: str
    estimator: str
    exact: bool
    base: float
    answer: float
    completeness_error: float
    calls: int
    reached_error: float
    values: tuple[ColumnValue, ...]
    wanted_error: float | None = None
    method: str = "shap"

    @property
    def told_apart(self) -> tuple[str, ...]:
        """The columns whose interval does not hold 0, the largest first."""
        known = [each for each in self.values if not (each.share.low or 0) <= 0 <= (each.share.high or 0)]
        return tuple(each.name for each in sorted(known, key=lambda each: -abs(each.share.value)))

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `local` in explanation.json."""
        values = [{"name": each.name, "input": each.input, **each.share.to_json()} for each in self.values]
        plain = ("row", "label", "method", "scale", "estimator", "exact", "base", "answer", "completeness_error")
        return {
            **{name: getattr(self, name) for name in (*plain, "calls", "reached_error", "wanted_error")},
            "told_apart": list(self.told_apart),
            "values": values,
        }


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


@dataclass(frozen=True)
class Explanation:
    """Hold everything that was explained.

    Attributes:
        bundle: the digest of the bundle.
        task, engine: of the model.
        source: `split` or `origin`, and `rows`.
        local: of single rows, by row.
        overall: of the model.
        recommended: the method that danlu recommends here.
        warnings: code and message of what limits it.
        arrays: path of values.npz, where it was written.
    """

    bundle: str
    task: str
    engine: str
    source: dict[str, Any]
    local: tuple[LocalExplanation, ...] = ()
    overall: tuple[GlobalExplanation, ...] = ()
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
            "recommended": self.recommended,
            "arrays": self.arrays,
            "warnings": [{"code": code, "message": message} for code, message in self.warnings],
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return values.npz: `columns`, and per method its numbers, [rows, columns] or [columns]."""
        found: dict[str, np.ndarray] = {}
        if self.local:
            found["columns"] = np.array([each.name for each in self.local[0].values])
            found["rows"] = np.array([each.row for each in self.local])
            for name in ("value", "low", "high"):
                table = [[_number(getattr(each.share, name)) for each in one.values] for one in self.local]
                found[f"local/shap/{name}"] = np.array(table)
            found["local/shap/base"] = np.array([each.base for each in self.local])
            found["local/shap/answer"] = np.array([each.answer for each in self.local])
        for method in self.overall:
            found["columns"] = np.array([each.name for each in method.columns])
            for name in ("value", "low", "high"):
                plain = [_number(getattr(each.plain, name)) for each in method.columns]
                conditional = [_number(getattr(each.conditional, name)) for each in method.columns]
                found[f"global/{method.method}/{name}"] = np.array(plain)
                found[f"global/{method.method}/conditional/{name}"] = np.array(conditional)
        return found


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
