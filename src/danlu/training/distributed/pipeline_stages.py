"""Pipeline stages of a transformer. In: the whole model. Out: a module per stage.

Parts that belong to other stages are replaced by placeholders without weights, so weight names stay those of the whole
model and a checkpoint loads in any other layout. Every stage gets the whole batch's token ids and masks and recomputes
positions and causal masks from them; from the previous stage it gets hidden states alone.
"""

import copy
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from danlu.errors import ArgumentError
from danlu.models.text.chunked_loss import DeferredLogits
from danlu.models.text.hf_wrapper import HFModelWrapper

# Where transformers architectures keep their parts, below the model without its head.
EMBEDDINGS = ("embed_tokens", "embeddings")
BLOCKS = ("layers", "encoder.layer", "transformer.layer")
AFTER_BLOCKS = ("norm", "final_norm", "pooler")
SUPPORTED_MODELS = "llama, mistral, qwen2, qwen3, bert, roberta, distilbert"  # and all that are built like them
ALTERNATIVE = "use training.parallel.data or .shard instead of .pipeline"
TOLERANCE = 1e-4  # of logits; rounding is far below it
PROBE_TOKENS = 8


class ReceiveEmbeddings(nn.Module):
    """Replace the embeddings: return the hidden states received from the previous stage."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: Tensor | None = None

    def forward(self, *given: Any, **named: Any) -> Tensor:
        """Return the received hidden states, [batch, length, width]."""
        assert self.hidden is not None, "every stage but the first needs hidden states"
        return self.hidden


class PassThrough(nn.Module):
    """Replace a block or norm of another stage: pass the input through."""

    def forward(self, hidden: Tensor, *given: Any, **named: Any) -> Tensor:
        """Return the hidden states unchanged, [batch, length, width]."""
        return hidden


class MissingHead(nn.Module):
    """Replace modules after the last block that this stage never calls."""

    def forward(self, *given: Any, **named: Any) -> Tensor:
        """Raise, since it must never be called."""
        raise AssertionError("only the last stage has a head")


PLACEHOLDERS = (ReceiveEmbeddings, PassThrough, MissingHead)


class Stage(HFModelWrapper):
    """Hold some blocks of a model, and embeddings or head at the ends.

    Attributes:
        index, count: stage index and number of stages.
        width: of hidden states.
    """

    def __init__(self, network: nn.Module, index: int, count: int, loss_chunk: int | None) -> None:
        super().__init__(network)
        self.loss_chunk = loss_chunk
        self.index, self.count = index, count
        self.width: int = _causal_model(network).config.get_text_config().hidden_size

    def forward(  # type: ignore[override]
        self,
        hidden: Tensor | None,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor | DeferredLogits:
        """Map hidden states to hidden states, or on the last stage to logits.

        The last stage returns what the whole model's wrapper returns.

        Args:
            hidden: [batch, length, width]; None for the first stage.
            input_ids: tokens, [batch, length]; the other arguments are those of `HFModelWrapper`.
        """
        base = _causal_model(self.network).base_model
        if self.index > 0:
            received: Any = _submodule_or_none(base, _embeddings_path(base))
            received.hidden = hidden
        try:
            if self.index == self.count - 1:
                return super().forward(input_ids, attention_mask, position_ids)
            given = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
            given = {name: values for name, values in given.items() if values is not None}
            caching = {"use_cache": False} if position_ids is not None else {}
            passed: Tensor = base(**given, **caching, return_dict=True).last_hidden_state
            return passed
        finally:
            if self.index > 0:
                received.hidden = None


@dataclass(frozen=True)
class ModelParts:
    """Locate the parts of a model.

    Attributes:
        embeddings: the module that computes the first hidden states.
        blocks: the repeated blocks.
        final_layers: norm or pooler after the blocks, if any.
        output_heads: the modules that compute logits from that.
    """

    embeddings: nn.Module
    blocks: list[nn.Module]
    final_layers: list[nn.Module]
    output_heads: list[nn.Module]


def split_into_stages(model: nn.Module, count: int) -> list[range]:
    """Assign blocks to `count` stages and check that the model can be split.

    If they do not divide evenly, the last stage gets fewer, since the head has a cost too.

    Args:
        model: from `build_transformer`, before its precision is changed. It is called with a few tokens.

    Raises:
        ArgumentError: the model cannot be split as asked; the message says why and what would work.
    """
    whole = _require_transformer(model)
    parts = _find_parts(whole)
    held = _assign_blocks(len(parts.blocks), count)
    _check_no_shared_weights(whole, parts, held)
    _check_passes_hidden_states(whole, parts)
    _check_same_logits(whole, count)
    return held


def build_stage(model: nn.Module, index: int, count: int) -> Stage:
    """Build the module of one stage, sharing weights with the model.

    The model is left as it is and can be dropped.

    Args:
        model: one that `split_into_stages` accepts.
        index: of the stage, from 0.
        count: of all stages, the same on every process.
    """
    whole = _require_transformer(model)
    parts = _find_parts(whole)
    return _build_stage(whole, parts, _assign_blocks(len(parts.blocks), count)[index], index, count)


class MergedStages(nn.Module):
    """Merge one process's stages under the whole model's names; it is never called.

    Args:
        stages: the stages' modules, whose weights it shares.
    """

    def __init__(self, stages: list[nn.Module]) -> None:
        super().__init__()
        self._stages = tuple(stages)
        for name, child in _merge_modules(stages).named_children():
            self.add_module(name, child)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode of all stages."""
        for stage in self._stages:
            stage.train(mode)
        return super().train(mode)


