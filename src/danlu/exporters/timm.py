"""timm's format: model.safetensors and config.json, for `timm.create_model("local-dir:FOLDER", pretrained=True)`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from danlu.artifacts.files import read_json, write_json
from danlu.core.imports import patch_torchvision
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.specs import ImageInputs, require_inputs
from danlu.errors import ArgumentError
from danlu.models.answer_folding import Placement, Step, answer_steps, foldable, folded_into, place_steps
from danlu.models.predictor import Predictor
from danlu.models.vision.image_model import NormalizedImageModel

# What timm's configuration says of the weights it was published with, which these are not.
OF_OTHER_WEIGHTS = (
    *("tag", "license", "paper_ids", "paper_name", "description", "notes", "origin_url"),
    *("label_names", "label_descriptions", "test_input_size", "test_crop_pct"),
)
# As `center_square` prepares an image: its middle square, brought to the model's size.
CROP = {"crop_pct": 1.0, "crop_mode": "center", "interpolation": "bicubic"}


def write(predictor: Predictor, folder: Path) -> Placement:
    """Write a bundle's network in timm's format, with the classes' names; raises like `write_network`."""
    model: Any = predictor.model
    steps = answer_steps(predictor.target)
    folded = foldable(model.last_layer, steps.affine)
    with folded_into(model.last_layer, folded):
        write_network(model, folder, steps.names)
    assert isinstance(predictor.preprocessor, ImagePreprocessor)
    levels = predictor.preprocessor.levels
    left = () if levels is None else (Step("gray-levels", list(levels)),)
    return place_steps(steps, folded, False, ("crop", "resize", "normalization", "labels"), left)


def write_network(model: nn.Module, folder: Path, names: Sequence[str] = ()) -> None:
    """Write a network that `build_timm` built in timm's format.

    Args:
        model: as `build_timm` returns it.
        folder: for the files.
        names: of the outputs.

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
    wanted = {"input_size": (inputs.channels, inputs.size, inputs.size), "mean": inputs.mean, "std": inputs.std, **CROP}
    named = {"label_names": list(names)} if names else {}
    save_for_hf(network, str(folder), model_config=named, data_config=wanted, safe_serialization=True)
    config = read_json(folder / "config.json")
    for key in OF_OTHER_WEIGHTS:
        config["pretrained_cfg"].pop(key, None)
    write_json(folder / "config.json", config)


def read(predictor: Predictor, folder: Path) -> nn.Module:
    """Load a written folder by timm; the network takes danlu's images."""
    patch_torchvision()
    import timm

    inputs = require_inputs(predictor.preprocessor.inputs, ImageInputs, "timm")
    return NormalizedImageModel(timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True), inputs)
