"""Where two networks part: their layers side by side on the same rows, by signal to noise and cosine.

In: two networks that tell what their layers give, and batches of inputs. Out: a `Difference`. Layers are matched by
name, else by shape and place; the first layer under the threshold is where the answers begin to part.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from danlu.inspection.layers import Layered, Outputs

Json = dict[str, Any]
Inputs = Mapping[str, Any]  # by name: tensors, or arrays where a file takes words
THRESHOLD_DB = 20.0  # noise is a tenth of the signal's size
MOST_ROWS_SHOWN = 8
MOST_CHANNELS = 4096  # of a layer, whose order is compared
MOST_DEPTH = 4  # of wrappers that stand before a name in one network alone
# Other engines' names of what torch's layers compute.
KINDS = {"gemm": "linear", "matmul": "linear", "matmulinteger": "linear", "convinteger": "conv"}
NORM = "BatchNorm"  # which exporters fold into the layer before it
EQUAL_DB = 120.0  # beyond, two layers differ by rounding of float32 alone


@dataclass
class LayerDifference:
    """Accumulate how far one layer of two networks is apart.

    Attributes:
        name: in the first network.
        other: in the second.
        kind: the module's class or the operator's name.
        matched: `name`, or `shape` where the names differ.
    """

    name: str
    other: str
    kind: str
    matched: str
    signal: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    other_signal: float = 0.0
    shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    def add(self, one: Tensor, other: Tensor) -> None:
        """Add the outputs of one batch."""
        self.shapes = tuple(one.shape[1:]), tuple(other.shape[1:])
        if one.shape != other.shape and one.numel() == other.numel() and one.shape[-1:] == other.shape[-1:]:
            other = other.reshape(one.shape)  # positions may stand among the rows
        if one.shape != other.shape:
            self.noise = math.inf
            return
        one, other = one.double().cpu(), other.double().cpu()
        self.signal += float((one * one).sum())
        self.other_signal += float((other * other).sum())
        self.noise += float(((one - other) ** 2).sum())
        self.product += float((one * other).sum())

    @property
    def snr_db(self) -> float | None:
        """Signal to noise in decibels; None where the outputs are equal."""
        if self.noise == 0.0:
            return None
        if not math.isfinite(self.noise) or self.signal == 0.0:
            return -EQUAL_DB
        return max(-EQUAL_DB, 10 * math.log10(self.signal / self.noise))

    @property
    def cosine(self) -> float | None:
        """Cosine of the two outputs; None where one is zero or the shapes differ."""
        size = math.sqrt(self.signal * self.other_signal)
        return self.product / size if size > 0 and math.isfinite(self.noise) else None

    def as_json(self) -> Json:
        """Return the layer's line of `difference.layers`."""
        return {
            "name": self.name,
            "other": self.other,
            "type": self.kind,
            "matched": self.matched,
            "equal": self.noise == 0.0,
            "snr_db": None if self.snr_db is None else round(self.snr_db, 3),
            "cosine": None if self.cosine is None else round(self.cosine, 9),
        }


@dataclass(frozen=True)
class WeightDifference:
    """Hold how far one tensor of weights is apart in two networks.

    Attributes:
        name: in the first network.
        change: size of the difference over the size of the first; 0 where nothing changed.
        swapped: pairs of output channels that stand in each other's place, the weights else equal.
    """

    name: str
    change: float
    swapped: tuple[tuple[int, int], ...] = ()


@dataclass
class Difference:
    """Hold where two networks part.

    Attributes:
        layers: in the order in which they run.
        unmatched: layers of the first and of the second network that the other lacks.
        weights: of both, by name.
        answers: of each row, how far the answers are apart: the largest absolute difference.
        threshold_db: signal to noise that counts as parting.
    """

    layers: list[LayerDifference]
    unmatched: tuple[tuple[str, ...], tuple[str, ...]]
    weights: list[WeightDifference]
    answers: list[float] = field(default_factory=list)
    threshold_db: float = THRESHOLD_DB

    @property
    def first_below(self) -> str | None:
        """The first layer under the threshold; None where none is."""
        below = (layer.name for layer in self.layers if layer.snr_db is not None and layer.snr_db < self.threshold_db)
        return next(below, None)

    @property
    def rows(self) -> list[int]:
        """The rows that part most, the furthest first."""
        order = sorted(range(len(self.answers)), key=lambda row: -self.answers[row])
        return [row for row in order if self.answers[row] > 0][:MOST_ROWS_SHOWN]

    def as_json(self) -> Json:
        """Return the difference as `danlu visualize --json` prints it."""
        return {
            "layers": [layer.as_json() for layer in self.layers],
            "threshold_db": self.threshold_db,
            "first_below": self.first_below,
            "unmatched": {"one": list(self.unmatched[0]), "other": list(self.unmatched[1])},
            "weights": [
                {"name": each.name, "change": each.change, "swapped": [list(pair) for pair in each.swapped]}
                for each in self.weights
            ],
            "answers": {"largest": max(self.answers, default=0.0), "rows": self.rows},
        }


def compare_networks(
    one: Layered, other: Layered, batches: Iterable[tuple[Inputs, Inputs]], threshold_db: float = THRESHOLD_DB
) -> Difference:
    """Run two networks on the same rows and compare their layers.

    Args:
        one: the reference, whose outputs are the signal.
        other: what is compared with it.
        batches: inputs of the first and of the second network, of the same rows.
        threshold_db: signal to noise under which a layer counts as parted.

    Returns:
        the difference; memory holds the outputs of one batch at a time.
    """
    found: Difference | None = None
    for mine, theirs in batches:
        first, answer = one.outputs(mine)
        second, other_answer = other.outputs(theirs)
        if found is None:
            matches = match_layers(first, second)
            unmatched = (
                tuple(name for name in first if name not in {each.name for each in matches}),
                tuple(name for name in second if name not in {each.other for each in matches}),
            )
            found = Difference(matches, unmatched, compare_weights(one, other), threshold_db=threshold_db)
        for layer in found.layers:
            if layer.name in first and layer.other in second:
                layer.add(first[layer.name][1], second[layer.other][1])
        found.answers += _apart(answer, other_answer)
    return found or Difference([], ((), ()), compare_weights(one, other), threshold_db=threshold_db)


