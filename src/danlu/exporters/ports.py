"""What goes into a network and comes out of an exported file: names, types, and shapes with named free dimensions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from danlu.data.specs import EncoderInputs, ImageInputs, InputSpec, TabularInputs, TokenInputs
from danlu.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor

BATCH, LENGTH = "batch", "length"
SAMPLES, TOKENS = 2, 8  # of the inputs that a network is followed with


@dataclass(frozen=True)
class Port:
    """Name one input or output of a file.

    Attributes:
        name: as the file has it.
        dtype: numpy's name of the type, or `string`.
        shape: a number, or a name where the size is free.
        names: of the columns of an output, if they have any.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    names: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """Return it as danlu.json holds it."""
        named = {"names": list(self.names)} if self.names else {}
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape), **named}


def network_ports(inputs: InputSpec) -> tuple[Port, ...]:
    """Return the prepared inputs of a network, in the order of its forward.

    Raises:
        ArgumentError: no form but torch takes inputs of this kind.
    """
    if isinstance(inputs, TabularInputs):
        numeric = Port("numeric", "float32", (BATCH, inputs.numeric))
        categories = Port("categories", "int64", (BATCH, len(inputs.cardinalities)))
        return tuple(port for port in (numeric, categories) if port.shape[1])
    if isinstance(inputs, ImageInputs):
        return (Port("image", "uint8", (BATCH, inputs.channels, inputs.size, inputs.size)),)
    if isinstance(inputs, TokenInputs):
        names = ("input_ids", "attention_mask") if isinstance(inputs, EncoderInputs) else ("input_ids",)
        return tuple(Port(name, "int64", (BATCH, LENGTH)) for name in names)
    raise ArgumentError(f"inputs of {type(inputs).__name__} have no form outside of danlu", code="DL409")


def sample_inputs(inputs: InputSpec) -> "tuple[Tensor, ...]":
    """Return valid inputs of a few samples, the last text padded."""
    import torch

    sizes: Mapping[str, int] = {BATCH: SAMPLES, LENGTH: min(TOKENS, getattr(inputs, "longest", TOKENS))}
    found = []
    for port in network_ports(inputs):
        shape = [sizes[size] if isinstance(size, str) else size for size in port.shape]
        made = torch.zeros(shape, dtype=getattr(torch, port.dtype))
        if port.name == "attention_mask":
            made += 1
            made[-1, shape[1] // 2 + 1 :] = 0
        found.append(made)
    return tuple(found)
