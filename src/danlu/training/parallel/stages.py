"""A transformer cut into the stages of a pipeline. In: the whole model. Out: a module for each stage.

What other stages hold is replaced by stand-ins without weights, so the names of weights stay those of the whole model
and a checkpoint can be loaded in any other layout. Every stage is given the whole batch's token ids and masks, from
which positions and causal masks are computed again; of the stage before it has the hidden states alone.
"""

import copy
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from danlu.core.errors import ArgumentError
from danlu.models.chunked import ProjectedLogits
from danlu.models.transformers import Logits

# Where architectures of transformers keep their parts, below the model without its head.
EMBEDDINGS = ("embed_tokens", "embeddings")
BLOCKS = ("layers", "encoder.layer", "transformer.layer")
AFTER_BLOCKS = ("norm", "final_norm", "pooler")
KNOWN = "llama, mistral, qwen2, qwen3, bert, roberta, distilbert"  # and all that are built like them
OTHERWISE = "train it with training.parallel.data or .shard instead of .pipeline"
TOLERANCE = 1e-4  # of logits; rounding is far below it
PROBE_TOKENS = 8


class Received(nn.Module):
    """Stands in for the embeddings: gives what the stage before has sent."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: Tensor | None = None

    def forward(self, *given: Any, **named: Any) -> Tensor:
        """Returns: hidden states, [batch, length, width]."""
        assert self.hidden is not None, "a stage that is not the first is given hidden states"
        return self.hidden


class Passed(nn.Module):
    """Stands in for a block or norm of another stage: gives on what it is given."""

    def forward(self, hidden: Tensor, *given: Any, **named: Any) -> Tensor:
        """[batch, length, width] -> the same."""
        return hidden


class Absent(nn.Module):
    """Stands in for what comes after the last block, where it is not called."""

    def forward(self, *given: Any, **named: Any) -> Tensor:
        """Never called."""
        raise AssertionError("a stage that is not the last has no head")


STAND_INS = (Received, Passed, Absent)


class Stage(Logits):
    """Some blocks of a model, with its embeddings before the first of them and its head after the last.

    Attributes:
        index, count: which stage of how many.
        width: of hidden states.
    """

    def __init__(self, network: nn.Module, index: int, count: int, loss_chunk: int | None) -> None:
        super().__init__(network)
        self.loss_chunk = loss_chunk
        self.index, self.count = index, count
        self.width: int = _causal(network).config.get_text_config().hidden_size

    def forward(  # type: ignore[override]
        self,
        hidden: Tensor | None,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor | ProjectedLogits:
        """Hidden states of the stage before -> hidden states; of the last stage, what `Logits` gives.

        Args:
            hidden: [batch, length, width]; None for the first stage.
            input_ids: tokens, [batch, length]; so of the rest, see `Logits`.
        """
        base = _causal(self.network).base_model
        if self.index > 0:
            received: Any = _at(base, _embeddings_path(base))
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
class Parts:
    """Where a model keeps its parts.

    Attributes:
        embeddings: what gives the first hidden states.
        blocks: what is repeated.
        after: what comes after the blocks, norm or pooler, where there is any.
        heads: what makes logits of that.
    """

    embeddings: nn.Module
    blocks: list[nn.Module]
    after: list[nn.Module]
    heads: list[nn.Module]


def cut(model: nn.Module, count: int) -> list[range]:
    """The blocks of each of `count` stages; where they do not divide, the last has fewer, since the head costs too.

    Args:
        model: as `build_transformer` made it, before its precision is changed. It is called with a few tokens.

    Raises:
        ArgumentError: the model cannot be cut so; the message says why and what would work.
    """
    whole = _transformer(model)
    parts = _parts(whole)
    held = _divide(len(parts.blocks), count)
    _require_each_weight_once(whole, parts, held)
    _require_passing_on(whole, parts)
    _require_same_logits(whole, count)
    return held


def keep_stage(model: nn.Module, index: int, count: int) -> Stage:
    """The module of one stage. It shares its weights with the model, which is left as it is and can be dropped.

    Args:
        model: one that `cut` takes.
        index: of the stage, from 0.
        count: of all stages, the same on every process.
    """
    whole = _transformer(model)
    parts = _parts(whole)
    return _stage(whole, parts, _divide(len(parts.blocks), count)[index], index, count)


class Held(nn.Module):
    """What one process holds of a model in several stages, under the whole model's names. It is not called itself.

    Args:
        stages: the stages' modules, whose weights it shares.
    """

    def __init__(self, stages: list[nn.Module]) -> None:
        super().__init__()
        self._stages = tuple(stages)
        for name, child in _merged(stages).named_children():
            self.add_module(name, child)

    def train(self, mode: bool = True) -> Self:
        """Put the stages in training mode, or out of it."""
        for stage in self._stages:
            stage.train(mode)
        return super().train(mode)


def held(stages: list[nn.Module]) -> nn.Module:
    """The stages of a process as one module with the whole model's names; a single stage is that already."""
    return stages[0] if len(stages) == 1 else Held(stages)


def _merged(modules: list[nn.Module]) -> nn.Module:
    """The same place in several stages as one: what is no stand-in, and where that is several, their children's."""
    real = [module for module in modules if not isinstance(module, STAND_INS)]
    if len(real) < 2 or all(next(module.children(), None) is None for module in real):
        return (real or modules)[0]
    merged = nn.Module()
    for name in dict.fromkeys(name for module in real for name, _ in module.named_children()):
        merged.add_module(name, _merged([module.get_submodule(name) for module in real]))
    return merged


