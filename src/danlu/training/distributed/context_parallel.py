"""Context parallelism: every process holds some tokens of each sequence, for sequences too long for one.

In a causal language model only attention mixes tokens: there the keys and values of all processes are gathered, and a
query sees those before it in its own document. A sequence is cut into 2n equal pieces and rank r of n holds pieces r
and 2n - 1 - r, so that all have the same number of query-key pairs to compute (zigzag; Brandon et al. 2023, Striped
Attention, https://arxiv.org/abs/2311.09431; Dubey et al. 2024, Llama 3, https://arxiv.org/abs/2407.21783).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right

from danlu.data.loader import Batch
from danlu.errors import ArgumentError
from danlu.models.text.hf_wrapper import HFModelWrapper
from danlu.models.text.transformers import logits_close
from danlu.tasks.base import Head
from danlu.tasks.token_losses import IGNORED
from danlu.training.distributed.collectives import gather_sp_to_tp

ALTERNATIVE = "use training.parallel.shard, or shorter sequences"


def shard_sequence(batch: Batch, mesh: DeviceMesh) -> Batch:
    """Return this rank's tokens of a batch that all ranks of the group hold.

    Args:
        batch: input_ids and target [batch, length]; position_ids where a row holds several documents, which separate
            them; attention_mask where there is padding before the end.
        mesh: the group, one-dimensional.

    Returns:
        input_ids, position_ids (in the whole sequence or document) and target, [batch, length / ways]. Where attention
        is not fully causal, `attention_mask` has the number of each token's document in the whole sequence, from 1,
        and 0 for padding, [batch, padded length]. Padding to a length that divides has no target.
    """
    given = dict(batch.inputs)
    ids, positions, mask = given.pop("input_ids"), given.pop("position_ids", None), given.pop("attention_mask", None)
    assert not given, f"unexpected inputs of a language model: {', '.join(given)}"
    rows, length = ids.shape
    missing = -length % (2 * mesh.size())
    fill = partial(functional.pad, pad=(0, missing))
    documents = _document_ids(positions, mask)
    if positions is None:
        positions = torch.arange(length, device=ids.device).expand(rows, length)
    places = _local_positions(length + missing, mesh.size(), mesh.get_local_rank(), ids.device)
    inputs = {"input_ids": fill(ids)[:, places], "position_ids": fill(positions)[:, places]}
    if documents is not None:
        inputs["attention_mask"] = fill(documents)
    return replace(batch, inputs=inputs, target=fill(batch.target, value=IGNORED)[:, places])


def apply_cp(model: nn.Module, mesh: DeviceMesh) -> None:
    """Make a language model attend to the tokens of all ranks, in place.

    Call it before `apply_tp`. The model then takes what `shard_sequence` returns and outputs logits of the local
    tokens. Gradients must be summed over the ranks. Dropout masks should differ between them.

    Args:
        model: from `build_transformer`, its weights in memory and the same on all processes.
        mesh: the group, of one dimension.

    Raises:
        ArgumentError: the model's attention cannot be split so.
    """
    check_cp_supported(model)
    assert isinstance(model, HFModelWrapper)
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    network: Any = model.network
    group, before = ContextGroup(mesh), network.config._attn_implementation
    # transformers looks attention up by name; each process group has its own name.
    name = f"danlu_context_{group.group.group_name}"
    ALL_ATTENTION_FUNCTIONS.register(name, partial(_attention, group))
    whole = _probe_logits(model, mesh, split=False)
    network.set_attn_implementation(name)
    hook = model.register_forward_pre_hook(partial(_mask_documents, group), with_kwargs=True)
    if not logits_close(_probe_logits(model, mesh, split=True), whole):
        hook.remove()
        network.set_attn_implementation(before)
        raise _error(f"{network.config.model_type} mixes tokens outside attention too")


class ContextGroup:
    """Hold the group of ranks that share sequences.

    Args:
        mesh: of one dimension.
    """

    def __init__(self, mesh: DeviceMesh) -> None:
        self.group: ProcessGroup = mesh.get_group()
        self.rank, self.size = mesh.get_local_rank(), mesh.size()

    def __deepcopy__(self, memo: object) -> "ContextGroup":
        """Return self, since a copy of a model uses the same group."""
        return self


def check_cp_supported(model: nn.Module) -> None:
    """Raise ArgumentError unless the model supports context parallelism; needs no other process."""
    if not isinstance(model, HFModelWrapper):
        raise _error(f"only transformers' language models are supported, and this is {type(model).__name__}")
    network: Any = model.network
    config, name = network.config, network.config.model_type
    if not hasattr(network, "get_output_embeddings") or network.get_output_embeddings() is None:
        raise _error(f"{name} is not used as a causal language model here")
    if not (network._supports_attention_backend and network._can_set_attn_implementation()):
        raise _error(f"the attention of {name} cannot be replaced")
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"]) - {"full_attention"}
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if kinds or (windowed and not getattr(config, "layer_types", None)):
        raise _error(f"{name} uses windowed attention ({', '.join(kinds) or 'sliding_window'})")
    if getattr(config, "attn_logit_softcapping", None):
        raise _error(f"{name} caps attention logits (attn_logit_softcapping)")


def context_head(head: Head, mesh: DeviceMesh) -> Head:
    """Adapt a language model's head to local tokens: answers are summed over the ranks.

    Answers are of whole sequences. The loss and its count stay those of the local tokens.
    """

    def answer(logits: Any, target: Tensor | None) -> Tensor:
        found = head.predict(logits, target)
        torch.distributed.all_reduce(found, group=mesh.get_group())
        return found

    return replace(head, predict=answer)


def _error(reason: str) -> ArgumentError:
    return ArgumentError(f"training.parallel.context: {reason}; {ALTERNATIVE}", code="DL603")


def _document_ids(positions: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """Return each token's document number in its row, 0 for padding.

    Numbers begin at 1. None if every row is one document without padding.
    """
    if positions is None:
        return mask
    follows = positions[:, 1:] == positions[:, :-1] + 1
    numbers = functional.pad((~follows).cumsum(dim=1), (1, 0)) + 1
    if mask is None:
        return numbers if numbers.max() > 1 else None
    return numbers * mask


def _local_positions(length: int, ways: int, rank: int, device: torch.device) -> Tensor:
    """Return the global positions of a rank's tokens, in order, [length / ways]."""
    pieces = torch.arange(length, device=device).chunk(2 * ways)
    return torch.cat([pieces[rank], pieces[2 * ways - 1 - rank]])


