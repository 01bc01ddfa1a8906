"""Activation checkpointing, applied to a model from outside: blocks drop their activations and recompute them.

Chen et al. 2016, https://arxiv.org/abs/1604.06174. Parameter names, dropout masks and running statistics are those of
the plain model, and so are the results, to the last bit.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from danlu.core.torch_compat import Convolution, NormWithStats

Contexts = tuple[AbstractContextManager[Any], AbstractContextManager[Any]]
CONTAINERS = (nn.Sequential, nn.ModuleList)
SEGMENT_STARTS = (nn.Linear, Convolution)  # layers that start a segment in a plain sequence
aten = torch.ops.aten
# Selective checkpointing keeps their results: expensive, while everything else is cheap to recompute
# (Korthikanti et al. 2022, https://arxiv.org/abs/2205.05198).
EXPENSIVE_OPS = tuple(
    getattr(getattr(aten, name), overload)
    for name, overload in (
        ("mm", "default"),
        ("addmm", "default"),
        ("bmm", "default"),
        ("baddbmm", "default"),
        ("convolution", "default"),
        ("_scaled_mm", "default"),
        ("_scaled_dot_product_flash_attention", "default"),
        ("_scaled_dot_product_efficient_attention", "default"),
        ("_scaled_dot_product_cudnn_attention", "default"),
        ("_scaled_dot_product_flash_attention_for_cpu", "default"),
        ("_scaled_dot_product_attention_math", "default"),
    )
    if hasattr(aten, name)
)
SELECTIVE_CONTEXTS: Callable[[], Contexts] = partial(create_selective_checkpoint_contexts, list(EXPENSIVE_OPS))


def apply_activation_checkpointing(model: nn.Module, mode: Literal["none", "selective", "full"] | int) -> int:
    """Recompute activations in the backward pass. Call it once, before the model is compiled.

    Args:
        model: changed in place; only its training mode.
        mode: `training.memory.checkpointing`: every block (full), every n-th, or every block except matrix products
            (selective).

    Returns:
        number of blocks that recompute; 0 where a model repeats nothing.
    """
    if mode == "none":
        return 0
    chosen = list(repeated_blocks(model))[:: mode if isinstance(mode, int) else 1]
    for block in chosen:
        if mode == "selective":
            _disable_inplace(block)
        forward = CheckpointedForward(block.forward, block, selective=mode == "selective")
        block.forward = forward
    if chosen:
        return len(chosen)
    runs = [module for module in model.modules() if isinstance(module, nn.Sequential) and _segments(module)[1:]]
    for run in runs:
        if mode == "selective":
            _disable_inplace(run)
        run.forward = CheckpointedSequential(run, mode)  # type: ignore[method-assign]
    return sum(len(_segments(run)[:: mode if isinstance(mode, int) else 1]) for run in runs)


class CheckpointedForward:
    """Replace a block's `forward` by a checkpointed one.

    A class rather than a closure, so that a copied model has its own.

    Args:
        forward: the block's.
        block: recomputed in the backward pass.
        selective: keep expensive results.
    """

    def __init__(self, forward: Callable[..., Any], block: nn.Module, selective: bool) -> None:
        self.forward, self.block, self.selective = forward, block, selective

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        # Not by the block's mode: preferences are learned by a network in evaluation mode.
        if not torch.is_grad_enabled():
            return self.forward(*inputs, **named)
        return _checkpointed(self.forward, [self.block], self.selective, inputs, named)


class CheckpointedSequential:
    """Replace the `forward` of a sequence of layers, split before each layer with large weights."""

    def __init__(self, run: nn.Sequential, mode: Literal["selective", "full"] | int) -> None:
        self.run, self.mode = run, mode

    def __call__(self, values: Any) -> Any:
        every = self.mode if isinstance(self.mode, int) else 1
        recomputing = self.run.training and torch.is_grad_enabled()
        for number, segment in enumerate(_segments(self.run)):
            layers = partial(_run_layers, segment)
            if recomputing and number % every == 0:
                values = _checkpointed(layers, segment, self.mode == "selective", (values,), {})
            else:
                values = layers(values)
        return values


def _run_layers(layers: list[nn.Module], values: Any) -> Any:
    for layer in layers:
        values = layer(values)
    return values


def _checkpointed(
    function: Callable[..., Any], modules: list[nn.Module], selective: bool, inputs: Any, named: dict[str, Any]
) -> Any:
    # A compiled graph updates running statistics once, whatever it recomputes; and it supports torch's contexts alone.
    compiling = torch.compiler.is_compiling()
    counting = [] if compiling else [part for module in modules for part in module.modules() if _tracks_stats(part)]
    contexts: dict[str, Any] = {}
    if counting:
        contexts["context_fn"] = partial(_contexts, counting, selective)
    elif selective:
        contexts["context_fn"] = SELECTIVE_CONTEXTS
    return checkpoint(function, *inputs, use_reentrant=False, **contexts, **named)


def _contexts(counting: list[Any], selective: bool) -> Contexts:
    """Return the contexts of a block's first and second computation."""
    first, second = SELECTIVE_CONTEXTS() if selective else (nullcontext(), nullcontext())
    return first, _without_stat_updates(second, counting)


@contextmanager
def _without_stat_updates(context: AbstractContextManager[Any], counting: list[Any]) -> Iterator[None]:
    """Enter a context in which a batch does not change running statistics a second time.

    They are mixed with none of the batch's (momentum 0) rather than left out: the second computation must save as many
    tensors as the first.
    """
    kept = [(module, module.momentum, module.num_batches_tracked) for module in counting]
    for module in counting:
        module.momentum, module.num_batches_tracked = 0.0, None
    try:
        with context:
            yield
    finally:
        for module, momentum, batches in kept:
            module.momentum, module.num_batches_tracked = momentum, batches


def _tracks_stats(module: nn.Module) -> bool:
    return isinstance(module, NormWithStats) and module.track_running_stats


def _disable_inplace(block: nn.Module) -> None:
    """Keep activations from overwriting the products that are kept."""
    module: Any
    for module in block.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False


def repeated_blocks(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a model's repeated blocks: transformer layers, or blocks of an image network's stages."""
    for child in model.children():
        if not isinstance(child, CONTAINERS):
            yield from repeated_blocks(child)
            continue
        for member in child:
            if isinstance(member, CONTAINERS) or _is_stage(member):
                yield from repeated_blocks(nn.ModuleList([member]) if isinstance(member, CONTAINERS) else member)
            elif _is_composite(member):
                yield member


def _is_composite(module: nn.Module) -> bool:
    return next(module.children(), None) is not None and next(module.parameters(), None) is not None


def _is_stage(module: nn.Module) -> bool:
    """Return whether a module holds several blocks of one kind, like the stages of Swin."""
    for child in module.children():
        if isinstance(child, CONTAINERS):
            kinds = [type(member) for member in child if _is_composite(member)]
            if len(kinds) > 1 and len(set(kinds)) == 1:
                return True
    return False


def _segments(run: nn.Sequential) -> list[list[nn.Module]]:
    """Split a sequence of layers before each layer with large weights."""
    segments: list[list[nn.Module]] = [[]]
    for layer in run:
        if isinstance(layer, SEGMENT_STARTS) and segments[-1]:
            segments.append([])
        segments[-1].append(layer)
    return segments
