"""Pretrained weights of image networks: read from a file or folder without running code, renamed to timm's names.

Besides timm's own names, those of torchvision and EfficientNet-PyTorch (Melas-Kyriazi) are known, also inside the
wrappers that training scripts put around a state dict.
"""

import json
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from danlu.data.descriptors import ImageFormat
from danlu.errors import DataError

CONFIG = "config.json"
PREFERRED = ("model.safetensors", "pytorch_model.bin", "weights.safetensors")
ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".tar")
# Keys of the state dict inside a training checkpoint, the preferred one first.
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model_state", "model", "net")
# Prefixes that wrappers add to every name: data parallel, torch.compile, Lightning, danlu.
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "encoder.", "backbone.")
MAX_KEYS_SHOWN = 2  # keys of each kind in an error message


@dataclass(frozen=True)
class PretrainedWeights:
    """Hold tensors by name with their configuration.

    Attributes:
        file: the file they were read from.
        config: the configuration beside the weights, in timm's hub format; empty if there is none.
    """

    file: Path
    tensors: dict[str, Tensor]
    config: dict[str, Any]

    @property
    def architecture(self) -> str | None:
        """Name of their network, if the configuration has it."""
        found = self.config.get("architecture")
        return found if isinstance(found, str) else None


def find_weights(path: Path) -> Path:
    """Return the file of weights: the path itself, or the one in a folder.

    Raises:
        DataError: there is none, or there are several.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(f"model.pretrained: no such file or folder: {path}", code="DL201")
    named = [path / name for name in PREFERRED if (path / name).is_file()]
    others = [file for ending in ENDINGS for file in sorted(path.glob(f"*{ending}"))]
    if not named and len(others) != 1:
        held = f"several: {', '.join(file.name for file in others[:4])}; name one" if others else "none"
        raise DataError(
            f"model.pretrained: {path}: which file holds the weights? It has {held} ({', '.join(ENDINGS)})",
            code="DL201",
        )
    return (named or others)[0]


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration beside weights in timm's hub format; {} if there is none.

    The entries of `pretrained_cfg` are merged into the rest.
    """
    file = (path if path.is_dir() else path.parent) / CONFIG
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file}: is not JSON: {error}", code="DL272") from error
    if not isinstance(found, dict) or "architecture" not in found:
        return {}
    return {**found, **found.get("pretrained_cfg", {})}


def image_format(config: Mapping[str, Any]) -> ImageFormat | None:
    """Return the image format that a configuration states, or None."""
    size, mean, std = (config.get(key) for key in ("input_size", "mean", "std"))
    if not (size and mean and std):
        return None
    return ImageFormat(size=int(size[-1]), mean=tuple(mean), std=tuple(std))


def read_weights(path: Path) -> PretrainedWeights:
    """Read weights into CPU memory.

    Raises:
        DataError: there are none, the file is damaged, or reading it would run code.
    """
    file = find_weights(path)
    found = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    return PretrainedWeights(file, _unwrap_state_dict(found, file), read_config(path))


def _read_safetensors(file: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file}: is not a safetensors file, or is damaged: {error}", code="DL272") from error


