"""What is found of how far values can be trusted, and its JSON."""

from dataclasses import dataclass
from typing import Any

from danlu.explanation.intervals import Interval


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
