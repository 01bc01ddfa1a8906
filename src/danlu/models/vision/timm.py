"""Image networks from timm: built by name, with pretrained weights from a local file if one is given."""

from pathlib import Path
from typing import Any, Literal

from torch import nn

from danlu.core.imports import patch_torchvision, require_extra
from danlu.core.text import suggestion
from danlu.data.descriptors import ImageFormat
from danlu.data.specs import ImageInputs
from danlu.errors import ArgumentError
from danlu.models.normalization import replace_batch_norms
from danlu.models.vision.image_model import NormalizedImageModel
from danlu.models.vision.weights import image_format, load_backbone, read_config, read_weights

CLASSIFIER_INIT_STD = 0.01  # weights of a new classifier on a pretrained body


def build_timm(
    name: str,
    inputs: ImageInputs,
    outputs: int,
    *,
    pretrained: str | None = None,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    normalization: Literal["batch", "group", "layer"] | None = None,
) -> nn.Module:
    """Build timm's network of this name, with weights from a local file if given.

    Args:
        name: the recipe's name, `timm:resnet18`.
        inputs: specification of the images.
        outputs: outputs per image.
        pretrained: file or folder of weights.
        dropout: before the classifier.
        stochastic_depth: rate of the last block.
        normalization: replaces batch normalization; None keeps it.

    Raises:
        ArgumentError: timm has no such network, or the network lacks what is asked of it.
        DataError: the weights belong to another network.
    """
    require_extra("image", name)
    patch_torchvision()
    import timm

    name = _require_known(name.removeprefix("timm:"))
    arguments: dict[str, Any] = {"num_classes": outputs, "in_chans": inputs.channels, "drop_rate": dropout}
    if stochastic_depth:
        arguments["drop_path_rate"] = stochastic_depth
    network = _create_network(name, inputs.size, arguments)
    if stochastic_depth and not any(getattr(module, "drop_prob", None) for module in network.modules()):
        raise ArgumentError(
            f"model.stochastic_depth: {name} has no blocks that can be skipped; leave it out", code="DL512"
        )
    if normalization is not None:
        if pretrained is not None:
            raise ArgumentError(
                "model.normalization: pretrained weights need the network's own; leave one of them out", code="DL512"
            )
        replace_batch_norms(network, normalization, name)
    config = timm.get_pretrained_cfg(name)
    if pretrained is not None:
        load_backbone(network, read_weights(Path(pretrained)), _classifier_names(config), name)
        _init_small_classifier(network, _classifier_names(config))
    built = NormalizedImageModel(network, inputs, tuple(f"network.{head}" for head in _classifier_names(config)))
    built.norms_replaced = normalization not in (None, "batch")
    return built


def _init_small_classifier(network: nn.Module, classifiers: tuple[str, ...]) -> None:
    """Initialize a new classifier on a pretrained body with small weights.

    timm's initial weights for EfficientNets grow as classes get fewer: with a dozen classes the first losses are
    several times that of a uniform guess, and damage the body before the classifier has learned.
    """
    for name in classifiers:
        layer: Any = network.get_submodule(name)
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.normal_(layer.weight, std=CLASSIFIER_INIT_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _classifier_names(config: object) -> tuple[str, ...]:
    """Return the names of a network's classifiers: one, or two if it was distilled."""
    found = getattr(config, "classifier", None) or ()
    return (found,) if isinstance(found, str) else tuple(found)


def _create_network(name: str, size: int, arguments: dict[str, Any]) -> nn.Module:
    """Create timm's network; translate timm's TypeError for an argument that its class does not accept."""
    import timm

    try:
        return timm.create_model(name, img_size=size, **arguments)
    except TypeError as error:
        if "drop_path_rate" in str(error):
            raise ArgumentError(
                f"model.stochastic_depth: {name} cannot skip blocks; leave it out", code="DL512"
            ) from error
    try:
        return timm.create_model(name, **arguments)  # most accept any size
    except TypeError as error:
        if "drop_path_rate" in str(error):
            raise ArgumentError(
                f"model.stochastic_depth: {name} cannot skip blocks; leave it out", code="DL512"
            ) from error
        raise


def pretrained_format(name: str, pretrained: str | None = None) -> ImageFormat:
    """Return size, mean and standard deviation that the weights expect.

    They come from the weights' own configuration if it has them, else from timm's for this name.
    """
    own = image_format(read_config(Path(pretrained))) if pretrained else None
    if own is not None:
        return own
    require_extra("image", name)
    patch_torchvision()
    import timm

    config = timm.get_pretrained_cfg(_require_known(name.removeprefix("timm:")))
    if config is None:
        raise ArgumentError(f"model.name: timm has no configuration of pretrained weights for {name!r}", code="DL513")
    return ImageFormat(size=config.input_size[-1], mean=config.mean, std=config.std)


def _require_known(name: str) -> str:
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise ArgumentError(
            f"model.name: timm has no model {name!r}{_nearest_of(name, timm.list_models())}", code="DL513"
        )
    return name


def _nearest_of(name: str, models: list[str]) -> str:
    near = suggestion(name, models).split(" (allowed")[0]
    return f"{near} (of {len(models)} models; `timm.list_models()` lists them)"