def match_layers(one: Outputs, other: Outputs) -> list[LayerDifference]:
    """Match the layers of two networks by name, then by place, kind and shape.

    What is left is matched by place and shape alone.
    """
    names = _same_names(tuple(one), tuple(other))
    found = _without_folded(one, names | _between(one, other, names, _kind_and_shape))
    found |= _between(one, other, found, _shape)
    return [
        LayerDifference(name, found[name], kind, "name" if found[name] in names.values() else "shape")
        for name, (kind, _) in one.items()
        if name in found
    ]


Key = Callable[[str, Tensor], Hashable]


def _between(one: Outputs, other: Outputs, known: Mapping[str, str], key: Key) -> dict[str, str]:
    """Match layers that stand between the same matched ones and have equal keys, in order."""
    order, taken = {name: place for place, name in enumerate(other)}, set(known.values())
    found: dict[str, str] = {}
    gap: list[str] = []
    last = 0
    for name in (*one, None):
        if name is not None and name not in known:
            gap.append(name)
            continue
        until = len(order) if name is None else order[known[name]]
        free = [each for each in list(other)[last:until] if each not in taken]
        left, right = [key(*one[each]) for each in gap], [key(*other[each]) for each in free]
        for block in SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks():
            found |= {gap[block.a + step]: free[block.b + step] for step in range(block.size)}
        gap, last = [], max(last, until)
    return found


def _shape(kind: str, output: Tensor) -> Hashable:
    """Identify a layer by the shape of what it gives for one row."""
    return tuple(output.shape[1:])


def _kind_and_shape(kind: str, output: Tensor) -> Hashable:
    """Identify a layer by what it computes and the shape it gives."""
    plain = kind.lower().rstrip("123d")
    return KINDS.get(plain, plain), _shape(kind, output)


def _without_folded(one: Outputs, names: dict[str, str]) -> dict[str, str]:
    """Move matches to batch norms that the other network lacks.

    There the norm was folded into the layer's weights, so the layer's output is the norm's.
    """
    moved = dict(names)
    for before, name in pairwise(one):
        if NORM in one[name][0] and name not in names and before in moved and NORM not in one[before][0]:
            moved[name] = moved.pop(before)
    return {name: moved[name] for name in one if name in moved}


def _same_names(one: Sequence[str], other: Sequence[str]) -> dict[str, str]:
    """Match names that are equal but for what stands before them, as in `network.layer1`."""
    best: dict[str, str] = {}
    for mine, theirs in ((a, b) for a in ("", *_prefixes(one)) for b in ("", *_prefixes(other)) if not (a and b)):
        stripped = {name.removeprefix(theirs): name for name in other if name.startswith(theirs)}
        pairs = {name: stripped[name.removeprefix(mine)] for name in one if name.removeprefix(mine) in stripped}
        if len(pairs) > len(best):
            best = pairs
    return best


def _prefixes(names: Sequence[str]) -> list[str]:
    """Return the first parts of names."""
    found = dict[str, None]()
    for name in names:
        parts = name.split(".")
        for depth in range(1, min(MOST_DEPTH, len(parts) - 1) + 1):
            found[".".join(parts[:depth]) + "."] = None
    return list(found)[:8]


def _apart(one: Tensor, other: Tensor) -> list[float]:
    """Return the largest difference of each row's answer; no number where the shapes differ."""
    if one.shape != other.shape:
        return [float("inf")] * len(one)
    apart = (one.double().cpu() - other.double().cpu()).abs().flatten(1)
    return [float(value) for value in apart.nan_to_num(nan=float("inf")).amax(dim=1)]


def compare_weights(one: Layered, other: Layered) -> list[WeightDifference]:
    """Compare the weights of two networks that have the same name and shape."""
    mine, theirs = one.weights(), other.weights()
    names = _same_names(tuple(mine), tuple(theirs))
    return [
        _weight_difference(name, mine[name], theirs[names[name]])
        for name in mine
        if name in names and mine[name].shape == theirs[names[name]].shape
    ]


def _weight_difference(name: str, one: Tensor, other: Tensor) -> WeightDifference:
    one, other = one.float().cpu(), other.float().cpu()
    if torch.equal(one, other):
        return WeightDifference(name, 0.0)
    change = float((one - other).norm() / one.norm().clamp_min(1e-30))
    return WeightDifference(name, change, _swapped(one, other))


def _swapped(one: Tensor, other: Tensor) -> tuple[tuple[int, int], ...]:
    """Return pairs of output channels that stand in each other's place."""
    if one.ndim < 1 or not 1 < len(one) <= MOST_CHANNELS:
        return ()
    mine, theirs = (
        one.flatten(1) if one.ndim > 1 else one[:, None],
        other.flatten(1) if one.ndim > 1 else other[:, None],
    )
    moved = [int(row) for row in (mine != theirs).any(dim=1).nonzero()[:, 0]]
    if not 2 <= len(moved) <= len(one) // 2 + 1:
        return ()
    pairs = []
    for place, first in enumerate(moved):
        for second in moved[place + 1 :]:
            is_swap = torch.equal(mine[first], theirs[second]) and torch.equal(mine[second], theirs[first])
            if is_swap and not torch.equal(mine[first], mine[second]):
                pairs.append((first, second))
    return tuple(pairs)
