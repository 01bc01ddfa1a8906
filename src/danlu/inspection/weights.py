"""The weights of a network, tensor by tensor: how they are distributed, their spectra, and what is drawn of them.

In: named tensors, read one at a time, so a file larger than memory is no matter. Out: JSON values and small arrays.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Json = dict[str, Any]
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
SAMPLE = 1 << 20  # numbers of a tensor that its quantiles are taken of
SIDE = 96  # cells of a heat map in one direction; larger matrices are averaged
BARS = 96  # of a one-dimensional tensor
FILTERS = 64
MOST_SINGULAR = 64  # of the spectrum that are kept
LARGEST_SPECTRUM = 4096  # the smaller side of a matrix whose spectrum is computed
DRAWN = 12  # tensors of each form that are drawn, the largest


@dataclass(frozen=True)
class WeightPicture:
    """Hold what is drawn of one tensor.

    Attributes:
        name: of the tensor.
        form: `filters` ([count, height, width]), `map` ([rows, columns]) or `bars` ([values]).
        values: the numbers drawn, averaged where there are too many.
        shape: of the tensor itself.
    """

    name: str
    form: str
    values: np.ndarray
    shape: tuple[int, ...]


def network_weights(network: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Yield the parameters of a network, or its arrays where it has none, as trees."""
    named: list[tuple[str, Tensor]] = [*network.named_parameters()] or [*network.named_buffers()]
    return ((name, values.detach()) for name, values in named if values.numel())


def describe_weights(tensors: Iterable[tuple[str, Tensor]]) -> tuple[list[Json], list[WeightPicture]]:
    """Describe named tensors, and choose what is drawn.

    Args:
        tensors: name and values, one at a time.

    Returns:
        of each tensor `name`, `shape`, `numbers`, `mean`, `std`, `quantiles` (1, 25, 50, 75, 99 %), `zeros` (share),
        and of matrices `singular` (largest first, at most 64, evenly among all) and `rank` (effective rank, Roy and
        Vetterli 2007); and the pictures.
    """
    lines: list[Json] = []
    pictures: list[WeightPicture] = []
    for name, stored in tensors:
        if stored.numel() == 0:
            continue
        values = stored.detach().cpu().float() if not stored.is_complex() else stored.detach().cpu().abs()
        lines.append({**_describe(name, stored, values), **_spectrum(values)})
        pictures.append(_picture(name, values))
        pictures = _largest(pictures)
    order = {line["name"]: place for place, line in enumerate(lines)}
    return lines, sorted(pictures, key=lambda picture: order[picture.name])


def _describe(name: str, stored: Tensor, values: Tensor) -> Json:
    flat = values.flatten()
    step = max(1, flat.numel() // SAMPLE)
    finite = flat[::step]
    finite = finite[finite.isfinite()]
    found = np.quantile(finite.numpy(), QUANTILES) if finite.numel() else np.zeros(len(QUANTILES))
    return {
        "name": name,
        "shape": list(stored.shape),
        "dtype": str(stored.dtype).removeprefix("torch."),
        "numbers": stored.numel(),
        "mean": _number(flat.mean()),
        "std": _number(flat.std(correction=0)),
        "quantiles": [float(value) for value in found],
        "zeros": float((flat == 0).float().mean()),
        "not_finite": int((~flat.isfinite()).sum()),
    }


def _number(value: Tensor) -> float | None:
    return float(value) if bool(value.isfinite()) else None


def _spectrum(values: Tensor) -> Json:
    """Return the singular values of a matrix, [outputs, all else], and its effective rank."""
    if values.ndim < 2 or not bool(values.isfinite().all()):
        return {}
    matrix = values.flatten(1)
    small = min(matrix.shape)
    if small < 2 or small > LARGEST_SPECTRUM:
        return {}
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    # Of the product of the smaller side with itself: no factor of the larger side is made.
    gram = (matrix @ matrix.T).double()
    found = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(0)
    total = float(found.sum())
    if total <= 0:
        return {"singular": [0.0] * min(small, MOST_SINGULAR), "rank": 0.0}
    shares = found / total
    entropy = -float((shares * shares.clamp_min(1e-30).log()).sum())
    places = np.unique(np.linspace(0, small - 1, min(small, MOST_SINGULAR)).astype(int))
    return {"singular": [float(found[place]) for place in places], "rank": float(np.exp(entropy))}


def _picture(name: str, values: Tensor) -> WeightPicture:
    """Choose the form of a tensor: bars, filters of a convolution, or a map."""
    shape = tuple(values.shape)
    if values.ndim >= 4 and min(shape[-2:]) > 1 and max(shape[-2:]) <= 32:
        filters = values.flatten(0, -3)
        places = np.unique(np.linspace(0, len(filters) - 1, min(len(filters), FILTERS)).astype(int))
        return WeightPicture(name, "filters", filters[torch.from_numpy(places)].numpy(), shape)
    if values.ndim < 2 or min(values.flatten(1).shape) == 1:
        return WeightPicture(name, "bars", averaged(values.flatten()[None], (1, BARS))[0], shape)
    return WeightPicture(name, "map", averaged(values.flatten(1), (SIDE, SIDE)), shape)


def averaged(matrix: Tensor, most: tuple[int, int]) -> np.ndarray:
    """Average a matrix down to at most so many rows and columns."""
    rows, columns = (min(size, limit) for size, limit in zip(matrix.shape, most, strict=True))
    if (rows, columns) == tuple(matrix.shape):
        return matrix.numpy()
    found: np.ndarray = torch.nn.functional.adaptive_avg_pool2d(matrix[None, None], (rows, columns))[0, 0].numpy()
    return found


def _largest(pictures: list[WeightPicture]) -> list[WeightPicture]:
    """Keep the largest pictures of each form."""
    kept: list[WeightPicture] = []
    for form in ("filters", "map", "bars"):
        of_form = [picture for picture in pictures if picture.form == form]
        of_form.sort(key=lambda picture: -int(np.prod(picture.shape)))
        kept += of_form[:DRAWN]
    return kept
