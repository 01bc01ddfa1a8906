"""What is found of a whole model: importance of columns, curves, pairs and rules, and their JSON and arrays."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from danlu.explanation.intervals import Interval, or_nan


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
            plain = [or_nan(getattr(each.plain, name)) for each in self.columns]
            conditional = [or_nan(getattr(each.conditional, name)) for each in self.columns]
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
                found[f"{begin}/{at}/{name}"] = np.array([or_nan(getattr(each.share, name)) for each in curve.points])
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
            found[f"global/{self.method}/{name}"] = np.array([or_nan(getattr(each.share, name)) for each in self.pairs])
        return found


Overall = GlobalExplanation | Curves | Interactions | Surrogate