def _undo_zigzag(gathered: Tensor, ways: int) -> Tensor:
    """Reorder tokens gathered rank by rank along dimension 1 into sequence order."""
    pieces = gathered.chunk(2 * ways, dim=1)
    return torch.cat([*pieces[::2], *reversed(pieces[1::2])], dim=1)


def _mask_documents(
    group: ContextGroup, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Turn global document ids into the attention mask of this rank's queries.

    It is computed once for all blocks and passed through them by transformers, which leaves a four-dimensional mask as
    it is. It takes one byte per pair of query and key.
    """
    documents = kwargs.get("attention_mask")
    if documents is None or documents.ndim == 4:
        return args, kwargs
    length = documents.shape[1]
    places = _local_positions(length, group.size, group.rank, documents.device)
    same = documents[:, places, None] == documents[:, None, :]
    before = places[:, None] >= torch.arange(length, device=documents.device)
    return args, {**kwargs, "attention_mask": (same & before)[:, None]}


def _attention(
    group: ContextGroup,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Compute causal attention of the local queries to all keys, with transformers' signature.

    Args:
        query: [batch, heads, own length, width].
        key, value: [batch, heads of keys, own length, width].
        attention_mask: which keys each query sees, [batch, 1, own length, length]; None for causal attention.

    Returns:
        [batch, own length, heads, width].
    """
    ways, rank, own = group.size, group.rank, query.shape[2]
    both = torch.cat([key, value], dim=-1).transpose(1, 2)
    both = _undo_zigzag(gather_sp_to_tp(both, own * ways, group.group), ways).transpose(1, 2)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        both = both.repeat_interleave(groups, dim=1)
    keys, values = both.tensor_split([key.shape[-1]], dim=-1)
    attend: Callable[..., Tensor] = partial(functional.scaled_dot_product_attention, dropout_p=dropout, scale=scaling)
    if attention_mask is not None:
        return attend(query, keys, values, attn_mask=attention_mask).transpose(1, 2).contiguous(), None
    piece, found = own // 2, []
    for queries, number in zip(query.chunk(2, dim=2), (rank, 2 * ways - 1 - rank), strict=True):
        end = (number + 1) * piece
        seen = causal_lower_right(piece, end)
        found.append(attend(queries, keys[:, :, :end], values[:, :, :end], attn_mask=seen))
    return torch.cat(found, dim=2).transpose(1, 2).contiguous(), None


@torch.no_grad()
def _probe_logits(model: HFModelWrapper, mesh: DeviceMesh, split: bool) -> Tensor:
    """Compute the logits of local tokens of a two-document probe, whole or split."""
    from numpy import zeros

    device = next(model.parameters()).device
    ids = torch.arange(1, 4 * mesh.size() + 1, device=device)[None]
    positions = torch.cat([torch.arange(3), torch.arange(ids.shape[1] - 3)]).to(device)[None]
    inputs = {"input_ids": ids, "position_ids": positions}
    was_training, chunk = model.training, model.loss_chunk
    model.eval()
    model.loss_chunk = None
    try:
        if split:
            found = model(**shard_sequence(Batch(inputs, ids, zeros(1), 0), mesh).inputs)
        else:
            places = _local_positions(ids.shape[1], mesh.size(), mesh.get_local_rank(), device)
            found = model(**inputs)[:, places]
    finally:
        model.train(was_training)
        model.loss_chunk = chunk
    assert isinstance(found, Tensor)
    return found
