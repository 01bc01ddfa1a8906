"""What is found of how far values can be trusted, and its JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from danlu.explanation.intervals import Interval


@dataclass(frozen=True)
class Removal:
    """Hold how far answers move without a method's largest columns, segments or words.

    Attributes:
        sizes: how many columns are taken away at each place; of images and texts the share of segments or words.
        curves: method or dummy -> the mean move at each place, [sizes].
        areas: method or dummy -> the mean move over all places; larger is better.
        ranks: methods and dummies that no interval tells apart, the best group first.
        beats_dummies: method -> whether intervals separate it from every dummy.
    """

    sizes: tuple[float, ...]
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
        completeness: the largest error of a sum; None of values that do not add up to the answer.
        infidelity: the squared error of what is lost without columns, as a share of it; 0 is best. Of images and
            texts at the scale that suits the values best.
        dummies: the same of values that know nothing, scaled to do their best.
        beats_dummies: whether an interval over rows separates it from the best of them.
        stability: how far values move with a row that hardly moves, relative to their size.
        randomisation: rank correlation with a shuffled model's values; near 1 is wrong. None where it is unknown.
        removal: how fast the answer changes without the largest columns, other methods and dummies beside; of several
            methods the first one's holds all.
    """

    method: str
    rows: int
    completeness: Interval | None
    infidelity: Interval
    dummies: dict[str, Interval]
    beats_dummies: bool
    stability: Interval
    randomisation: Interval | None
    removal: Removal | None

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `trust` in explanation.json."""
        return {
            "method": self.method,
            "rows": self.rows,
            "completeness": None if self.completeness is None else self.completeness.to_json(),
            "infidelity": self.infidelity.to_json(),
            "dummies": {name: each.to_json() for name, each in self.dummies.items()},
            "beats_dummies": self.beats_dummies,
            "stability": self.stability.to_json(),
            "randomisation": None if self.randomisation is None else self.randomisation.to_json(),
            "removal": None if self.removal is None else self.removal.to_json(),
        }


USUAL = "shap"


def recommend(trust: Sequence[Trust]) -> str:
    """Name the method that is recommended: SHAP values, unless another is more faithful.

    That is one that intervals over rows put into a better group of the removal curves.
    """
    removal = next((one.removal for one in trust if one.removal is not None), None)
    if removal is None:
        return USUAL
    best = next(group for group in removal.ranks if set(group) & set(removal.beats_dummies))
    methods = [name for name in best if name in removal.beats_dummies]
    return USUAL if USUAL in methods else methods[0]
