"""How far what methods say of images and texts can be trusted, measured on the rows themselves beside dummies.

Each method that a network can have is measured: infidelity at its best scale (`faithfulness`), since maps have several
units; stability with a row that hardly moves; likeness to the values of a network with shuffled weights (Adebayo et al.
2018, https://arxiv.org/abs/1810.03292); and a removal curve, the segments filled from images that are alike in what
stays. Methods are ranked only where intervals over rows tell them apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.explanation.intervals import Interval, mean_interval
from danlu.explanation.networks.faithfulness import measure_losses
from danlu.explanation.networks.methods import NETWORK_METHODS, Asked
from danlu.explanation.networks.rows import Incomplete, NetworkRow, NetworkRows
from danlu.explanation.removal import sum_up
from danlu.explanation.trust_results import Trust

if TYPE_CHECKING:
    from torch import nn

MOST_ROWS = 10
SHARES = tuple(float(share) for share in np.linspace(0.1, 0.9, 9).round(1))  # of the players that a curve takes away


@dataclass
class Measured:
    """Hold what was measured of one row.

    Attributes:
        errors: method or dummy -> infidelity.
        moves: method -> how far its values move with a row that hardly moves, relative to their size.
        alike: method -> rank correlation with a shuffled network's values; none where either is flat.
        completeness: method -> error of its sum, of those that add up.
        lost: method or dummy -> how far the answer moves at each place of its curve, [shares].
        incomplete: method -> why its values are not shown.
    """

    errors: dict[str, float] = field(default_factory=dict)
    moves: dict[str, float] = field(default_factory=dict)
    alike: dict[str, float] = field(default_factory=dict)
    completeness: dict[str, float] = field(default_factory=dict)
    lost: dict[str, np.ndarray] = field(default_factory=dict)
    incomplete: dict[str, str] = field(default_factory=dict)


def measure_rows(
    maker: NetworkRows, rows: Iterator[NetworkRow], names: Sequence[str], asked: Asked
) -> Iterator[Measured]:
    """Measure methods on rows, one after the other.

    Args:
        names: of methods that this network can have.
    """
    shuffled = maker.with_network(shuffled_network(maker.predictor.model, asked.seed))
    for place, row in enumerate(rows):
        yield _measure(row, shuffled, names, asked, place)


def _measure(row: NetworkRow, shuffled: NetworkRows, names: Sequence[str], asked: Asked, place: int) -> Measured:
    found = Measured()
    values: dict[str, np.ndarray] = {}
    for name in names:
        try:
            said = NETWORK_METHODS[name].explain(row, asked)
        except (Incomplete, ArgumentError) as error:
            if isinstance(error, ArgumentError) and error.code != "DL409":  # what is asked is wrong, not the network
                raise
            found.incomplete[name] = str(error)
            continue
        values[name] = row.of_players(said.values)
        if said.completeness_error is not None:
            found.completeness[name] = said.completeness_error
    least = int(np.abs(values["shap"]).argmin())
    near, other = row.near(asked.seed, least), row.in_network(shuffled)
    for name, own in values.items():
        after = _values(near, name, asked)
        if after is not None:
            size = max(float(np.linalg.norm(own)), np.finfo(np.float64).tiny)
            found.moves[name] = float(np.linalg.norm(after - own)) / size
        strange = _values(other, name, asked)
        if strange is not None and (likeness := _rank_correlation(own, strange)) is not None:
            found.alike[name] = likeness
    rng = np.random.default_rng(asked.seed.derive("dummy", "random", place).value)
    values |= {"random": rng.permutation(row.players) + 1.0, **row.dummies()}
    losses = measure_losses(row, asked.seed)
    found.errors = {name: losses.unfaithfulness(each) for name, each in values.items()}
    found.lost = lost_by_removal(row, values)
    return found


def _values(row: NetworkRow, name: str, asked: Asked) -> np.ndarray | None:
    """Return a method's values of the players; None where they do not add up."""
    try:
        return row.of_players(NETWORK_METHODS[name].explain(row, asked).values)
    except (Incomplete, ArgumentError):  # as of the row itself, where all was said
        return None


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    from scipy.stats import spearmanr

    sizes = [np.abs(each) for each in (first, second)]
    if len(first) < 3 or not all(float(np.ptp(each)) > 0 for each in sizes):
        return None
    return float(spearmanr(*sizes).statistic)


def lost_by_removal(row: NetworkRow, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return how far the answer moves at each place of each method's curve, [shares].

    Args:
        values: method -> a number a player; the largest are taken away first, equal ones in the players' order.
    """
    sizes = [max(1, round(share * row.players)) for share in SHARES]
    kept = [np.ones(row.players, dtype=bool)]
    for own in values.values():
        place = np.argsort(np.argsort(-np.abs(own), kind="stable"))
        kept += [place >= size for size in sizes]
    answers = row.refilled(np.array(kept))
    lost = np.abs(answers[1:] - answers[0]).reshape(len(values), len(sizes))
    return dict(zip(values, lost, strict=True))


def shuffled_network(network: "nn.Module", seed: Seed) -> "nn.Module":
    """Return a copy of a network whose weights are shuffled, each array in itself."""
    from copy import deepcopy

    import torch

    found = deepcopy(network)
    with torch.no_grad():
        for name, weights in found.named_parameters():
            order = np.random.default_rng(seed.derive("shuffled", name).value).permutation(weights.numel())
            weights.copy_(weights.flatten()[torch.from_numpy(order).to(weights.device)].view_as(weights))
    return found


def sum_up_rows(measured: Sequence[Measured], dummies: Sequence[str]) -> tuple[Trust, ...]:
    """Sum up what was measured: an entry for each method.

    One whose values broke their promise to add up on a row is left out.

    Args:
        dummies: what knows nothing of the network.
    """
    names = [
        name for name in NETWORK_METHODS if all(name in one.errors and name not in one.incomplete for one in measured)
    ]
    lost = [{name: one.lost[name] for name in (*names, *dummies)} for one in measured]
    removal = sum_up(lost, SHARES, tuple(dummies))
    best = np.array([min(one.errors[name] for name in dummies) for one in measured])
    found = []
    for place, name in enumerate(names):
        errors = np.array([one.errors[name] for one in measured])
        sums = [one.completeness[name] for one in measured if name in one.completeness]
        found.append(
            Trust(
                method=name,
                rows=len(measured),
                completeness=Interval(max(sums)) if sums else None,
                infidelity=mean_interval(errors),
                dummies={dummy: _mean([one.errors[dummy] for one in measured]) for dummy in dummies},
                beats_dummies=(mean_interval(errors - best).high or 0.0) < 0,
                stability=_mean([one.moves[name] for one in measured if name in one.moves]),
                randomisation=_mean_or_none([one.alike[name] for one in measured if name in one.alike]),
                removal=removal if place == 0 else None,
            )
        )
    return tuple(found)


def _mean(figures: Sequence[float]) -> Interval:
    return mean_interval(np.array(figures)) if figures else Interval(float("nan"))


def _mean_or_none(figures: Sequence[float]) -> Interval | None:
    return mean_interval(np.array(figures)) if figures else None
