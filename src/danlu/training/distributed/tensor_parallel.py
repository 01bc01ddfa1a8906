"""Tensor parallelism: split every linear layer of a transformer's blocks, and its vocabulary, over a group.

Applied to a plain model from outside, in place; the model may then be sharded further (FSDP2, block by block). With
`sequence`, activations between the linear layers are split by tokens (Shoeybi et al. 2019,
https://arxiv.org/abs/1909.08053; Korthikanti et al. 2022, https://arxiv.org/abs/2205.05198). A language model outputs
`VocabParallelLogits`, which its head accepts like whole ones.
"""

import math
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Placement, Replicate, Shard, distribute_tensor

from danlu.core.torch_compat import parameter_dict
from danlu.errors import ArgumentError
from danlu.models.text.hf_wrapper import HFModelWrapper
from danlu.models.text.transformers import DROPOUT_KEYS
from danlu.models.text.vocab_parallel import VocabParallelLogits
from danlu.training.distributed import collectives
from danlu.training.distributed.tp_modules import (
    ColumnParallelLinear,
    ReplicatedCompute,
    RowParallelLinear,
    TensorGroup,
    VocabParallelEmbedding,
    shard_offset,
    swap_module_class,
)
from danlu.training.distributed.tp_plans import FUSED, TP_PLANS, MatrixGroup, TPPlan

ALTERNATIVE = "use training.parallel.shard, which splits any model"
PLACEMENTS: dict[tuple[type[nn.Module], str], Placement] = {
    (ColumnParallelLinear, "weight"): Shard(0),
    (ColumnParallelLinear, "bias"): Shard(0),
    (RowParallelLinear, "weight"): Shard(1),
    (VocabParallelEmbedding, "weight"): Shard(0),
}


def apply_tp(model: nn.Module, mesh: DeviceMesh, sequence: bool) -> None:
    """Split a model over a group, in place; all weights become DTensors on `mesh`.

    Weights are taken from the group's first process. Those that are not split (norms, biases of row-parallel layers,
    positions, a classifier) are replicated, with equal gradients. Chunked logits are switched off: logits are split
    already.

    Args:
        model: from `build_transformer`, on the device.
        mesh: the group, one-dimensional.
        sequence: sequence parallelism: split tokens too, between the matrices.

    Raises:
        ArgumentError: the model cannot be split by this number, or is unknown.
    """
    architecture = check_tp_supported(model, mesh.size())
    assert isinstance(model, HFModelWrapper)
    group = TensorGroup(mesh, sequence, _has_dropout(model.network))
    blocks = _blocks(model.network, architecture)
    kinds: dict[nn.Module, type[nn.Module]] = {}
    in_heads: set[nn.Module] = set()
    for block in blocks:
        for matrices in architecture.groups:
            kinds |= _plan_linears(block, matrices, group)
            found = dict(block.get_submodule(matrices.module).named_children())
            in_heads |= {found[name] for name in matrices.head_norms if name in found}
    kinds |= _plan_vocabulary(model, group)
    in_blocks = {module for block in blocks for module in block.modules()}
    for module in model.network.modules():
        if module in kinds:
            swap_module_class(module, kinds[module])
        elif parameter_dict(module):
            swap_module_class(module, ReplicatedCompute)
            sum_gradients = module in in_heads or (sequence and module in in_blocks)
            vars(module).update(sum_gradients=sum_gradients, average_gradients=module not in in_blocks)
        else:
            continue
        vars(module).update(tensor_group=group)
    _distribute_parameters(model.network, mesh, kinds)
    if sequence and blocks:
        blocks[0].register_forward_pre_hook(partial(_enter_blocks, group), with_kwargs=True)
        blocks[-1].register_forward_hook(partial(_leave_blocks, group))


