"""Where an optimizer finds a weight: in the model, or as a copy with more digits, or on the host.

A slot holds the tensor that the optimizer steps. Before a step it is given the weight's gradient, after it the model's
weight is set; whatever else is kept between steps is the slot's own.
"""

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from danlu.core.pieces import held

Keep = Literal["master", "stochastic", "host", "held"]
# Called with a weight of the model before its step, when its gradient is there.
Before = Callable[[nn.Parameter], None]
# Called with a weight of the model and the tensor that was stepped for it, which may be changed in place.
After = Callable[[nn.Parameter, Tensor], None]


class Slot(Protocol):
    """One weight of the model and the tensor stepped for it.

    Attributes:
        weight: the model's.
        stepped: the optimizer's.
    """

    weight: nn.Parameter
    stepped: nn.Parameter

    def load(self) -> None:
        """Give `stepped` the weight's gradient, and its value where that is not kept."""

    def store(self) -> None:
        """Set the weight to what was stepped, and let go of what is not kept."""

    def kept(self) -> Tensor | None:
        """What a checkpoint needs besides the model's weight to go on exactly."""

    def restore(self, kept: Tensor | None) -> None:
        """Take up a checkpoint's `kept`; where it has none, the model's weight."""


class Plain:
    """Steps the model's weight itself."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = self.stepped = weight

    def load(self) -> None:
        """The gradient is there already."""

    def store(self) -> None:
        """The weight is there already."""

    def kept(self) -> Tensor | None:
        return None

    def restore(self, kept: Tensor | None) -> None:
        """The model's weight is all there is."""


class Held:
    """Steps what this process holds of a weight, a plain tensor in the same memory: no step looks beyond an entry."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        self.stepped = nn.Parameter(held(weight.detach()), requires_grad=weight.requires_grad)

    def load(self) -> None:
        self.stepped.grad = None if self.weight.grad is None else held(self.weight.grad)

    def store(self) -> None:
        self.stepped.grad = None

    def kept(self) -> Tensor | None:
        return None

    def restore(self, kept: Tensor | None) -> None:
        """The model's weight is all there is."""


class Master:
    """Steps an fp32 copy of a bf16 weight, so that steps smaller than bf16's distances add up (Micikevicius 2018)."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        self.stepped = nn.Parameter(weight.detach().to(torch.float32, copy=True))

    def load(self) -> None:
        self.stepped.grad = None if self.weight.grad is None else self.weight.grad.float()

    def store(self) -> None:
        self.weight.detach().copy_(self.stepped.detach())
        self.stepped.grad = None

    def kept(self) -> Tensor | None:
        return self.stepped.detach()

    def restore(self, kept: Tensor | None) -> None:
        self.stepped.detach().copy_(self.weight.detach() if kept is None else kept)


class Stochastic:
    """Steps an fp32 copy that lives for the step alone; the weight is it rounded up or down at random to bf16.

    On average nothing is lost, though nothing is kept (Gupta et al. 2015).
    """

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        self.stepped = nn.Parameter(_placeholder(weight))

    def load(self) -> None:
        self.stepped.data = self.weight.detach().float()
        self.stepped.grad = None if self.weight.grad is None else self.weight.grad.float()

    def store(self) -> None:
        if self.stepped.grad is not None:  # a weight without a gradient was not stepped, and draws no numbers
            round_stochastically(self.stepped.detach(), self.weight.detach())
        self.stepped.grad = None
        self.stepped.data = _placeholder(self.weight)

    def kept(self) -> Tensor | None:
        return None

    def restore(self, kept: Tensor | None) -> None:
        """The model's weight is all there is."""


class Host:
    """Steps an fp32 copy in the host's memory, where its gradient and the optimizer's state are too."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        pinned = weight.device.type == "cuda"
        host = {"dtype": torch.float32, "device": torch.device("cpu"), "pin_memory": pinned}
        self.stepped = nn.Parameter(torch.empty(weight.shape, **host).copy_(weight.detach()))  # type: ignore[call-overload]
        self.gradient: Tensor = torch.empty(weight.shape, **host)  # type: ignore[call-overload]

    def load(self) -> None:
        """Starts a copy; `synchronize` before it is read."""
        if self.weight.grad is not None:
            self.gradient.copy_(self.weight.grad.detach(), non_blocking=True)
        self.stepped.grad = None if self.weight.grad is None else self.gradient

    def store(self) -> None:
        if self.stepped.grad is not None:
            # The device reads the host's copy before it reaches the next step's gradients, which `load` waits for.
            self.weight.detach().copy_(self.stepped.detach(), non_blocking=True)
        self.stepped.grad = None

    def kept(self) -> Tensor | None:
        return self.stepped.detach()

    def restore(self, kept: Tensor | None) -> None:
        self.stepped.detach().copy_(self.weight.detach() if kept is None else kept)


def _placeholder(weight: Tensor) -> Tensor:
    """fp32 of a weight's shape in the memory of a single number, for what looks at shapes between steps."""
    return torch.zeros((), dtype=torch.float32, device=weight.device).expand(weight.shape)


def slot_of(weight: nn.Parameter, keep: Keep | None) -> Slot:
    """The slot of a weight: fp32 weights need no copy unless it is on the host."""
    if keep == "host":
        return Host(weight)
    if keep == "held":
        return Held(weight)
    if keep is None or weight.dtype != torch.bfloat16:
        return Plain(weight)
    return Master(weight) if keep == "master" else Stochastic(weight)


def round_stochastically(values: Tensor, out: Tensor) -> None:
    """Round fp32 to bf16, up or down with the chance that gives the right mean.

    A random number below one unit of bf16 is added to the bits, and the lower half cut off. Infinities and torch's own
    not-a-number stay what they are. Random bits come from the default generator of the device.

    Args:
        values: [...] fp32; changed in place.
        out: [...] bf16.
    """
    bits = values.view(torch.int32)
    bits.add_(torch.randint(1 << 16, bits.shape, dtype=torch.int32, device=bits.device))
    bits.bitwise_and_(-(1 << 16))
    out.copy_(values)
