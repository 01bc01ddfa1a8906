"""Image networks: danlu's own small one and timm's. They take uint8 pixels and normalise them themselves."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from danlu.core.errors import ArgumentError
from danlu.core.extras import require
from danlu.core.names import suggestion
from danlu.core.torchvision import mend_torchvision
from danlu.data.place import ImageFormat
from danlu.data.specs import ImageInputs
from danlu.models.image_weights import format_of, load_body, read_config, read_weights
from danlu.models.normalization import replace_batch_norms
from danlu.models.parts import TaskModel

if TYPE_CHECKING:
    from danlu.models.table import SmallResNet, Timm

SMALL_STD = 0.01  # of the weights of a new classifier on a trained body


class NormalizedImages(TaskModel):
    """A network behind the normalisation that its weights were trained with.

    Attributes:
        inputs: the images it takes.
        replaced: whether its batch norms gave way to others.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, inputs: ImageInputs, head_parts: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.network = network
        self.inputs = inputs
        self.head_parts = head_parts
        self.replaced = False
        # Not persistent: bundle.json has them, and weights would keep them twice.
        self.register_buffer("mean", torch.tensor(inputs.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(inputs.std).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """image: [batch, channels, height, width] uint8 -> [batch, outputs]."""
        logits: Tensor = self.network(self._normalized(image))
        return logits

    def features(self, image: Tensor) -> Tensor:
        """What timm's network gives its classifier: [batch, channels, height, width] uint8 -> [batch, width]."""
        network: Any = self.network
        pooled: Tensor = network.forward_head(network.forward_features(self._normalized(image)), pre_logits=True)
        return pooled

    @property
    def classifier(self) -> Any:
        """timm's classifier, which takes features."""
        network: Any = self.network
        return network.get_classifier()

    @property
    def last_layer(self) -> Any:
        """What makes logits of features; a network with two such classifiers has none."""
        network: Any = self.network
        return network.get_classifier() if hasattr(network, "get_classifier") else network.classifier

    def _normalized(self, image: Tensor) -> Tensor:
        return (image.float() / 255.0 - self.mean) / self.std


def build_small_resnet(options: "SmallResNet", inputs: ImageInputs, outputs: int) -> nn.Module:
    """Build danlu's residual network for small images, with new weights."""
    from danlu.models import residual

    counts = options.blocks if isinstance(options.blocks, tuple) else (options.blocks,) * len(options.widths)
    network = residual.SmallResNet(
        inputs.channels,
        outputs,
        options.stem,
        options.widths,
        counts,
        residual.Style(options.normalization, options.activation),
        options.dropout,
        options.stochastic_depth,
        options.mirrored,
    )
    return NormalizedImages(network, inputs)


def build_timm(options: "Timm", inputs: ImageInputs, outputs: int) -> nn.Module:
    """Build timm's network of that name, with weights from a local file where one is given."""
    require("image", options.name)
    mend_torchvision()
    import timm

    name = _known(options.name.removeprefix("timm:"))
    arguments: dict[str, Any] = {"num_classes": outputs, "in_chans": inputs.channels, "drop_rate": options.dropout}
    if options.stochastic_depth:
        arguments["drop_path_rate"] = options.stochastic_depth
    network = _created(name, inputs.size, arguments)
    if options.stochastic_depth and not any(getattr(module, "drop_prob", None) for module in network.modules()):
        raise ArgumentError(f"model.stochastic_depth: {name} has no blocks that can be left out; leave it out")
    if options.normalization is not None:
        if options.pretrained is not None:
            raise ArgumentError("model.normalization: pretrained weights need the network's own; leave one of them out")
        replace_batch_norms(network, options.normalization, name)
    config = timm.get_pretrained_cfg(name)
    if options.pretrained is not None:
        load_body(network, read_weights(Path(options.pretrained)), _classifiers(config), name)
        _begin_small(network, _classifiers(config))
    built = NormalizedImages(network, inputs, tuple(f"network.{head}" for head in _classifiers(config)))
    built.replaced = options.normalization not in (None, "batch")
    return built


def _begin_small(network: nn.Module, classifiers: tuple[str, ...]) -> None:
    """Let a new classifier on a trained body begin near nothing.

    What timm draws for EfficientNets grows as classes get fewer: of a dozen, first losses are several times that of a
    guess, and the body is shaken before the classifier has learned.
    """
    for name in classifiers:
        layer: Any = network.get_submodule(name)
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.normal_(layer.weight, std=SMALL_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _classifiers(config: object) -> tuple[str, ...]:
    """The names of a network's classifiers: one, or two where it was distilled."""
    found = getattr(config, "classifier", None) or ()
    return (found,) if isinstance(found, str) else tuple(found)


def _created(name: str, size: int, arguments: dict[str, Any]) -> nn.Module:
    """timm's network. What its class does not take, timm tells by a TypeError that names the argument."""
    import timm

    try:
        return timm.create_model(name, img_size=size, **arguments)
    except TypeError as error:
        if "drop_path_rate" in str(error):
            raise ArgumentError(f"model.stochastic_depth: {name} cannot leave out blocks; leave it out") from error
    try:
        return timm.create_model(name, **arguments)  # most take any size
    except TypeError as error:
        if "drop_path_rate" in str(error):
            raise ArgumentError(f"model.stochastic_depth: {name} cannot leave out blocks; leave it out") from error
        raise


def pretrained_format(options: "Timm") -> ImageFormat:
    """Size, mean and deviation that the weights want: by their own configuration, else by timm's for this name."""
    own = format_of(read_config(Path(options.pretrained))) if options.pretrained else None
    if own is not None:
        return own
    require("image", options.name)
    mend_torchvision()
    import timm

    config = timm.get_pretrained_cfg(_known(options.name.removeprefix("timm:")))
    if config is None:
        raise ArgumentError(f"model.name: timm keeps no weights' configuration for {options.name!r}")
    return ImageFormat(size=config.input_size[-1], mean=config.mean, std=config.std)


def _known(name: str) -> str:
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise ArgumentError(f"model.name: timm has no model {name!r}{_nearest_of(name, timm.list_models())}")
    return name


def _nearest_of(name: str, models: list[str]) -> str:
    near = suggestion(name, models).split(" (allowed")[0]
    return f"{near} (of {len(models)} models; `timm.list_models()` lists them)"


def write_timm(network: nn.Module, folder: Path) -> None:
    """Write a network as timm keeps one: `timm.create_model("local-dir:FOLDER", pretrained=True)` loads it.

    Args:
        network: as `build_timm` made it; trained.
        folder: gets model.safetensors and config.json.

    Raises:
        ArgumentError: its normalization was replaced, which timm's description of a network cannot say.
    """
    mend_torchvision()
    from timm.models import save_for_hf

    assert isinstance(network, NormalizedImages)
    inner: Any = network.network
    if network.replaced:
        raise ArgumentError("model.normalization: timm builds this network with its own normalization alone")
    inputs = network.inputs
    wanted = {"input_size": (inputs.channels, inputs.size, inputs.size), "mean": inputs.mean, "std": inputs.std}
    save_for_hf(inner, str(folder), data_config=wanted, safe_serialization=True)


def read_timm(folder: Path, inputs: ImageInputs) -> nn.Module:
    """timm's network from a folder that `write_timm` wrote, read by timm; images as danlu gives them."""
    mend_torchvision()
    import timm

    return NormalizedImages(timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True), inputs)
