"""Find where numbers stop being finite: a forward pass repeated and watched module by module.

Used when a loss is no longer finite; until then nothing here costs anything.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class _Diagnosis(Exception):
    """Carry the sentence about the first module that went wrong."""


def first_nonfinite_module(model: nn.Module, run_forward: Callable[[], Any]) -> str:
    """Name the first module whose weights or output are not finite, and describe its input.

    Args:
        model: as it was when the loss went wrong, not compiled: hooks are put on its modules and removed again.
        run_forward: runs the pass again on the same batch with the same seed; may return the loss.

    Returns:
        a sentence without a full stop, e.g. `hidden.3 (Linear) gives 12 of 640 values that are not finite; it was
        given values from -3.1 to 3e+38, and its weights are finite`.
    """
    handles = []
    for name, module in model.named_modules():
        said = f"{name or 'the model'} ({type(module).__name__})"
        handles.append(module.register_forward_pre_hook(_pre_hook(said, whole=not name), with_kwargs=True))
        handles.append(module.register_forward_hook(_post_hook(said), with_kwargs=True))
    try:
        loss = run_forward()
    except _Diagnosis as found:
        return str(found)
    finally:
        for handle in handles:
            handle.remove()
    return _diagnose_loss_and_grads(model, loss)


def _pre_hook(said: str, whole: bool) -> Callable[..., None]:
    """Return a hook that checks a module's weights before it runs.

    For the whole model it also checks the batch.
    """

    def look(module: nn.Module, args: Any, kwargs: Any) -> None:
        if whole and _describe_nonfinite(_tensors((args, kwargs))):
            raise _Diagnosis(
                f"the batch itself holds {_describe_nonfinite(_tensors((args, kwargs)))}; look at the data"
            )
        for kind, values in (("weights", module.parameters), ("buffers", module.buffers)):
            bad = _describe_nonfinite(values(recurse=False))
            if bad:
                raise _Diagnosis(f"the {kind} of {said} hold {bad}; an earlier step put them there")

    return look


def _post_hook(said: str) -> Callable[..., None]:
    """Return a hook that checks a module's output.

    Inner modules run before the modules that contain them.
    """

    def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        bad = _describe_nonfinite(_tensors(output))
        if bad:
            weights = [*module.parameters(recurse=False)]
            own = f", and its weights are {_describe_range(weights)}" if weights else ""
            raise _Diagnosis(
                f"{said} gives {bad}; it was given values {_describe_range(_tensors((args, kwargs)))}{own}"
            )

    return look


def _diagnose_loss_and_grads(model: nn.Module, loss: Any) -> str:
    """Describe the loss or gradients, where every module's output is finite."""
    losses = list(_tensors(loss))
    if losses and _describe_nonfinite(losses):
        return "every module's output is finite, but the loss made of it is not; look at the targets and the loss"
    for name, weight in reversed(list(model.named_parameters())):  # the backward pass goes from last to first
        found = _describe_nonfinite([weight.grad]) if weight.grad is not None else None
        if found:
            return f"every output and the loss are finite; the gradient of {name} holds {found}"
    return "every module's output is finite when the step is done again"


def _tensors(value: Any) -> Iterable[Tensor]:
    """Yield all floating-point tensors within tuples, lists, mappings and transformers' outputs."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)


def _describe_nonfinite(tensors: Iterable[Tensor]) -> str:
    """Describe how many values are not finite; empty if all are finite."""
    total = count = 0
    nan = False
    for values in tensors:
        finite = torch.isfinite(values.detach())
        count += values.numel()
        total += int((~finite).sum())
        nan = nan or bool(torch.isnan(values.detach()).any())
    kind = "NaN" if nan else "infinite"
    return f"{total:,} of {count:,} values that are not finite ({kind})" if total else ""


def _describe_range(tensors: Iterable[Tensor]) -> str:
    found = [values.detach().float() for values in tensors if values.numel()]
    if not found:
        return "that are no floating-point numbers"
    low, high = (float(pick(torch.stack([pick(values) for values in found]))) for pick in (torch.min, torch.max))
    return f"from {low:.3g} to {high:.3g}"
