"""List the models a recipe may name, with parameters and FLOPs at a typical input.

Figures are counted once and cached, until danlu's code or a library changes.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.artifacts.cache import cached_dir
from danlu.artifacts.environment import installed_versions
from danlu.artifacts.files import read_json, write_json
from danlu.core.component import components
from danlu.core.imports import missing_packages
from danlu.core.seeds import Seed
from danlu.data.specs import CorpusInputs, ImageInputs, InputSpec, TabularInputs, TextInputs
from danlu.errors import ArtifactError
from danlu.models.base import HasPresets, Model, SelfFittingModel

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BYTES_PER_WEIGHT = 4  # per weight in fp32


FIGURES_FILE = "figures.json"  # of one model, in the cache folder


IMAGE_SIZE = 224  # pixels, for photographs


IMAGE_INPUTS = ImageInputs(channels=3, size=IMAGE_SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)


BIN_EDGES = tuple(-2 + index / 8 for index in range(33))  # bin edges of a standardised number


# A table of twenty numbers and four categories of ten, a text of 128 tokens, a block of 256.
TYPICAL_INPUTS: dict[str, InputSpec] = {
    "tabular": TabularInputs(numeric=20, cardinalities=(10,) * 4, edges=(BIN_EDGES,) * 20),
    "image": IMAGE_INPUTS,
    "text": TextInputs(vocabulary=30_000, longest=128, pad=0),
    "corpus": CorpusInputs(vocabulary=32_000, longest=256, end=0, packed=False),
}


INPUT_DESCRIPTIONS = {"tabular": "20 numbers, 4 categories", "text": "128 tokens", "corpus": "256 tokens"}


OUTPUTS = {"tabular": 2, "image": 10, "text": 2, "corpus": 32_000}


TASK_NAMES = {"tabular": "table", "image": "images", "text": "texts", "corpus": "language"}


@dataclass(frozen=True)
class ModelInfo:
    """Describe a model that a recipe may name.

    Attributes:
        name: as `model.name`.
        size: the preset, for models with presets; else empty.
        takes: the kind of data.
        parameters: number of parameters at the typical input; None for models whose size depends on the data.
        megabytes: size of the parameters in fp32.
        flops: of the forward pass of one sample; a multiply-add counts as two.
        at: description of the typical input.
        extra: the missing extra that it needs; empty if nothing is missing.
    """

    name: str
    size: str
    takes: str
    parameters: int | None
    megabytes: float | None
    flops: int | None
    at: str
    extra: str


def iter_models(like: str | None) -> Iterator[ModelInfo]:
    """Yield the models whose name matches `like`, a name or glob; all if None."""
    for name, kind in _names(like):
        family = components("model")[name.split(":")[0]]
        assert issubclass(family, Model)
        absent = next(
            (extra for extra in (family.extra, family.extra_to_train) if extra and missing_packages(extra)), ""
        )
        sizes = ("small", "base", "large") if issubclass(family, HasPresets) else ("",)
        for size in sizes:
            options = family.model_validate({"name": name, **({"size": size} if size else {})})
            assert isinstance(options, Model)
            at, parameters, flops = _figures(options, kind, absent)
            weight = None if parameters is None else parameters * BYTES_PER_WEIGHT / 1e6
            yield ModelInfo(name, size, TASK_NAMES[kind], parameters, weight, flops, at, absent)


def _figures(options: Model, kind: str, absent: str) -> tuple[str, int | None, int | None]:
    """Return the typical input, the number of parameters and the FLOPs per sample, cached.

    Networks are built on the meta device; with the imports of their libraries this still takes ten seconds in all.

    Args:
        absent: the missing extra; if given, nothing is counted.
    """
    if absent or isinstance(options, SelfFittingModel):
        return _describe_input(options, kind), None, None

    def counted() -> tuple[str, int, int]:
        weights, flops = _count(_with_eager_attention(options), _typical_input(options, kind), OUTPUTS[kind])
        return _describe_input(options, kind), weights, flops

    if not type(options).__module__.startswith("danlu."):  # a change in another package's code would go unnoticed
        return counted()
    made_from = [installed_versions(), _digest_of_code(), options.model_dump(mode="json"), kind]
    try:
        folder = cached_dir("figures", made_from, lambda folder: write_json(folder / FIGURES_FILE, counted()))
    except ArtifactError:  # without a writable cache it is only slower
        return counted()
    at, weights, flops = read_json(folder / FIGURES_FILE)
    return at, weights, flops


@cache
def _digest_of_code() -> str:
    """Compute the SHA-256 of the code that builds and counts models: the folder `danlu/models`."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _describe_input(options: Model, kind: str) -> str:
    """Describe the typical input in words."""
    spec = _typical_input(options, kind)
    return f"{spec.size} x {spec.size} pixels" if isinstance(spec, ImageInputs) else INPUT_DESCRIPTIONS[kind]


def _names(like: str | None) -> Iterator[tuple[str, str]]:
    """Yield model names with the kind of data that each takes."""
    listed: list[tuple[str, str]] = []
    for name, family in components("model").items():
        assert issubclass(family, Model)
        listed += family.catalog(name, like)
    yield from ((name, kind) for name, kind in listed if like is None or fnmatchcase(name, like) or name == like)


def _typical_input(options: Model, kind: str) -> InputSpec:
    """Return the typical input; for images of the size that the model is made for."""
    size = options.typical_image_size()
    return TYPICAL_INPUTS[kind] if size is None else IMAGE_INPUTS.model_copy(update={"size": size})


def _with_eager_attention(options: Model) -> Model:
    """Use eager attention: same FLOPs, and its masks work on the meta device."""
    return options.model_copy(update={"attention": "eager"}) if hasattr(options, "attention") else options


def _count(options: Model, spec: InputSpec, outputs: int) -> tuple[int, int]:
    """Return the number of parameters and the FLOPs per sample.

    Counts on the meta device, or on the CPU for networks that need tensor values.
    """
    import torch

    try:
        return _count_on(torch.device("meta"), options, spec, outputs)
    except (NotImplementedError, RuntimeError):
        return _count_on(torch.device("cpu"), options, spec, outputs)


def _count_on(device: "torch.device", options: Model, spec: InputSpec, outputs: int) -> tuple[int, int]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.manual_seed(Seed(0).derive("weights").value)
    with device:
        network = options.build(spec, outputs).eval()
        sample = _zero_sample(spec)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(**sample)
    return sum(weight.numel() for weight in network.parameters()), int(counter.get_total_flops())


def _zero_sample(spec: InputSpec) -> dict[str, "Tensor"]:
    """Create one sample of zeros on torch's default device."""
    import torch

    if isinstance(spec, TabularInputs):
        codes = torch.zeros(1, len(spec.cardinalities), dtype=torch.int64)
        return {"numeric": torch.zeros(1, spec.numeric), "categories": codes}
    if isinstance(spec, ImageInputs):
        return {"image": torch.zeros(1, spec.channels, spec.size, spec.size, dtype=torch.uint8)}
    ids = torch.zeros(1, spec.longest, dtype=torch.int64)
    # Without a mask all tokens of an encoder attend to each other; a decoder would check for packed documents.
    return {"input_ids": ids} if isinstance(spec, TextInputs) else {"input_ids": ids, "attention_mask": ids + 1}
