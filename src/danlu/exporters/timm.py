"""timm's format: model.safetensors and config.json, for `timm.create_model("local-dir:FOLDER", pretrained=True)`."""

from pathlib import Path
from typing import Any

from torch import nn

from danlu.core.imports import patch_torchvision
from danlu.data.specs import ImageInputs, require_inputs
from danlu.errors import ArgumentError
from danlu.models.predictor import Predictor
from danlu.models.vision.image_model import NormalizedImageModel


def write(predictor: Predictor, folder: Path) -> None:
    """Write a bundle's network in timm's format; raises like `write_network`."""
    write_network(predictor.model, folder)


def write_network(model: nn.Module, folder: Path) -> None:
    """Write a network that `build_timm` built in timm's format.

    Raises:
        ArgumentError: its normalization was replaced, which timm's format cannot express.
    """
    patch_torchvision()
    from timm.models import save_for_hf

    assert isinstance(model, NormalizedImageModel)
    network: Any = model.network
    if model.norms_replaced:
        raise ArgumentError(
            "model.normalization: timm's format cannot describe a network with another normalization", code="DL409"
        )
    inputs = model.inputs
    wanted = {"input_size": (inputs.channels, inputs.size, inputs.size), "mean": inputs.mean, "std": inputs.std}
    save_for_hf(network, str(folder), data_config=wanted, safe_serialization=True)


def read(predictor: Predictor, folder: Path) -> nn.Module:
    """Load a written folder by timm; the network takes danlu's images."""
    patch_torchvision()
    import timm

    inputs = require_inputs(predictor.preprocessor.inputs, ImageInputs, "timm")
    return NormalizedImageModel(timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True), inputs)
