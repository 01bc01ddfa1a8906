"""`danlu models`: the models a recipe may name, with what each weighs and computes at a usual input."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.artifacts.cache import kept
from danlu.artifacts.environment import versions
from danlu.artifacts.files import read_json, write_json
from danlu.core.component import components
from danlu.core.errors import ArgumentError, ArtifactError
from danlu.core.extras import missing, require
from danlu.core.seeds import Seed
from danlu.data.specs import CorpusInputs, ImageInputs, InputSpec, TabularInputs, TextInputs
from danlu.models import base
from danlu.models.base import FitsItself, Model, Sized

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BYTES = 4  # of a weight in fp32
FIGURES = "figures.json"  # of one model, in the cache
SIDE = 224  # pixels, of networks for photographs
SMALL_SIDE = 32  # of those for small images
IMAGE = ImageInputs(channels=3, size=SIDE, mean=(0.5,) * 3, std=(0.5,) * 3)
EDGES = tuple(-2 + index / 8 for index in range(33))  # of the bins of a standardised number
# A table of twenty numbers and four categories of ten, a text of 128 tokens, a block of 256.
USUAL: dict[str, InputSpec] = {
    "tabular": TabularInputs(numeric=20, cardinalities=(10,) * 4, edges=(EDGES,) * 20),
    "image": IMAGE,
    "text": TextInputs(vocabulary=30_000, longest=128, pad=0),
    "corpus": CorpusInputs(vocabulary=32_000, longest=256, end=0, packed=False),
}
WORDS = {"tabular": "20 numbers, 4 categories", "text": "128 tokens", "corpus": "256 tokens"}
OUTPUTS = {"tabular": 2, "image": 10, "text": 2, "corpus": 32_000}
# Of the families that are named by a pattern: the architectures that most begin with.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "timm": (
        *("resnet18", "resnet50", "mobilenetv3_large_100", "tf_efficientnet_lite0", "efficientnet_b0"),
        *("convnext_tiny", "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224"),
    ),
    "text": ("bert", "roberta", "electra"),
    "corpus": ("llama", "gpt2", "qwen2"),
}
KINDS = {"tabular": "table", "image": "images", "text": "texts", "corpus": "language"}


@dataclass(frozen=True)
class Known:
    """A model that a recipe may name.

    Attributes:
        name: as `model.name`.
        size: the preset that the figures are of, where there are presets.
        takes: the kind of data.
        parameters: with new weights at the usual input; None of models that grow as the data has it.
        megabytes: of those in fp32.
        flops: of a forward pass of one sample, a multiplication and an addition counted as two.
        at: what the usual input is.
        extra: that is needed and not installed; empty where nothing is.
    """

    name: str
    size: str
    takes: str
    parameters: int | None
    megabytes: float | None
    flops: int | None
    at: str
    extra: str


def models(task: str | None = None, like: str | None = None) -> list[Known]:
    """The models for a kind of data, or all.

    Args:
        task: table, images, texts or language.
        like: a name or glob, as `timm:resnet*`; of timm's models all are looked at, elsewhere those listed.

    Raises:
        ArgumentError: there is no such kind, or nothing is like that.
        MissingExtra: it is about timm's models, and timm is not installed.
    """
    if task is not None and task not in KINDS.values():
        raise ArgumentError(f"--task {task}: say one of {', '.join(KINDS.values())}")
    found = [known for known in _all(like) if task in (None, known.takes)]
    if not found:
        raise ArgumentError(f"no model is like {like!r}; `danlu models` lists them")
    return found


def _all(like: str | None) -> Iterator[Known]:
    for name, kind in _names(like):
        family = components("model")[name.split(":")[0]]
        assert issubclass(family, Model)
        absent = next((extra for extra in (family.extra, family.extra_to_train) if extra and missing(extra)), "")
        sizes = ("small", "base", "large") if issubclass(family, Sized) else ("",)
        for size in sizes:
            options = family.model_validate({"name": name, **({"size": size} if size else {})})
            assert isinstance(options, Model)
            at, parameters, flops = _figures(options, kind, absent)
            weight = None if parameters is None else parameters * BYTES / 1e6
            yield Known(name, size, KINDS[kind], parameters, weight, flops, at, absent)


def _figures(options: Model, kind: str, absent: str) -> tuple[str, int | None, int | None]:
    """What the usual input is, weights, and operations of one sample; counted once and kept.

    Networks are built on tensors without values, and still that and the libraries' import take ten seconds for all.

    Args:
        absent: the extra that is not installed, without which nothing is counted.
    """
    if absent or isinstance(options, FitsItself):
        return _at(options.name, kind), None, None

    def counted() -> tuple[str, int, int]:
        weights, flops = _counted(_with_plain_attention(options), _usual(options.name, kind), OUTPUTS[kind])
        return _at(options.name, kind), weights, flops

    if not type(options).__module__.startswith("danlu."):  # nothing says when another package's code has changed
        return counted()
    made_from = [versions(), _digest_of_code(), options.model_dump(mode="json"), kind]
    try:
        folder = kept("figures", made_from, lambda folder: write_json(folder / FIGURES, counted()))
    except ArtifactError:  # where nothing can be kept, it is only slower
        return counted()
    at, weights, flops = read_json(folder / FIGURES)
    return at, weights, flops


@cache
def _digest_of_code() -> str:
    """SHA-256 of what builds and counts models: this file and the folder of models."""
    digest = hashlib.sha256()
    for file in (Path(__file__), *sorted(Path(base.__file__).parent.rglob("*.py"))):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _at(name: str, kind: str) -> str:
    """The usual input in words."""
    spec = _usual(name, kind)
    return f"{spec.size} x {spec.size} pixels" if isinstance(spec, ImageInputs) else WORDS[kind]


def _names(like: str | None) -> Iterator[tuple[str, str]]:
    """Names with the kind of data that each takes."""
    listed: list[tuple[str, str]] = []
    for name, family in components("model").items():
        assert issubclass(family, Model)
        if name == "timm":
            listed += [(f"timm:{rest}", "image") for rest in _timms(like)]
        elif name == "hf":
            listed += [(f"hf:{rest}", kind) for kind in ("text", "corpus") for rest in EXAMPLES[kind]]
        elif name != "own":
            listed.append((name, family.kinds[0]))
    yield from ((name, kind) for name, kind in listed if like is None or fnmatchcase(name, like) or name == like)


def _timms(like: str | None) -> tuple[str, ...]:
    if like is None or not like.startswith("timm:"):
        return EXAMPLES["timm"]
    require("image", f"--like {like}:")
    from danlu.core.torchvision import mend_torchvision

    mend_torchvision()
    import timm

    return tuple(timm.list_models(like.removeprefix("timm:")))


def _usual(name: str, kind: str) -> InputSpec:
    """What the figures are at: of timm's models the size that their weights were trained at."""
    if name == "small-resnet":
        return IMAGE.model_copy(update={"size": SMALL_SIDE})
    if not name.startswith("timm:") or missing("image"):
        return USUAL[kind]
    from danlu.models.table import Timm
    from danlu.models.vision import pretrained_format

    return IMAGE.model_copy(update={"size": pretrained_format(Timm(name=name)).size})


