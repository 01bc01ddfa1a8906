"""Where an optimizer's copy of a parameter lives: in the model, in higher precision, or on the host.

A `ParamStorage` holds the tensor that the optimizer steps. Before a step it receives the parameter's gradient, after it
the model's parameter is written back; whatever else is kept between steps belongs to the storage.
"""

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from danlu.core.distributed.shards import to_local

StorageKind = Literal["master", "stochastic", "host", "held"]
# Called with a parameter of the model before its step, when its gradient is complete.
GradHook = Callable[[nn.Parameter], None]
# Called with a parameter of the model and the tensor stepped for it, which may be changed in place.
StepHook = Callable[[nn.Parameter, Tensor], None]


class ParamStorage(Protocol):
    """Pair a model's parameter with the tensor stepped for it.

    Attributes:
        weight: the model's parameter.
        optim_param: the optimizer's parameter.
    """

    weight: nn.Parameter
    optim_param: nn.Parameter

    def load_grad(self) -> None:
        """Give the optimizer's parameter its gradient, and its value where that is not kept."""

    def write_back(self) -> None:
        """Write the stepped value back to the model; free what is not kept."""

    def extra_state(self) -> Tensor | None:
        """Return the state that a checkpoint needs besides the model's parameter."""

    def load_extra_state(self, kept: Tensor | None) -> None:
        """Load a checkpoint's extra state; without one, copy the model's parameter."""


class InPlace:
    """Step the model's parameter itself."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = self.optim_param = weight

    def load_grad(self) -> None:
        """Do nothing: the gradient is there already."""

    def write_back(self) -> None:
        """Do nothing: the parameter was stepped in place."""

    def extra_state(self) -> Tensor | None:
        return None

    def load_extra_state(self, kept: Tensor | None) -> None:
        """Do nothing: the model's parameter is the only state."""


class LocalShard:
    """Step this process's shard of a parameter, as a plain tensor in the same memory.

    Optimizers that work elementwise need no more.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        self.optim_param = nn.Parameter(to_local(weight.detach()), requires_grad=weight.requires_grad)

    def load_grad(self) -> None:
        self.optim_param.grad = None if self.weight.grad is None else to_local(self.weight.grad)

    def write_back(self) -> None:
        self.optim_param.grad = None

    def extra_state(self) -> Tensor | None:
        return None

    def load_extra_state(self, kept: Tensor | None) -> None:
        """Do nothing: the model's parameter is the only state."""


class MasterWeight:
    """Step an fp32 master copy of a bf16 parameter, so that small updates add up.

    Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        self.optim_param = nn.Parameter(weight.detach().to(torch.float32, copy=True))

    def load_grad(self) -> None:
        self.optim_param.grad = None if self.weight.grad is None else self.weight.grad.float()

    def write_back(self) -> None:
        self.weight.detach().copy_(self.optim_param.detach())
        self.optim_param.grad = None

    def extra_state(self) -> Tensor | None:
        return self.optim_param.detach()

    def load_extra_state(self, kept: Tensor | None) -> None:
        self.optim_param.detach().copy_(self.weight.detach() if kept is None else kept)


class StochasticRounding:
    """Step a temporary fp32 copy; round it stochastically to the bf16 parameter.

    On average nothing is lost although nothing is kept (Gupta et al. 2015, https://arxiv.org/abs/1502.02551).
    """

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        self.optim_param = nn.Parameter(_placeholder(weight))

    def load_grad(self) -> None:
        self.optim_param.data = self.weight.detach().float()
        self.optim_param.grad = None if self.weight.grad is None else self.weight.grad.float()

    def write_back(self) -> None:
        if (
            self.optim_param.grad is not None
        ):  # a parameter without a gradient was not stepped, and draws no random numbers
            round_stochastically(self.optim_param.detach(), self.weight.detach())
        self.optim_param.grad = None
        self.optim_param.data = _placeholder(self.weight)

    def extra_state(self) -> Tensor | None:
        return None

    def load_extra_state(self, kept: Tensor | None) -> None:
        """Do nothing: the model's parameter is the only state."""


class CPUOffload:
    """Step an fp32 copy in host memory, next to its gradient and optimizer state."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        pinned = weight.device.type == "cuda"
        host = {"dtype": torch.float32, "device": torch.device("cpu"), "pin_memory": pinned}
        self.optim_param = nn.Parameter(torch.empty(weight.shape, **host).copy_(weight.detach()))  # type: ignore[call-overload]
        self.grad_buffer: Tensor = torch.empty(weight.shape, **host)  # type: ignore[call-overload]

    def load_grad(self) -> None:
        """Start copying the gradient; call `synchronize` before reading it."""
        if self.weight.grad is not None:
            self.grad_buffer.copy_(self.weight.grad.detach(), non_blocking=True)
        self.optim_param.grad = None if self.weight.grad is None else self.grad_buffer

    def write_back(self) -> None:
        if self.optim_param.grad is not None:
            # The device reads the host's copy before it reaches the next step's gradients, which `load` waits for.
            self.weight.detach().copy_(self.optim_param.detach(), non_blocking=True)
        self.optim_param.grad = None

    def extra_state(self) -> Tensor | None:
        return self.optim_param.detach()

    def load_extra_state(self, kept: Tensor | None) -> None:
        self.optim_param.detach().copy_(self.weight.detach() if kept is None else kept)


def _placeholder(weight: Tensor) -> Tensor:
    """Return an fp32 tensor of a parameter's shape in the memory of one number.

    For code that looks at shapes between steps.
    """
    return torch.zeros((), dtype=torch.float32, device=weight.device).expand(weight.shape)


def make_storage(weight: nn.Parameter, storage: StorageKind | None) -> ParamStorage:
    """Return the storage of a parameter; fp32 parameters need a copy only on the host."""
    if storage == "host":
        return CPUOffload(weight)
    if storage == "held":
        return LocalShard(weight)
    if storage is None or weight.dtype != torch.bfloat16:
        return InPlace(weight)
    return MasterWeight(weight) if storage == "master" else StochasticRounding(weight)


def round_stochastically(values: Tensor, out: Tensor) -> None:
    """Round fp32 to bf16, up or down with probabilities that preserve the mean.

    A random number below one unit of bf16 is added to the bits, and the lower half cut off. Infinities and torch's own
    not-a-number stay unchanged. Random bits come from the default generator of the device.

    Args:
        values: [...] fp32; changed in place.
        out: [...] bf16.
    """
    bits = values.view(torch.int32)
    bits.add_(torch.randint(1 << 16, bits.shape, dtype=torch.int32, device=bits.device))
    bits.bitwise_and_(-(1 << 16))
    out.copy_(values)