def merge_stages(stages: list[nn.Module]) -> nn.Module:
    """Return a process's stages as one module with the whole model's names.

    A single stage is that already.
    """
    return stages[0] if len(stages) == 1 else MergedStages(stages)


def _merge_modules(modules: list[nn.Module]) -> nn.Module:
    """Merge one submodule across stages; recurse where several stages hold real modules."""
    real = [module for module in modules if not isinstance(module, PLACEHOLDERS)]
    if len(real) < 2 or all(next(module.children(), None) is None for module in real):
        return (real or modules)[0]
    merged = nn.Module()
    for name in dict.fromkeys(name for module in real for name, _ in module.named_children()):
        merged.add_module(name, _merge_modules([module.get_submodule(name) for module in real]))
    return merged


def _assign_blocks(blocks: int, count: int) -> list[range]:
    if blocks < count:
        raise ArgumentError(
            f"training.parallel.pipeline: {blocks} blocks do not make {count} stages (schedules interleaved and "
            f"zero-bubble have two stages a process); take at most {blocks} stages or a model with more blocks",
            code="DL603",
        )
    least, more = divmod(blocks, count)
    # Spare blocks go to the middle stages first, then to the first, which also has the embeddings.
    order = [*range(1, count - 1), 0, count - 1]
    sizes = [least + (stage in order[:more]) for stage in range(count)]
    return [range(sum(sizes[:stage]), sum(sizes[: stage + 1])) for stage in range(count)]


def _require_transformer(model: nn.Module) -> HFModelWrapper:
    if isinstance(model, HFModelWrapper):
        return model
    raise ArgumentError(
        f"training.parallel.pipeline: only text and language models (hf:…) are cut into stages; {ALTERNATIVE}",
        code="DL603",
    )


def _find_parts(model: HFModelWrapper) -> ModelParts:
    causal = _causal_model(model.network)
    base = getattr(causal, "base_model", causal)
    blocks = next(
        (found for path in BLOCKS if isinstance(found := _submodule_or_none(base, path), nn.ModuleList)), None
    )
    if base is causal or blocks is None or _embeddings_path(base) is None:
        raise _error(causal, "its embeddings and blocks are not where they are known to be")
    after = [found for path in AFTER_BLOCKS if (found := _submodule_or_none(base, path)) is not None]
    heads = [child for child in causal.children() if child is not base]
    return ModelParts(_submodule_or_none(base, _embeddings_path(base)), list(blocks), after, heads)


