"""torch.compile around a model: tried once on real inputs, and dropped with a warning where it does not work."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.console import info
from danlu.core.torch_compat import mark_dynamic
from danlu.training.memory.microbatch import is_out_of_memory


def maybe_compile(model: nn.Module, asked: bool | str, device: torch.device) -> "nn.Module | CompiledModel":
    """Return the model to call in training, compiled where that is wanted.

    Args:
        model: prepared in every other way; the returned model shares its weights.
        asked: `training.compile`; auto compiles on CUDA alone, where it pays within minutes.
    """
    wanted = device.type == "cuda" if asked == "auto" else asked
    return CompiledModel(model) if wanted else model


class CompiledModel:
    """Compile a model at its first call.

    Attributes:
        model: the original.
        works: whether the compiled model is called; False once compiling has failed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.works = True
        if torch.are_deterministic_algorithms_enabled():
            torch.use_deterministic_algorithms(True, warn_only=True)  # lets the compiler know too
        self._tried: set[tuple[bool, bool]] = set()  # (training, with gradients): each compiles its own graphs
        self._function: Any = torch.compile(model)

    def __call__(self, **inputs: Tensor) -> Any:
        """Call the model. Batch sizes may vary without recompiling; other dimensions become dynamic once."""
        if not self.works:
            return self.model(**inputs)
        for values in inputs.values():
            mark_dynamic(values)
        mode = (self.model.training, torch.is_grad_enabled())
        if mode not in self._tried:
            self.works = self._try(inputs)
            self._tried.add(mode)
            return self(**inputs)
        return self._function(**inputs)

    def _try(self, inputs: dict[str, Tensor]) -> bool:
        """Compile both passes on a batch; leave weights, statistics, gradients and RNG unchanged."""
        try:
            with _restored_state(self.model):
                outputs = self._function(**inputs)
                if torch.is_grad_enabled():
                    self._backward(outputs)
        except Exception as error:  # a compiler may raise anything, and must never end a run
            if is_out_of_memory(error):
                raise
            reason = " ".join([f"{type(error).__name__}:", *str(error).split("\n\n")[0].split()])
            info(f"training.compile: the model could not be compiled; training continues without ({reason[:300]})")
            return False
        return True

    def _backward(self, outputs: Any) -> None:
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        made = [part for part in parts if isinstance(part, Tensor) and part.grad_fn is not None]
        if made and weights:  # not `backward`, which would give gradients to the weights and run their hooks
            torch.autograd.grad([part.float().sum() for part in made], weights, allow_unused=True)


@contextmanager
def _restored_state(model: nn.Module) -> Iterator[None]:
    """Restore a model's buffers and the random number state afterwards."""
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    device = next(model.parameters()).device
    accelerators = [] if device.type in ("cpu", "mps") else [device]
    with torch.random.fork_rng(accelerators, device_type=device.type if accelerators else "cuda"):
        try:
            yield
        finally:
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    buffer.copy_(kept[name])
