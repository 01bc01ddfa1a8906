"""The engine of torch: every bundle's network as it was trained, on this machine's device."""

from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from danlu.core.imports import require_extra
from danlu.errors import ArtifactError
from danlu.models.base import Model
from danlu.models.engines.base import Arrays, Engine, EngineSource

if TYPE_CHECKING:
    import torch
    from torch import nn


class TorchEngine(Engine):
    """Compute a network by its forward.

    Attributes:
        network: on `device`, in evaluation mode.
    """

    name: ClassVar[str] = "torch"
    tolerance = 1e-4  # devices round differently; wrong preprocessing or weights deviate far more

    def __init__(self, network: "nn.Module", device: "torch.device") -> None:
        self.network, self.device = network.to(device).eval(), device

    @classmethod
    def open(cls, source: EngineSource) -> Self:
        """Rebuild the network from its options and load its weights.

        Raises:
            ArtifactError: the weights belong to another network, or it needs code that is not allowed.
            MissingExtra: it needs packages that are not installed.
        """
        bundle, options = source.bundle, source.options
        is_allowed = source.own_code or _is_model_of(source.recipe_model, options)
        if options.custom_code is not None and not is_allowed:
            raise ArtifactError(
                f"{bundle.folder}: its model is code from {options.custom_code}, and opening a bundle runs no code "
                "unasked; if you trust it, pass own_code=True (--own-code)",
                code="DL309",
            )
        if options.extra:
            require_extra(options.extra, f"this bundle's model ({options.name})")
        bundle.require(options.weights_file)
        from danlu.core.devices import open_device
        from danlu.core.devices.setup import make_deterministic

        make_deterministic()
        from danlu.models.stored_network import read_network

        network = options.build(source.inputs, source.target.outputs)
        try:
            read_network(network, options, bundle)
        except RuntimeError as error:
            raise ArtifactError(
                f"{bundle.folder}: the weights do not fit {options.name}: {error}", code="DL310"
            ) from error
        return cls(network, open_device().torch_device)

    @property
    def survives_fork(self) -> bool:
        return self.device.type == "cpu"

    def run(self, inputs: Arrays) -> np.ndarray:
        import torch

        given = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in inputs.items()}
        with torch.inference_mode():
            found = self.network(**{name: values.to(self.device) for name, values in given.items()})
        return np.asarray(found.float().cpu().numpy())


def _is_model_of(recipe_model: Model | None, options: Model) -> bool:
    """Return whether a bundle's model is the very one that the user's recipe names."""
    if recipe_model is None:
        return False
    return recipe_model.portable().model_dump(mode="json") == options.model_dump(mode="json")
