"""Context parallelism: every process has some tokens of each sequence, for sequences too long for one.

A causal language model sees other tokens in attention alone: there the keys and values of all processes are gathered,
and a query looks at those before it, of its own document. Of 2n equal pieces of a sequence process r of n has pieces r
and 2n - 1 - r, so that all have as many pairs of query and key to work on (zigzag; Brandon et al. 2023, Striped
Attention; Dubey et al. 2024, Llama 3).
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

from danlu.core.errors import ArgumentError
from danlu.data.feed import Batch
from danlu.data.sequences import IGNORED
from danlu.models.heads import Head
from danlu.models.transformers import Logits, alike
from danlu.training.parallel.collectives import whole_in

INSTEAD = "say training.parallel.shard, or shorter sequences"


def split_tokens(batch: Batch, mesh: DeviceMesh) -> Batch:
    """This process's tokens of a batch that all processes of the group have.

    Args:
        batch: input_ids and target [batch, length]; position_ids where several documents are in a row, by which they
            are told apart; attention_mask where there is padding before the end.
        mesh: the group, of one dimension.

    Returns:
        input_ids, position_ids (in the whole sequence or document) and target, [batch, length / ways]. Where attention
        is not to all that is before, `attention_mask` has the number of each token's document in the whole sequence,
        from 1, and 0 for padding, [batch, filled length]. What fills a length that does not divide is no answer.
    """
    given = dict(batch.inputs)
    ids, positions, mask = given.pop("input_ids"), given.pop("position_ids", None), given.pop("attention_mask", None)
    assert not given, f"inputs of no language model: {', '.join(given)}"
    rows, length = ids.shape
    missing = -length % (2 * mesh.size())
    fill = partial(functional.pad, pad=(0, missing))
    documents = _documents(positions, mask)
    if positions is None:
        positions = torch.arange(length, device=ids.device).expand(rows, length)
    places = _places(length + missing, mesh.size(), mesh.get_local_rank(), ids.device)
    inputs = {"input_ids": fill(ids)[:, places], "position_ids": fill(positions)[:, places]}
    if documents is not None:
        inputs["attention_mask"] = fill(documents)
    return replace(batch, inputs=inputs, target=fill(batch.target, value=IGNORED)[:, places])


def parallelize_context(model: nn.Module, mesh: DeviceMesh) -> None:
    """Have a language model attend to the tokens of all processes, in place; before `parallelize_tensor`.

    It is then given what `split_tokens` gives, and answers with the logits of this process's tokens. Gradients are to
    be summed over the processes. What is dropped should differ between them.

    Args:
        model: as `build_transformer` made it, its weights in memory and the same on all processes.
        mesh: the group, of one dimension.

    Raises:
        ArgumentError: the model's attention cannot be split so.
    """
    require_context(model)
    assert isinstance(model, Logits)
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    network: Any = model.network
    group, before = ContextGroup(mesh), network.config._attn_implementation
    # transformers finds attention by name; a group of processes has a name of its own.
    name = f"danlu_context_{group.processes.group_name}"
    ALL_ATTENTION_FUNCTIONS.register(name, partial(_attention, group))
    whole = _probe(model, mesh, split=False)
    network.set_attn_implementation(name)
    hook = model.register_forward_pre_hook(partial(_mask_documents, group), with_kwargs=True)
    if not alike(_probe(model, mesh, split=True), whole):
        hook.remove()
        network.set_attn_implementation(before)
        raise _refusal(f"{network.config.model_type} sees other tokens in other ways than by attention")


class ContextGroup:
    """The processes that share sequences.

    Args:
        mesh: of one dimension.
    """

    def __init__(self, mesh: DeviceMesh) -> None:
        self.processes: ProcessGroup = mesh.get_group()
        self.rank, self.ways = mesh.get_local_rank(), mesh.size()

    def __deepcopy__(self, memo: object) -> "ContextGroup":
        """A copy of a model speaks to the same processes."""
        return self


def require_context(model: nn.Module) -> None:
    """Raise ArgumentError unless a model may be split by tokens; needs no other process."""
    if not isinstance(model, Logits):
        raise _refusal(f"it splits the sequences of transformers' language models, and this is {type(model).__name__}")
    network: Any = model.network
    config, name = network.config, network.config.model_type
    if not hasattr(network, "get_output_embeddings") or network.get_output_embeddings() is None:
        raise _refusal(f"{name} is no causal language model here, whose tokens see only what is before them")
    if not (network._supports_attention_backend and network._can_set_attn_implementation()):
        raise _refusal(f"{name} has an attention of its own, which is not to be replaced")
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"]) - {"full_attention"}
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    if kinds or (windowed and not getattr(config, "layer_types", None)):
        raise _refusal(f"{name} looks back a window of tokens ({', '.join(kinds) or 'sliding_window'})")
    if getattr(config, "attn_logit_softcapping", None):
        raise _refusal(f"{name} caps what attention weighs by (attn_logit_softcapping)")


def context_head(head: Head, mesh: DeviceMesh) -> Head:
    """A language model's head for this process's tokens: answers are of whole blocks, summed over the processes.

    The loss and its count stay those of this process's tokens.
    """

    def answer(logits: Any, target: Tensor | None) -> Tensor:
        found = head.answer(logits, target)
        torch.distributed.all_reduce(found, group=mesh.get_group())
        return found

    return replace(head, answer=answer)


def _refusal(reason: str) -> ArgumentError:
    return ArgumentError(f"training.parallel.context: {reason}; {INSTEAD}")


def _documents(positions: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """The number of each token's document in its row, from 1, and 0 for padding; None where all is one document."""
    if positions is None:
        return mask
    follows = positions[:, 1:] == positions[:, :-1] + 1
    numbers = functional.pad((~follows).cumsum(dim=1), (1, 0)) + 1
    if mask is None:
        return numbers if numbers.max() > 1 else None
    return numbers * mask