def _build_stage(model: HFModelWrapper, parts: ModelParts, blocks: range, index: int, count: int) -> Stage:
    """Copy the model with the weights of one stage shared and placeholders elsewhere."""
    first, last = index == 0, index == count - 1
    replaced: dict[int, Any] = {
        id(block): PassThrough() for number, block in enumerate(parts.blocks) if number not in blocks
    }
    if not first:
        replaced[id(parts.embeddings)] = ReceiveEmbeddings()
    if not last:
        replaced |= {id(module): PassThrough() for module in parts.final_layers}
        replaced |= {id(module): MissingHead() for module in parts.output_heads}
    shared: dict[int, Any] = {id(weight): weight for weight in model.parameters()}
    network = copy.deepcopy(model.network, replaced | shared)
    return Stage(network, index, count, model.loss_chunk).train(model.training)


def _check_no_shared_weights(model: HFModelWrapper, parts: ModelParts, assignment: list[range]) -> None:
    """Raise ArgumentError if two stages would train the same weight.

    Each would have a part of its gradient.
    """
    count, causal = len(assignment), _causal_model(model.network)
    seen: set[int] = set()
    for index in range(count):
        for name, weight in _build_stage(model, parts, assignment[index], index, count).named_parameters():
            if id(weight) not in seen:
                seen.add(id(weight))
                continue
            if weight is getattr(causal.get_output_embeddings(), "weight", None):
                raise ArgumentError(
                    "training.parallel.pipeline: the first and the last stage would share the weights of embeddings; "
                    f"say tie_word_embeddings: false in model.config, or {ALTERNATIVE}",
                    code="DL603",
                )
            raise _error(causal, f"more than one stage needs {name}")


@torch.no_grad()
def _check_passes_hidden_states(model: HFModelWrapper, parts: ModelParts) -> None:
    """Raise ArgumentError unless an empty stage returns exactly its input, in training too."""
    probe = _build_stage(model, parts, range(0), 1, 3).train()
    weight = next(model.parameters())
    hidden = torch.linspace(-1, 1, PROBE_TOKENS * probe.width, device=weight.device, dtype=weight.dtype)
    hidden = hidden.view(1, PROBE_TOKENS, probe.width)
    try:
        same = torch.equal(probe(hidden, _probe_tokens(weight.device)), hidden) or weight.is_meta
    except (AttributeError, RuntimeError, TypeError, ValueError):
        same = False
    if not same:
        raise _error(_causal_model(model.network), "it does more with hidden states than pass them from block to block")


@torch.no_grad()
def _check_same_logits(model: HFModelWrapper, count: int) -> None:
    """Raise ArgumentError unless the stages reproduce the whole model's logits."""
    device = next(model.parameters()).device
    if device.type == "meta":
        return
    tokens, training = _probe_tokens(device), model.training
    model.eval()
    try:
        hidden: Any = None
        for index in range(count):
            hidden = build_stage(model, index, count)(hidden, tokens)
        whole: Any = model(tokens)
    finally:
        model.train(training)
    found = zip(_tensors(hidden), _tensors(whole), strict=True)
    if not all(torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE) for one, other in found):
        raise _error(_causal_model(model.network), "its stages compute other logits than the whole model")


def _tensors(logits: Tensor | DeferredLogits) -> list[Tensor]:
    return [logits.hidden] if isinstance(logits, DeferredLogits) else [logits]


def _probe_tokens(device: torch.device) -> Tensor:
    return torch.arange(1, PROBE_TOKENS + 1, device=device)[None]


def _error(causal: nn.Module, reason: str) -> ArgumentError:
    kind = getattr(getattr(causal, "config", None), "model_type", type(causal).__name__)
    return ArgumentError(
        f"training.parallel.pipeline: hf:{kind} cannot be cut into stages: {reason}; {ALTERNATIVE}, or a model built "
        f"like {SUPPORTED_MODELS}",
        code="DL603",
    )


def _causal_model(network: Any) -> Any:
    """Return transformers' model with its head, unwrapping adapters."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def _embeddings_path(base: nn.Module) -> str | None:
    return next((path for path in EMBEDDINGS if _submodule_or_none(base, path) is not None), None)


def _submodule_or_none(module: Any, path: str | None) -> Any:
    """Return the submodule at a dotted path, or None."""
    for name in path.split(".") if path else ():
        module = getattr(module, name, None)
    return module
