"""List the models a recipe may name, with parameters and FLOPs at a typical input.

Figures are counted once and cached, until danlu's code or a library changes.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.cache import cached_dir
from danlu.artifacts.environment import installed_versions
from danlu.artifacts.files import read_json, write_json
from danlu.core.component import components
from danlu.core.imports import missing_packages
from danlu.core.seeds import Seed
from danlu.data.kind import TypicalSample
from danlu.data.kinds.table import get_kind, iter_kinds
from danlu.data.specs import ImageInputs, InputSpec, TabularInputs, TextInputs, TokenInputs, require_inputs
from danlu.errors import ArtifactError
from danlu.models.base import HasPresets, Model, SelfFittingModel

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BYTES_PER_WEIGHT = 4  # per weight in fp32
FIGURES_FILE = "figures.json"  # of one model, in the cache folder


@dataclass(frozen=True)
class ModelInfo:
    """Describe a model that a recipe may name.

    Attributes:
        name: as `model.name`.
        size: the preset, for models with presets; else empty.
        takes: the kind of data.
        parameters: number of parameters at the typical input; None for models whose size depends on the data.
        megabytes: size of the parameters in fp32.
        flops: of the forward pass of one sample; a multiply-add counts as two. None where it cannot be counted.
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
    for name, typical in _names(like):
        family = components("model")[name.split(":")[0]]
        assert issubclass(family, Model)
        absent = next(
            (extra for extra in (family.extra, family.extra_to_train) if extra and missing_packages(extra)), ""
        )
        sizes = ("small", "base", "large") if issubclass(family, HasPresets) else ("",)
        for size in sizes:
            options = family.model_validate({"name": name, **({"size": size} if size else {})})
            at, parameters, flops = _figures(options, typical, absent)
            weight = None if parameters is None else parameters * BYTES_PER_WEIGHT / 1e6
            yield ModelInfo(name, size, typical.listed_as, parameters, weight, flops, at, absent)


def _figures(options: Model, typical: TypicalSample, absent: str) -> tuple[str, int | None, int | None]:
    """Return the typical input, the number of parameters and the FLOPs per sample, cached.

    Networks are built on the meta device; with the imports of their libraries this still takes ten seconds in all.

    Args:
        absent: the missing extra; if given, nothing is counted.
    """
    inputs = _typical_input(options, typical)
    at = f"{inputs.size} x {inputs.size} pixels" if isinstance(inputs, ImageInputs) else typical.description
    if absent or isinstance(options, SelfFittingModel):
        return at, None, None

    def counted() -> tuple[str, int | None, int | None]:
        weights, flops = _count(_with_eager_attention(options), inputs, typical.outputs)
        return at, weights, flops

    if not type(options).__module__.startswith("danlu."):  # a change in another package's code would go unnoticed
        return counted()
    made_from: list[Any] = [installed_versions(), _digest_of_code(), options.model_dump(mode="json")]
    made_from += [inputs.model_dump(mode="json"), typical.outputs]
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


def listed_kinds() -> list[str]:
    """Return the names by which the list calls the kinds of data, tables first."""
    return [kind.typical.listed_as for kind in reversed(list(iter_kinds())) if kind.typical is not None]


def _names(like: str | None) -> Iterator[tuple[str, TypicalSample]]:
    """Yield model names with a typical sample of the kind of data that each takes."""
    listed: list[tuple[str, str]] = []
    for name, family in components("model").items():
        assert issubclass(family, Model)
        listed += family.catalog(name, like)
    for name, kind in listed:
        typical = get_kind(kind).typical
        if typical is not None and (like is None or fnmatchcase(name, like) or name == like):
            yield name, typical


def _typical_input(options: Model, typical: TypicalSample) -> InputSpec:
    """Return the typical input; for images of the size that the model is made for."""
    size = options.typical_image_size()
    return typical.inputs if size is None else typical.inputs.model_copy(update={"size": size})


def _with_eager_attention(options: Model) -> Model:
    """Use eager attention: same FLOPs, and its masks work on the meta device."""
    return options.model_copy(update={"attention": "eager"}) if hasattr(options, "attention") else options


def _count(options: Model, spec: InputSpec, outputs: int) -> tuple[int | None, int | None]:
    """Return parameters and FLOPs per sample; None for what cannot be counted.

    Counts on the meta device, or on the CPU for networks that need tensor values.
    """
    import torch

    parameters = None
    for device in (torch.device("meta"), torch.device("cpu")):
        try:
            network, sample = _build_on(device, options, spec, outputs)
            parameters = sum(weight.numel() for weight in network.parameters())
            return parameters, _flops(network, sample)
        # What torch's counter and a library's network say to one another is theirs: one model must not end the list.
        except (NotImplementedError, RuntimeError, AssertionError, TypeError, ValueError, AttributeError):
            continue
    return parameters, None


def _build_on(
    device: "torch.device", options: Model, spec: InputSpec, outputs: int
) -> tuple["torch.nn.Module", dict[str, "Tensor"]]:
    import torch

    torch.manual_seed(Seed(0).derive("weights").value)
    with device:
        return options.build(spec, outputs).eval(), _zero_sample(spec)


def _flops(network: "torch.nn.Module", sample: dict[str, "Tensor"]) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(**sample)
    return int(counter.get_total_flops())


def _zero_sample(spec: InputSpec) -> dict[str, "Tensor"]:
    """Create one sample of zeros on torch's default device."""
    import torch

    if isinstance(spec, TabularInputs):
        codes = torch.zeros(1, len(spec.cardinalities), dtype=torch.int64)
        return {"numeric": torch.zeros(1, spec.numeric), "categories": codes}
    if isinstance(spec, ImageInputs):
        return {"image": torch.zeros(1, spec.channels, spec.size, spec.size, dtype=torch.uint8)}
    ids = torch.zeros(1, require_inputs(spec, TokenInputs, "the list of models").longest, dtype=torch.int64)
    # Without a mask all tokens of an encoder attend to each other; a decoder would check for packed documents.
    return {"input_ids": ids} if isinstance(spec, TextInputs) else {"input_ids": ids, "attention_mask": ids + 1}