def _with_plain_attention(options: Model) -> Model:
    """The same products as with fused attention, whose masks ask for values."""
    return options.model_copy(update={"attention": "eager"}) if hasattr(options, "attention") else options


def _counted(options: Model, spec: InputSpec, outputs: int) -> tuple[int, int]:
    """Weights, and operations of one sample.

    Counted on tensors that have shapes alone, or where a network asks for values, by computing a sample.
    """
    import torch

    try:
        return _counted_on(torch.device("meta"), options, spec, outputs)
    except (NotImplementedError, RuntimeError):
        return _counted_on(torch.device("cpu"), options, spec, outputs)


def _counted_on(device: "torch.device", options: Model, spec: InputSpec, outputs: int) -> tuple[int, int]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    torch.manual_seed(Seed(0).derive("weights").value)
    with device:
        network = options.build(spec, outputs).eval()
        sample = _sample(spec)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(**sample)
    return sum(weight.numel() for weight in network.parameters()), int(counter.get_total_flops())


def _sample(spec: InputSpec) -> dict[str, "Tensor"]:
    """One sample of zeros, on torch's present device."""
    import torch

    if isinstance(spec, TabularInputs):
        codes = torch.zeros(1, len(spec.cardinalities), dtype=torch.int64)
        return {"numeric": torch.zeros(1, spec.numeric), "categories": codes}
    if isinstance(spec, ImageInputs):
        return {"image": torch.zeros(1, spec.channels, spec.size, spec.size, dtype=torch.uint8)}
    ids = torch.zeros(1, spec.longest, dtype=torch.int64)
    # Without a mask an encoder's tokens all see one another; a decoder would look whether documents are packed.
    return {"input_ids": ids} if isinstance(spec, TextInputs) else {"input_ids": ids, "attention_mask": ids + 1}
