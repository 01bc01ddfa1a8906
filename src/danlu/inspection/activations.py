"""How the outputs of layers are distributed over rows, and which units do nothing: dead or saturated ones.

In: a network and batches of inputs, which are streamed. Out: a line per layer. Memory holds figures of each unit and a
histogram of each layer, however many rows there are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from danlu.data.loader import Tensors
from danlu.inspection.layers import by_unit, observed

if TYPE_CHECKING:
    from danlu.inspection.onnx_file import OnnxFile

Json = dict[str, Any]
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
OCTAVES = (-40, 40)  # powers of two that the histogram tells apart
STEPS = 8  # cells of an octave, so a quantile is right to 9 %
SATURATED_SHARE = 0.95  # of a unit's outputs at a bound
SATURATED_LAYER = 0.5  # share of saturated units in a saturated layer
NEAR_BOUND = 0.02  # of the range between the bounds
NAMED_UNITS = 20
SAMPLE = 1 << 16  # numbers of a batch that the histogram takes, evenly among all; units are looked at in full
# Activations with bounds, by the words in their names.
BOUNDS: dict[str, tuple[float, float]] = {
    "hardsigmoid": (0.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hardtanh": (-1.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
}


@dataclass
class LayerActivations:
    """Accumulate the outputs of one layer.

    Attributes:
        name: of the layer.
        kind: the module's class or the operator's name.
    """

    name: str
    kind: str
    count: int = 0
    low: Tensor | None = None
    high: Tensor | None = None
    at_bound: Tensor | None = None
    cells: np.ndarray = field(
        default_factory=lambda: np.zeros(2 * (OCTAVES[1] - OCTAVES[0]) * STEPS + 1, dtype=np.int64)
    )
    not_finite: int = 0

    def add(self, output: Tensor) -> None:
        """Add the outputs of one batch."""
        units = by_unit(self.kind, output.detach()).float()
        finite = units.isfinite()
        self.not_finite += int((~finite).sum())
        units = torch.where(finite, units, torch.zeros_like(units))
        low, high = units.amin(dim=0), units.amax(dim=0)
        bounds = self.bounds
        if bounds is not None:
            near = NEAR_BOUND * (bounds[1] - bounds[0])
            share = ((units <= bounds[0] + near) | (units >= bounds[1] - near)).sum(dim=0)
            self.at_bound = share if self.at_bound is None else self.at_bound + share
        if self.low is not None and self.high is not None and self.low.shape == low.shape:
            low, high = torch.minimum(low, self.low), torch.maximum(high, self.high)
        self.low, self.high = low, high
        self.count += len(units)
        flat = units.flatten()
        flat = flat[:: max(1, flat.numel() // SAMPLE)]
        self.cells += np.bincount(_cell(flat).cpu().numpy(), minlength=len(self.cells))

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The bounds of an activation that has some."""
        return next((bounds for word, bounds in BOUNDS.items() if word in self.kind.lower()), None)

    @property
    def dead(self) -> list[int]:
        """Units that give the same for every row and position."""
        if self.low is None or self.high is None or self.count < 2:
            return []
        return [int(unit) for unit in (self.low == self.high).nonzero()[:, 0]]

    @property
    def saturated(self) -> list[int]:
        """Units that stand at a bound of their activation nearly always."""
        if self.at_bound is None or self.count < 2:
            return []
        return [int(unit) for unit in (self.at_bound >= SATURATED_SHARE * self.count).nonzero()[:, 0]]

    def as_json(self) -> Json:
        """Return the layer's line."""
        units = 0 if self.low is None else len(self.low)
        saturated = self.saturated
        return {
            "name": self.name,
            "type": self.kind,
            "units": units,
            "quantiles": [float(value) for value in _quantiles(self.cells)],
            "zeros": float(self.cells[len(self.cells) // 2] / max(1, self.cells.sum())),
            "dead": len(self.dead),
            "dead_units": self.dead[:NAMED_UNITS],
            "saturated": len(saturated),
            "saturated_units": saturated[:NAMED_UNITS],
            "is_saturated": bool(units) and len(saturated) >= SATURATED_LAYER * units,
            "not_finite": self.not_finite,
        }


def measure_activations(network: nn.Module, batches: Iterable[Tensors]) -> list[Json]:
    """Describe what each layer gives over all rows.

    Args:
        network: in evaluation mode.
        batches: inputs by name; one is held at a time.

    Returns:
        a line per layer in the order in which they run: `name`, `type`, `units`, `quantiles` (1, 25, 50, 75, 99 %),
        `zeros` (share), `dead` and `saturated` (numbers of units) with the first of these units.
    """
    layers: dict[str, LayerActivations] = {}

    def add(layer: str, kind: str, output: Tensor) -> None:
        layers.setdefault(layer, LayerActivations(layer, kind)).add(output)

    with torch.no_grad(), observed(network, add):
        for inputs in batches:
            network(**inputs)
    return [layer.as_json() for layer in layers.values()]


def measure_file_activations(file: "OnnxFile", batches: Iterable[Mapping[str, np.ndarray]]) -> list[Json]:
    """Describe what each layer of an ONNX file gives over all rows, like `measure_activations`.

    Raises:
        ArtifactError: the file cannot compute these rows.
    """
    layers: dict[str, LayerActivations] = {}
    for inputs in batches:
        for name, (kind, output) in file.outputs(inputs)[0].items():
            layers.setdefault(name, LayerActivations(name, kind)).add(output)
    return [layer.as_json() for layer in layers.values()]


def _cell(values: Tensor) -> Tensor:
    """Return each value's cell: powers of two on either side of zero."""
    span = (OCTAVES[1] - OCTAVES[0]) * STEPS
    exponent = values.abs().clamp_min(2.0 ** OCTAVES[0]).log2()
    place = ((exponent - OCTAVES[0]) * STEPS).long().clamp(0, span - 1) + 1
    signed = torch.where(values < 0, -place, place)
    return torch.where(values.abs() < 2.0 ** OCTAVES[0], torch.zeros_like(place), signed) + span


def _quantiles(cells: np.ndarray) -> np.ndarray:
    """Return the quantiles of a histogram, each the middle of its cell."""
    total = cells.sum()
    if total == 0:
        return np.zeros(len(QUANTILES))
    reached = np.cumsum(cells)
    places = np.array([int(np.searchsorted(reached, share * total)) for share in QUANTILES]) - len(cells) // 2
    sizes = 2.0 ** (OCTAVES[0] + (np.abs(places) - 0.5) / STEPS)
    return np.where(places == 0, 0.0, np.sign(places) * sizes)
