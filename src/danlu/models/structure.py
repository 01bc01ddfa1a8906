"""Networks whose sizes are no longer those that their options build: narrower layers, layers split in two.

Compression removes channels, heads and neurons, and splits matrices. A bundle keeps the sizes in its manifest
(`danlu.artifacts.bundle.Structure`), and whoever builds its network brings it to them before weights are loaded.
"""

from typing import Any

import torch
from torch import Tensor, nn

from danlu.artifacts.bundle import Structure
from danlu.core.imports import silence_libraries
from danlu.errors import ArtifactError

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def apply_structure(network: nn.Module, structure: Structure, place: str) -> None:
    """Bring a network that its options built to a bundle's sizes, in place.

    Its weights lose their values.

    Args:
        structure: of the bundle.
        place: of the bundle, for errors.

    Raises:
        ArtifactError: it names no layer of the network, or a larger size.
    """
    for name, rank in structure.ranks.items():  # in order: one of a pair may have been split again
        layer = dict(network.named_modules()).get(name)
        if layer is None or not can_be_split(layer) or rank > full_rank(layer):
            raise _does_not_fit(place, f"{name} cannot be split at rank {rank}")
        replace_module(network, name, empty_pair(layer, rank))
    known = dict(network.state_dict(keep_vars=True))
    for name, shape in structure.shapes.items():
        value = known.get(name)
        fits = value is not None and value.ndim == len(shape) and all(map(int.__le__, shape, value.shape))
        if not fits:
            raise _does_not_fit(place, f"{name} cannot have the shape {list(shape)}")
    for name, shape in structure.shapes.items():
        _resize(network, name, shape)


def structure_of(network: nn.Module, built: nn.Module, ranks: dict[str, int]) -> Structure | None:
    """Return how a network differs from that of its options; None for not.

    Args:
        network: compressed.
        built: by its options; changed, since layers that were split are split in it, too.
        ranks: of the layers that were split.
    """
    apply_structure(built, Structure(ranks=ranks), "the network")
    before = {name: tuple(value.shape) for name, value in built.state_dict().items()}
    after = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    changed = {name: shape for name, shape in after.items() if before[name] != shape}
    return Structure(ranks=ranks, shapes=changed) if ranks or changed else None


def replace_module(network: nn.Module, name: str, replacement: nn.Module) -> None:
    """Put a module in another's place."""
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, replacement)


def can_be_split(layer: nn.Module) -> bool:
    """Return whether a layer can become two in a row.

    Linear layers can, and convolutions of all channels.
    """
    if isinstance(layer, Convolution):
        return layer.groups == 1 and layer.padding_mode == "zeros"
    return type(layer) is nn.Linear or is_transposed_linear(layer)


def is_transposed_linear(layer: nn.Module) -> bool:
    """Return whether a layer is transformers' Conv1D, a linear layer whose matrix is [inputs, outputs]."""
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf")


def matrix_of(layer: Any) -> Tensor:
    """Return a layer's weights as a matrix [outputs, inputs].

    The window of a convolution counts as inputs.
    """
    weight: Tensor = layer.weight.detach()
    return weight.T if is_transposed_linear(layer) else weight.flatten(1)


def full_rank(layer: nn.Module) -> int:
    """Return the rank at which splitting a layer loses nothing."""
    return min(matrix_of(layer).shape)


def empty_pair(layer: Any, rank: int) -> nn.Sequential:
    """Return two layers in a row that can stand for one, with new weights."""
    has_bias = layer.bias is not None
    with torch.random.fork_rng(devices=[]), silence_libraries():
        if not isinstance(layer, Convolution):
            outputs, inputs = matrix_of(layer).shape
            return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=has_bias))
        convolve: Any = type(layer)
        window: Any = layer.kernel_size
        return nn.Sequential(
            convolve(
                layer.in_channels,
                rank,
                window,
                stride=layer.stride,
                padding=layer.padding,
                dilation=layer.dilation,
                bias=False,
            ),
            convolve(rank, layer.out_channels, 1, bias=has_bias),
        )


def _resize(network: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    """Give a weight another shape, and its layer the sizes that follow from it."""
    path, _, own = name.rpartition(".")
    layer: Any = network.get_submodule(path)
    old = getattr(layer, own)
    empty = torch.zeros(shape, dtype=old.dtype, device=old.device)
    setattr(layer, own, nn.Parameter(empty, old.requires_grad) if isinstance(old, nn.Parameter) else empty)
    if own == "weight" or (own == "running_mean" and not layer.affine):
        set_sizes(layer, shape)


def set_sizes(layer: Any, shape: tuple[int, ...]) -> None:
    """Set the sizes that a layer says of itself to those of its weight."""
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = shape
    elif isinstance(layer, Convolution):
        is_depthwise = layer.groups == layer.in_channels and layer.groups > 1
        layer.groups = shape[0] if is_depthwise else layer.groups
        layer.out_channels, layer.in_channels = shape[0], shape[1] * layer.groups
    elif isinstance(layer, BatchNorm):
        layer.num_features = shape[0]
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels = shape[0]
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = shape
    elif isinstance(layer, nn.Embedding):
        layer.num_embeddings, layer.embedding_dim = shape
    elif is_transposed_linear(layer):
        layer.nx, layer.nf = shape


def _does_not_fit(place: str, why: str) -> ArtifactError:
    return ArtifactError(f"{place}: the sizes in bundle.json are not of this model: {why}", code="DL310")