def _places(length: int, ways: int, rank: int, device: torch.device) -> Tensor:
    """Where in the whole sequence a process's tokens stand, in order, [length / ways]."""
    pieces = torch.arange(length, device=device).chunk(2 * ways)
    return torch.cat([pieces[rank], pieces[2 * ways - 1 - rank]])


def _in_order(gathered: Tensor, ways: int) -> Tensor:
    """Tokens of process after process along dimension 1, put as they stand in the sequence."""
    pieces = gathered.chunk(2 * ways, dim=1)
    return torch.cat([*pieces[::2], *reversed(pieces[1::2])], dim=1)


def _mask_documents(
    group: ContextGroup, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Documents of the whole sequence -> which keys each query of this process sees.

    It is made once for all blocks, and handed through them by transformers, which leaves a mask of four dimensions as
    it is. It takes a byte for each pair of query and key.
    """
    documents = kwargs.get("attention_mask")
    if documents is None or documents.ndim == 4:
        return args, kwargs
    length = documents.shape[1]
    places = _places(length, group.ways, group.rank, documents.device)
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
    """Causal attention of this process's queries to all keys, as transformers calls it.

    Args:
        query: [batch, heads, own length, width].
        key, value: [batch, heads of keys, own length, width].
        attention_mask: which keys each query sees, [batch, 1, own length, length]; None for all before it.

    Returns:
        [batch, own length, heads, width].
    """
    ways, rank, own = group.ways, group.rank, query.shape[2]
    both = torch.cat([key, value], dim=-1).transpose(1, 2)
    both = _in_order(whole_in(both, own * ways, group.processes), ways).transpose(1, 2)
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
def _probe(model: Logits, mesh: DeviceMesh, split: bool) -> Tensor:
    """The logits of this process's tokens of a short sequence of two documents, computed whole or split."""
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
            found = model(**split_tokens(Batch(inputs, ids, zeros(1), 0), mesh).inputs)
        else:
            places = _places(ids.shape[1], mesh.size(), mesh.get_local_rank(), device)
            found = model(**inputs)[:, places]
    finally:
        model.train(was_training)
        model.loss_chunk = chunk
    assert isinstance(found, Tensor)
    return found
