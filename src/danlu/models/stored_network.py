"""Bring a network to the sizes and the weights that a bundle holds."""

from typing import TYPE_CHECKING

from danlu.artifacts.bundle import WEIGHTS, Bundle
from danlu.models.base import Model

if TYPE_CHECKING:
    from torch import nn


def read_network(network: "nn.Module", options: Model, bundle: Bundle) -> None:
    """Load a bundle's weights into a network that its options have built, in place.

    Raises:
        ArtifactError: the sizes in its manifest are not of such a network.
        RuntimeError: neither are the weights.
    """
    manifest = bundle.manifest
    if manifest.structure is not None:
        from danlu.models.structure import apply_structure

        apply_structure(network, manifest.structure, str(bundle.folder))
    if manifest.coding is None:
        options.read_weights(network, bundle.folder)
        return
    from danlu.artifacts.checkpoints import load_weights
    from danlu.artifacts.tensors import load_tensors
    from danlu.models.coded_weights import decode

    load_weights(network, decode(load_tensors(bundle.require(WEIGHTS)), manifest.coding))
