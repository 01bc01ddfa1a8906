"""The types of weights in a GGUF file: what the package gguf writes, and how far answers may move by each.

Tolerances bound the mean deviation of the logits of the golden texts, relative where a logit is beyond 1. They are
some two to six times what SmolLM2-135M showed (0.0016, 0.07, 0.4 and 1.2); small new models move less.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.errors import ArgumentError

BLOCK = 32  # weights that share a scale, along a row


@dataclass(frozen=True)
class WeightType:
    """Say how a matrix is kept.

    Attributes:
        name: as gguf has it.
        file_type: llama.cpp's number for a file of mostly this type.
        tolerance: the largest mean deviation of logits that is allowed.
        of_words: the type of the embedding and of the last layer, which lose most by few bits.
    """

    name: str
    file_type: int
    tolerance: float
    of_words: str

    @property
    def is_quantized(self) -> bool:
        """Whether weights share scales."""
        return self.name.startswith("Q")


WEIGHT_TYPES: dict[str, WeightType] = {
    found.name.lower(): found
    for found in (
        WeightType("F32", 0, 1e-4, "F32"),
        WeightType("F16", 1, 0.01, "F16"),
        WeightType("Q8_0", 7, 0.25, "Q8_0"),
        WeightType("Q5_1", 9, 1.0, "Q8_0"),
        WeightType("Q5_0", 8, 1.0, "Q8_0"),
        WeightType("Q4_1", 3, 2.0, "Q8_0"),
        WeightType("Q4_0", 2, 2.0, "Q8_0"),
    )
}
USUAL = "q8_0"


def weight_type(asked: str | None) -> WeightType:
    """Return a type by its name in any case; the usual one for None.

    Raises:
        ArgumentError: the kept package cannot write it.
    """
    name = (asked or USUAL).lower()
    if name in WEIGHT_TYPES:
        return WEIGHT_TYPES[name]
    known = ", ".join(WEIGHT_TYPES)
    if "_k" in name or name.startswith("iq"):
        raise ArgumentError(
            f"--outtype {asked}: only llama.cpp itself writes this type: export with --outtype f16, then "
            f"`llama-quantize model.gguf small.gguf {name.upper()}`; danlu writes {known}",
            code="DL402",
        )
    raise ArgumentError(f"--outtype {asked}: must be one of {known}", code="DL402")


def type_of(name: str, values: np.ndarray, kind: WeightType) -> str:
    """Return the type in which a tensor is kept, as llama.cpp's converter chooses it.

    Vectors stay whole, and matrices whose rows are no whole blocks have 16 bits.

    Args:
        name: the tensor's in the file.
        values: [outputs, inputs] or [width].
        kind: of the file.
    """
    if values.ndim < 2:
        return "F32"
    chosen = kind.of_words if name in ("token_embd.weight", "output.weight") else kind.name
    return "F16" if chosen.startswith("Q") and values.shape[-1] % BLOCK else chosen


def packed(values: np.ndarray, name: str) -> Any:
    """Return a tensor's bytes in a type, [outputs, bytes of a row]."""
    import gguf

    return gguf.quantize(np.ascontiguousarray(values, dtype=np.float32), gguf.GGMLQuantizationType[name])


def unpacked(data: Any, name: str) -> np.ndarray:
    """Return the numbers that a tensor's bytes stand for."""
    import gguf

    return np.asarray(gguf.dequantize(data, gguf.GGMLQuantizationType[name]))