def check_tp_supported(model: nn.Module, ways: int) -> TPPlan:
    """Check that a model can be split by `ways` and return its plan.

    It needs no other process.

    Raises:
        ArgumentError: it cannot be.
    """
    if not isinstance(model, HFModelWrapper):
        raise _error(f"only transformers' models are supported, and this is {type(model).__name__}", ALTERNATIVE)
    network: Any = model.network
    if hasattr(network, "get_base_model"):
        raise _error("adapters cannot be split", ALTERNATIVE)
    name = network.config.model_type
    architecture = TP_PLANS.get(name)
    if architecture is None:
        raise _error(_unknown_model_reason(network, name), f"{ALTERNATIVE}, or one of {', '.join(TP_PLANS)}")
    heads = network.config.num_attention_heads
    shares = {
        f"{heads} heads": heads,
        f"{_num_kv_heads(network)} heads of keys and values": _num_kv_heads(network),
        **{f"{units} hidden units": units for units in _intermediate_sizes(network, architecture)},
    }
    for what, size in shares.items():
        if size % ways:
            possible = _divisors(math.gcd(*shares.values()))
            cure = f"use {_join_or(possible)}" if possible else ALTERNATIVE
            raise _error(f"{what} cannot be split {ways} ways", cure)
    words = network.config.vocab_size  # a pipeline stage may lack the embedding
    if -(-words // ways) * (ways - 1) >= words:
        raise _error(f"a vocabulary of {words} cannot be split {ways} ways", "use fewer ways")
    for block in _blocks(network, architecture):
        for matrices in architecture.groups:
            _check_no_other_weights(block, matrices, name)
    return architecture


def _error(reason: str, cure: str) -> ArgumentError:
    return ArgumentError(f"training.parallel.tensor: {reason}; {cure}", code="DL603")


def _unknown_model_reason(network: nn.Module, name: str) -> str:
    fused = next((place for place, _ in network.named_modules() if place.split(".")[-1] in FUSED), None)
    if fused is None:
        return f"danlu has no plan to split the matrices of {name}"
    return f"{name} has several matrices fused into one ({fused.split('.')[-1]}), which cannot be split"


def _num_kv_heads(network: Any) -> int:
    return getattr(network.config, "num_key_value_heads", None) or int(network.config.num_attention_heads)


def _intermediate_sizes(network: nn.Module, architecture: TPPlan) -> list[int]:
    """Return the distinct intermediate sizes of all blocks."""
    found = [block.get_submodule(architecture.groups[-1].row_parallel) for block in _blocks(network, architecture)]
    return sorted({int(matrix.in_features) for matrix in found})  # type: ignore[arg-type]


def _join_or(numbers: list[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} or {last}" if others else last


def _divisors(number: int) -> list[int]:
    return [ways for ways in range(2, number + 1) if number % ways == 0]


def _check_no_other_weights(block: nn.Module, matrices: MatrixGroup, name: str) -> None:
    """Raise ArgumentError if a module has other weights, which would see split activations."""
    module = block.get_submodule(matrices.module)
    known = {module.get_submodule(child) for child in matrices.column_parallel} | {
        block.get_submodule(matrices.row_parallel)
    }
    width = next(module.get_submodule(matrices.column_parallel[0]).parameters()).shape[0]
    for place, child in module.named_modules():
        if child in known or not parameter_dict(child):
            continue
        shared = place in matrices.head_norms and all(weight.numel() < width for weight in child.parameters())
        if not shared:
            raise _error(f"{name} has other weights between its matrices ({place or matrices.module})", ALTERNATIVE)


def _blocks(network: nn.Module, architecture: TPPlan) -> list[nn.Module]:
    """Return the blocks in order; in a pipeline stage, those that it holds."""
    lists = [module for place, module in network.named_modules() if place.split(".")[-1] == architecture.blocks]
    return [
        block
        for found in lists
        if isinstance(found, nn.ModuleList | nn.ModuleDict)
        for block in found.children()
        if next(block.parameters(), None) is not None
    ]


def _has_dropout(network: Any) -> bool:
    """Return whether the model uses dropout."""
    asked = [getattr(network.config, name, None) for name in DROPOUT_KEYS]
    layers = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    return any(share for share in [*asked, *layers])


def _plan_linears(block: nn.Module, matrices: MatrixGroup, group: TensorGroup) -> dict[nn.Module, type[nn.Module]]:
    """Return the new classes of a group's linear layers; register the input hook."""
    module = block.get_submodule(matrices.module)
    first = [module.get_submodule(name) for name in matrices.column_parallel]
    # One all-gather for all of them.
    module.register_forward_pre_hook(partial(_enter_linears, group), with_kwargs=True)
    return {**dict.fromkeys(first, ColumnParallelLinear), block.get_submodule(matrices.row_parallel): RowParallelLinear}


def _plan_vocabulary(model: HFModelWrapper, group: TensorGroup) -> dict[nn.Module, type[nn.Module]]:
    """Return the new classes of embedding and output layer; logits stay split."""
    network: Any = model.network
    model.loss_chunk = None
    first, last = network.get_input_embeddings(), network.get_output_embeddings()
    # A stage of a pipeline may have neither, or one.
    kinds: dict[nn.Module, type[nn.Module]] = {first: VocabParallelEmbedding} if parameter_dict(first) else {}
    if last is not None and parameter_dict(last):
        kinds[last] = ColumnParallelLinear
        last.register_forward_pre_hook(partial(_enter_output_layer, group))
        model.register_forward_hook(partial(_wrap_logits, group, last.out_features))
    return kinds


def _distribute_parameters(network: nn.Module, mesh: DeviceMesh, kinds: dict[nn.Module, type[nn.Module]]) -> None:
    """Turn every weight into a DTensor; shared weights stay shared."""
    made: dict[nn.Parameter, nn.Parameter] = {}
    for module in network.modules():
        for name, weight in parameter_dict(module).items():
            if weight is None:
                continue
            if weight not in made:
                placement = PLACEMENTS.get((kinds.get(module, ReplicatedCompute), name), Replicate())
                split = distribute_tensor(weight.detach(), mesh, [placement])
                made[weight] = nn.Parameter(split, requires_grad=weight.requires_grad)
            parameter_dict(module)[name] = made[weight]


def _replace_hidden_states(
    change: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Apply `change` to the hidden states: the first argument, or the one so named."""
    if args:
        return (change(args[0]), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}


def _enter_blocks(group: TensorGroup, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return _replace_hidden_states(lambda hidden: group.enter_blocks(hidden, block.training), args, kwargs)


def _leave_blocks(group: TensorGroup, block: nn.Module, args: tuple[Any, ...], hidden: Any) -> Any:
    if isinstance(hidden, tuple):
        return (group.leave_blocks(hidden[0]), *hidden[1:])
    return group.leave_blocks(hidden)


def _enter_linears(group: TensorGroup, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return _replace_hidden_states(lambda hidden: group.enter_linears(hidden, module.training), args, kwargs)


def _enter_output_layer(group: TensorGroup, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (collectives.copy_to_tp(args[0], group.group), *args[1:])


def _wrap_logits(
    group: TensorGroup, vocabulary: int, model: nn.Module, args: tuple[Any, ...], logits: Tensor
) -> VocabParallelLogits:
    return VocabParallelLogits(logits, shard_offset(vocabulary, group), vocabulary, group.group)
