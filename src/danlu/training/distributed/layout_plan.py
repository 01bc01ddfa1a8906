"""`danlu plan --estimate`: memory and time of a decoder on other GPUs, by formulas; nothing is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from danlu.core.text import suggestion
from danlu.errors import ArgumentError
from danlu.recipe.schema import Recipe
from danlu.training.distributed.layout import MESH_DIMS
from danlu.training.distributed.layout_search import (
    ACHIEVED_FLOPS,
    DECODERS,
    GPUS,
    TOKENS_PER_STEP,
    USABLE_MEMORY,
    LayoutEstimate,
    find_fastest_layout,
)
from danlu.training.distributed.memory_estimate import PRECISION_BYTES, DecoderShape

Value = TypeVar("Value")
ASSUMPTIONS = (
    f"estimates: matrix products at {ACHIEVED_FLOPS:.0%} of the GPU's peak, {USABLE_MEMORY:.0%} of its memory used; "
    "figures are for the fullest GPU. docs/parallel.md has the formulas"
)
SUPPORTED_ARCHITECTURES = ("llama", "mistral")  # architectures that the formulas cover


@dataclass(frozen=True)
class LayoutPlan:
    """Hold the best layout on a number of GPUs; `row` is None if none fits."""

    model: str
    gpus: int
    row: LayoutEstimate | None


def estimate_layouts(
    gpus: Sequence[int],
    models: Sequence[str] = ("7b", "70b"),
    recipe: Recipe | None = None,
    card: str = "h100",
    precision: str | None = None,
    tokens: int | None = None,
) -> list[LayoutPlan]:
    """Choose the fastest layout for each number of GPUs and estimate its memory and time.

    Args:
        gpus: the numbers of GPUs to estimate.
        models: names of known shapes, if there is no recipe.
        recipe: estimate its model.
        card: name of a known GPU.
        precision: as `training.precision`; by default the recipe's, or bf16.
        tokens: per step over all GPUs; by default the recipe's batch, or four million.

    Raises:
        ArgumentError: a name is unknown, or the formulas do not cover the model.
    """
    shapes = {name: _lookup(name, DECODERS, "model") for name in models} if recipe is None else _decoder_of(recipe)
    kind = _lookup(card, GPUS, "card")
    said = precision or (recipe.training.precision if recipe else "auto")
    said = "bf16" if said == "auto" else said
    _lookup(said, PRECISION_BYTES, "precision")
    if any(count < 1 for count in gpus):
        raise ArgumentError("--estimate: give numbers of GPUs, such as 8,64,1024", code="DL402")
    found: list[LayoutPlan] = []
    for name, shape in shapes.items():
        sequences = _sequences_per_step(shape, recipe, tokens)
        found += [LayoutPlan(name, count, find_fastest_layout(shape, count, kind, said, sequences)) for count in gpus]
    return found


def table_row(plan: LayoutPlan) -> dict[str, Any]:
    """Return a row of the table: bytes in GB, of the fullest GPU."""
    row = plan.row
    if row is None:
        return {"model": plan.model, "GPUs": plan.gpus, "layout": "none fits"}
    ways = [f"{name} {getattr(row.layout, name)}" for name in MESH_DIMS if getattr(row.layout, name) > 1]
    return {
        "model": plan.model,
        "GPUs": plan.gpus,
        "layout": ", ".join(ways) or "one process",
        "sequences": f"{row.batch.microbatches} x {row.batch.sequences}",
        "checkpointing": row.recompute,
        "state GB": row.memory.state / 1e9,
        "activations GB": row.memory.activations / 1e9,
        "memory GB": row.memory.total / 1e9,
        "sent GB a step": row.traffic.total / 1e9,
        "s a step": row.times.step,
        "bubble": row.times.bubble / row.times.step,
        "tokens/s": round(row.tokens_s),
        "MFU": row.mfu,
    }


def to_dict(plan: LayoutPlan) -> dict[str, Any]:
    """Return all values for JSON, in bytes and seconds."""
    return asdict(plan)


def _decoder_of(recipe: Recipe) -> dict[str, DecoderShape]:
    """Return the shape of a recipe's language model, with transformers' defaults filled in.

    Raises:
        ArgumentError: the formulas do not cover this architecture.
    """
    from danlu.core.imports import patch_torchvision, require_extra
    from danlu.models.text.options import Transformer
    from danlu.models.text.presets import resolve_config
    from danlu.models.text.pretrained_folder import folder_config

    model = recipe.model
    if not isinstance(model, Transformer):
        raise ArgumentError(
            "--estimate is for language models only; without it `danlu plan` measures this model here", code="DL607"
        )
    require_extra("text", model.name)
    patch_torchvision()
    from transformers import AutoConfig

    name, said = folder_config(model.folder) if model.folder else (model.name.removeprefix("hf:"), {})
    if name not in SUPPORTED_ARCHITECTURES:
        raise ArgumentError(
            f"--estimate: the formulas cover {' and '.join(SUPPORTED_ARCHITECTURES)} models, not {model.name}",
            code="DL607",
        )
    if not model.folder:
        said = resolve_config(model.config, model.size, AutoConfig.for_model(name))
    config: Any = AutoConfig.for_model(name, **said)
    vocabulary = config.vocab_size if model.folder else recipe.data.vocabulary
    shape = DecoderShape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        intermediate=config.intermediate_size,
        vocabulary=vocabulary,
        sequence=recipe.data.sequence_length or config.max_position_embeddings,
        tied=bool(config.tie_word_embeddings),
    )
    return {recipe.name: shape}


def _sequences_per_step(shape: DecoderShape, recipe: Recipe | None, tokens: int | None) -> int:
    size = recipe.training.batch_size if recipe else None
    if tokens is None and isinstance(size, int):
        return size
    return max(1, (tokens or TOKENS_PER_STEP) // shape.sequence)


def _lookup(name: str, table: Mapping[str, Value], kind: str) -> Value:
    if name not in table:
        raise ArgumentError(f"no such {kind}: {name}{suggestion(name, list(table))}", code="DL607")
    return table[name]