def _read_torch(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{file}: holds more than tensors, and a pickle can run any code when it is read, so it is refused; ask "
            "its author to save model.state_dict() alone, best as safetensors",
            code="DL271",
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise DataError(
            f"{file}: is not a file of weights, or is damaged: {str(error).splitlines()[0]}", code="DL272"
        ) from error


def _unwrap_state_dict(found: Any, file: Path) -> dict[str, Tensor]:
    """Return the state dict inside a checkpoint, with wrappers' prefixes removed from its names."""
    while isinstance(found, Mapping):
        inner = next((found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    tensors = {str(key): value for key, value in found.items()} if isinstance(found, Mapping) else {}
    tensors = {key: value for key, value in tensors.items() if isinstance(value, Tensor)}
    if not tensors:
        raise DataError(f"{file}: holds no named weights, but a {type(found).__name__}", code="DL272")
    shortened = True
    while shortened:
        shortened = False
        for prefix in PREFIXES:
            if all(key.startswith(prefix) for key in tensors):
                tensors, shortened = {key.removeprefix(prefix): value for key, value in tensors.items()}, True
    return tensors


def load_backbone(network: nn.Module, weights: PretrainedWeights, classifiers: tuple[str, ...], name: str) -> None:
    """Load weights into timm's network, except the classifier's, which belongs to another task.

    Args:
        network: timm's, with its initial weights.
        weights: as read by `read_weights`.
        classifiers: names of the network's classifiers.
        name: the network's name in messages.

    Raises:
        DataError: the weights belong to another network.
    """
    own = network.state_dict()
    heads = tuple(f"{head}." for head in classifiers)
    named = _to_timm_names(weights.tensors, network)
    body = {key: value for key, value in named.items() if not key.startswith(heads)}
    unknown = [key for key in body if key not in own]
    shapes = [key for key in body if key in own and own[key].shape != body[key].shape]
    counters = "num_batches_tracked"  # absent from old files, and unused with a momentum
    absent = [key for key in own if key not in body and not key.startswith(heads) and not key.endswith(counters)]
    if unknown or shapes or absent:
        raise DataError(
            _mismatch_message(weights, name, absent, unknown, [_shape_mismatch(key, body, own) for key in shapes]),
            code="DL273",
        )
    network.load_state_dict(body, strict=False)


def read_heads(network: nn.Module, weights: PretrainedWeights, classifiers: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the weights of a file's classifiers, by timm's names."""
    heads = tuple(f"{head}." for head in classifiers)
    return {key: value for key, value in _to_timm_names(weights.tensors, network).items() if key.startswith(heads)}


def _mismatch_message(
    weights: PretrainedWeights, name: str, absent: list[str], unknown: list[str], shapes: list[str]
) -> str:
    kinds = ((absent, "absent"), (unknown, "unknown"), (shapes, "of another shape"))
    counts = [f"{len(keys)} are {what} ({', '.join(keys[:MAX_KEYS_SHOWN])})" for keys, what in kinds if keys]
    said = f"; its {CONFIG} says timm:{weights.architecture}" if weights.architecture not in (None, name) else ""
    differs = ", ".join(counts) + said
    return f"model.pretrained: {weights.file} holds the weights of another network than {name}: {differs}"


def _shape_mismatch(key: str, body: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    return f"{key} {list(body[key].shape)} in place of {list(own[key].shape)}"


def _to_timm_names(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Rename tensors to timm's names."""
    if "_conv_stem.weight" in tensors:
        return _rename_efficientnet(tensors, network)
    if any(key.startswith("features.") for key in tensors) and "features.0.0.weight" not in network.state_dict():
        return _rename_in_order(tensors, network)
    return tensors


def _rename_in_order(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Rename torchvision's EfficientNet and MobileNetV2, whose tensors have timm's order one for one.

    Tensors whose number or shapes differ (the classifier aside) are returned unchanged.
    """
    own = network.state_dict()
    if len(own) != len(tensors):
        return tensors
    pairs = list(zip(own.items(), tensors.values(), strict=True))
    alike = [expected.shape == value.shape for (_, expected), value in pairs]
    if not all(alike[:-2]):  # the last two are the classifier's weight and bias
        return tensors
    return {key: value for (key, _), value in pairs}


EFFICIENTNET: tuple[tuple[str, str], ...] = (
    ("_conv_stem.", "conv_stem."),
    ("_bn0.", "bn1."),
    ("_conv_head.", "conv_head."),
    ("_bn1.", "bn2."),
    ("_fc.", "classifier."),
)
BLOCK = re.compile(r"^_blocks\.(\d+)\.(.+)$")


def _rename_efficientnet(tensors: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Rename EfficientNet-PyTorch's tensors: blocks are numbered across stages, layers named differently."""
    stages: Any = getattr(network, "blocks", ())
    places = [f"blocks.{stage}.{block}" for stage, blocks in enumerate(stages) for block in range(len(blocks))]
    expanded = {match[1] for key in tensors if (match := BLOCK.match(key)) and match[2].startswith("_expand_conv")}
    renamed = {}
    for key, value in tensors.items():
        block = BLOCK.match(key)
        if block is not None and int(block[1]) < len(places):
            inner = _block_renamer(block[1] in expanded)
            renamed[f"{places[int(block[1])]}.{inner(block[2])}"] = value
        else:
            renamed[next((new + key[len(old) :] for old, new in EFFICIENTNET if key.startswith(old)), key)] = value
    return renamed


def _block_renamer(expands: bool) -> Callable[[str], str]:
    """Return a function that renames layers of a block.

    A block without expansion has one convolution less, so the other names move up.
    """
    names = {"_depthwise_conv": "conv_dw", "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
    if expands:
        names |= {"_expand_conv": "conv_pw", "_bn0": "bn1", "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
    else:
        names |= {"_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}

    def rename(rest: str) -> str:
        layer, _, end = rest.partition(".")
        return f"{names.get(layer, layer)}.{end}"

    return rename
