"""Image networks from timm, and the wrapper that normalizes uint8 pixels before any image network."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from danlu.core.imports import patch_torchvision, require_extra
from danlu.core.text import suggestion
from danlu.data.descriptors import ImageFormat
from danlu.data.specs import ImageInputs
from danlu.errors import ArgumentError
from danlu.models.normalization import replace_batch_norms
from danlu.models.task_model import TaskModel
from danlu.models.vision.weights import image_format, load_backbone, read_config, read_weights

if TYPE_CHECKING:
    from danlu.models.table import SmallResNet, Timm

CLASSIFIER_INIT_STD = 0.01  # weights of a new classifier on a pretrained body


class NormalizedImageModel(TaskModel):
    """Normalize uint8 images as a network's weights expect, then call the network.

    Attributes:
        inputs: specification of the images.
        norms_replaced: whether its batch norms were replaced.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, inputs: ImageInputs, head_parts: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.network = network
        self.inputs = inputs
        self.head_parts = head_parts
        self.norms_replaced = False
        # Not persistent: bundle.json has them already.
        self.register_buffer("mean", torch.tensor(inputs.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(inputs.std).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map images [batch, channels, height, width] uint8 to logits [batch, outputs]."""
        logits: Tensor = self.network(self._normalize(image))
        return logits

    def features(self, image: Tensor) -> Tensor:
        """Return the classifier's input features, [batch, width], of images [batch, channels, height, width] uint8."""
        network: Any = self.network
        pooled: Tensor = network.forward_head(network.forward_features(self._normalize(image)), pre_logits=True)
        return pooled

    @property
    def classifier(self) -> Any:
        """timm's classifier over features."""
        network: Any = self.network
        return network.get_classifier()

    @property
    def last_layer(self) -> Any:
        """Classifier that maps features to logits; distilled networks have no single one."""
        network: Any = self.network
        return network.get_classifier() if hasattr(network, "get_classifier") else network.classifier

    def _normalize(self, image: Tensor) -> Tensor:
        return (image.float() / 255.0 - self.mean) / self.std


def build_small_resnet(options: "SmallResNet", inputs: ImageInputs, outputs: int) -> nn.Module:
    """Build danlu's residual network for small images with new weights."""
    from danlu.models.vision import small_resnet as residual

    counts = options.blocks if isinstance(options.blocks, tuple) else (options.blocks,) * len(options.widths)
    network = residual.SmallResNetNetwork(
        inputs.channels,
        outputs,
        options.stem,
        options.widths,
        counts,
        residual.LayerStyle(options.normalization, options.activation),
        options.dropout,
        options.stochastic_depth,
        options.mirrored,
    )
    return NormalizedImageModel(network, inputs)


def build_timm(options: "Timm", inputs: ImageInputs, outputs: int) -> nn.Module:
    """Build timm's network of this name, with weights from a local file if given."""
    require_extra("image", options.name)
    patch_torchvision()
    import timm

    name = _require_known(options.name.removeprefix("timm:"))
    arguments: dict[str, Any] = {"num_classes": outputs, "in_chans": inputs.channels, "drop_rate": options.dropout}
    if options.stochastic_depth:
        arguments["drop_path_rate"] = options.stochastic_depth
    network = _create_network(name, inputs.size, arguments)
    if options.stochastic_depth and not any(getattr(module, "drop_prob", None) for module in network.modules()):
        raise ArgumentError(f"model.stochastic_depth: {name} has no blocks that can be skipped; leave it out")
    if options.normalization is not None:
        if options.pretrained is not None:
            raise ArgumentError("model.normalization: pretrained weights need the network's own; leave one of them out")
        replace_batch_norms(network, options.normalization, name)
    config = timm.get_pretrained_cfg(name)
    if options.pretrained is not None:
        load_backbone(network, read_weights(Path(options.pretrained)), _classifier_names(config), name)
        _init_small_classifier(network, _classifier_names(config))
    built = NormalizedImageModel(network, inputs, tuple(f"network.{head}" for head in _classifier_names(config)))
    built.norms_replaced = options.normalization not in (None, "batch")
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
            raise ArgumentError(f"model.stochastic_depth: {name} cannot skip blocks; leave it out") from error
    try:
        return timm.create_model(name, **arguments)  # most accept any size
    except TypeError as error:
        if "drop_path_rate" in str(error):
            raise ArgumentError(f"model.stochastic_depth: {name} cannot skip blocks; leave it out") from error
        raise


def pretrained_format(options: "Timm") -> ImageFormat:
    """Return size, mean and standard deviation that the weights expect.

    They come from the weights' own configuration if it has them, else from timm's for this name.
    """
    own = image_format(read_config(Path(options.pretrained))) if options.pretrained else None
    if own is not None:
        return own
    require_extra("image", options.name)
    patch_torchvision()
    import timm

    config = timm.get_pretrained_cfg(_require_known(options.name.removeprefix("timm:")))
    if config is None:
        raise ArgumentError(f"model.name: timm has no configuration of pretrained weights for {options.name!r}")
    return ImageFormat(size=config.input_size[-1], mean=config.mean, std=config.std)


def _require_known(name: str) -> str:
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise ArgumentError(f"model.name: timm has no model {name!r}{_nearest_of(name, timm.list_models())}")
    return name


def _nearest_of(name: str, models: list[str]) -> str:
    near = suggestion(name, models).split(" (allowed")[0]
    return f"{near} (of {len(models)} models; `timm.list_models()` lists them)"


def write_timm(network: nn.Module, folder: Path) -> None:
    """Write a network in timm's format; `timm.create_model("local-dir:FOLDER", pretrained=True)` loads it.

    Args:
        network: as built by `build_timm`; trained.
        folder: receives model.safetensors and config.json.

    Raises:
        ArgumentError: its normalization was replaced, which timm's format cannot express.
    """
    patch_torchvision()
    from timm.models import save_for_hf

    assert isinstance(network, NormalizedImageModel)
    inner: Any = network.network
    if network.norms_replaced:
        raise ArgumentError("model.normalization: timm's format cannot describe a network with another normalization")
    inputs = network.inputs
    wanted = {"input_size": (inputs.channels, inputs.size, inputs.size), "mean": inputs.mean, "std": inputs.std}
    save_for_hf(inner, str(folder), data_config=wanted, safe_serialization=True)


def read_timm(folder: Path, inputs: ImageInputs) -> nn.Module:
    """Load a folder written by `write_timm` by timm; the network takes danlu's images."""
    patch_torchvision()
    import timm

    return NormalizedImageModel(timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True), inputs)