def _divide(blocks: int, count: int) -> list[range]:
    if blocks < count:
        raise ArgumentError(
            f"training.parallel.pipeline: {blocks} blocks do not make {count} stages (schedules interleaved and "
            f"zero-bubble have two stages a process); take at most {blocks} stages or a model with more blocks"
        )
    least, more = divmod(blocks, count)
    # The spare blocks go to stages in the middle first, then to the first, which has the embeddings alone besides.
    order = [*range(1, count - 1), 0, count - 1]
    sizes = [least + (stage in order[:more]) for stage in range(count)]
    return [range(sum(sizes[:stage]), sum(sizes[: stage + 1])) for stage in range(count)]


def _transformer(model: nn.Module) -> Logits:
    if isinstance(model, Logits):
        return model
    raise ArgumentError(
        f"training.parallel.pipeline: only text and language models (hf:…) are cut into stages; {OTHERWISE}"
    )


def _parts(model: Logits) -> Parts:
    causal = _causal(model.network)
    base = getattr(causal, "base_model", causal)
    blocks = next((found for path in BLOCKS if isinstance(found := _at(base, path), nn.ModuleList)), None)
    if base is causal or blocks is None or _embeddings_path(base) is None:
        raise _refusal(causal, "its embeddings and blocks are not where they are known to be")
    after = [found for path in AFTER_BLOCKS if (found := _at(base, path)) is not None]
    heads = [child for child in causal.children() if child is not base]
    return Parts(_at(base, _embeddings_path(base)), list(blocks), after, heads)


def _stage(model: Logits, parts: Parts, held: range, index: int, count: int) -> Stage:
    """A copy of the model that shares the weights of the stage and has stand-ins for the rest."""
    first, last = index == 0, index == count - 1
    replaced: dict[int, Any] = {id(block): Passed() for number, block in enumerate(parts.blocks) if number not in held}
    if not first:
        replaced[id(parts.embeddings)] = Received()
    if not last:
        replaced |= {id(module): Passed() for module in parts.after}
        replaced |= {id(module): Absent() for module in parts.heads}
    shared: dict[int, Any] = {id(weight): weight for weight in model.parameters()}
    network = copy.deepcopy(model.network, replaced | shared)
    return Stage(network, index, count, model.loss_chunk).train(model.training)


def _require_each_weight_once(model: Logits, parts: Parts, held: list[range]) -> None:
    """Raise ArgumentError where a weight would be trained by two stages, each with a part of its gradient."""
    count, causal = len(held), _causal(model.network)
    seen: set[int] = set()
    for index in range(count):
        for name, weight in _stage(model, parts, held[index], index, count).named_parameters():
            if id(weight) not in seen:
                seen.add(id(weight))
                continue
            if weight is getattr(causal.get_output_embeddings(), "weight", None):
                raise ArgumentError(
                    "training.parallel.pipeline: the first and the last stage would share the weights of embeddings; "
                    f"say tie_word_embeddings: false in model.config, or {OTHERWISE}"
                )
            raise _refusal(causal, f"more than one stage needs {name}")


@torch.no_grad()
def _require_passing_on(model: Logits, parts: Parts) -> None:
    """Raise ArgumentError unless a stage without blocks gives on exactly what it is given, in training too."""
    probe = _stage(model, parts, range(0), 1, 3).train()
    weight = next(model.parameters())
    hidden = torch.linspace(-1, 1, PROBE_TOKENS * probe.width, device=weight.device, dtype=weight.dtype)
    hidden = hidden.view(1, PROBE_TOKENS, probe.width)
    try:
        same = torch.equal(probe(hidden, _probe_tokens(weight.device)), hidden) or weight.is_meta
    except (AttributeError, RuntimeError, TypeError, ValueError):
        same = False
    if not same:
        raise _refusal(_causal(model.network), "it does more with hidden states than give them from block to block")


@torch.no_grad()
def _require_same_logits(model: Logits, count: int) -> None:
    """Raise ArgumentError unless the stages, one after the other, give the logits of the whole model."""
    device = next(model.parameters()).device
    if device.type == "meta":
        return
    tokens, training = _probe_tokens(device), model.training
    model.eval()
    try:
        hidden: Any = None
        for index in range(count):
            hidden = keep_stage(model, index, count)(hidden, tokens)
        whole: Any = model(tokens)
    finally:
        model.train(training)
    found = zip(_tensors(hidden), _tensors(whole), strict=True)
    if not all(torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE) for one, other in found):
        raise _refusal(_causal(model.network), "its stages give other logits than the whole model")


def _tensors(logits: Tensor | ProjectedLogits) -> list[Tensor]:
    return [logits.hidden] if isinstance(logits, ProjectedLogits) else [logits]


def _probe_tokens(device: torch.device) -> Tensor:
    return torch.arange(1, PROBE_TOKENS + 1, device=device)[None]


def _refusal(causal: nn.Module, reason: str) -> ArgumentError:
    kind = getattr(getattr(causal, "config", None), "model_type", type(causal).__name__)
    return ArgumentError(
        f"training.parallel.pipeline: hf:{kind} cannot be cut into stages: {reason}; {OTHERWISE}, or take one built "
        f"like {KNOWN}"
    )


def _causal(network: Any) -> Any:
    """transformers' model with its head; adapters may be wrapped around it."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def _embeddings_path(base: nn.Module) -> str | None:
    return next((path for path in EMBEDDINGS if _at(base, path) is not None), None)


def _at(module: Any, path: str | None) -> Any:
    """The module at a dotted path, None where there is none."""
    for name in path.split(".") if path else ():
        module = getattr(module, name, None)
    return module
