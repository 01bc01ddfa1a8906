"""Weights stored as whole numbers of 4 or 8 bits with a scale a group, rounded to nearest.

A weight NAME becomes NAME.codes, [outputs, inputs] int8 (of 4 bits two to a byte, uint8), and NAME.scales, [outputs,
groups] float16. A value is code times scale; codes are symmetric, -127 to 127 or -7 to 7.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from danlu.artifacts.bundle import Coding

CODES, SCALES = ".codes", ".scales"
LARGEST = {8: 127, 4: 7}


def encode(weight: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor]:
    """Return the codes and scales of a weight, [outputs, ...].

    Args:
        weight: a matrix, or a convolution's, whose window counts as inputs.
        bits: 4 or 8.
        group: inputs that share a scale; 0 for all of an output. The last group may be shorter.
    """
    grouped = _grouped(weight.detach().float().flatten(1), group)
    largest = LARGEST[bits]
    scales = (grouped.abs().amax(dim=-1) / largest).to(torch.float16)
    # Below the smallest of float16 every weight is as good as zero.
    safe = scales.float().clamp_min(torch.finfo(torch.float16).tiny)
    codes = (grouped / safe[..., None]).round().clamp(-largest, largest).to(torch.int8)
    flat = codes.flatten(1)[:, : weight[0].numel()].contiguous()
    return (_packed(flat) if bits == 4 else flat), scales


def rounded(weight: Tensor, bits: int, group: int) -> Tensor:
    """Return a weight as it comes back from its codes."""
    codes, scales = encode(weight, bits, group)
    coding = Coding.model_validate({"bits": bits, "group": group, "shapes": {"": tuple(weight.shape)}})
    return decode({CODES: codes, SCALES: scales}, coding)[""].to(weight.dtype)


def decode(tensors: Mapping[str, Tensor], coding: Coding) -> dict[str, Tensor]:
    """Return a file's tensors with those that are stored as codes in float32.

    Raises:
        RuntimeError: codes or scales are missing, or of another size.
    """
    found = {name: value for name, value in tensors.items() if not name.endswith((CODES, SCALES))}
    for name, shape in coding.shapes.items():
        codes, scales = tensors.get(f"{name}{CODES}"), tensors.get(f"{name}{SCALES}")
        if codes is None or scales is None:
            raise RuntimeError(f"the weights do not match the model: missing {name}{CODES}")
        inputs = int(torch.Size(shape[1:]).numel())
        flat = _unpacked(codes, inputs) if coding.bits == 4 else codes
        grouped = _grouped(flat.float(), coding.group)
        if flat.shape != (shape[0], inputs) or grouped.shape[:2] != scales.shape:
            raise RuntimeError(f"the weights do not match the model: {name}{CODES} is of another size")
        values = grouped * scales.float()[..., None]
        found[name] = values.flatten(1)[:, :inputs].reshape(shape).contiguous()
    return found


def _grouped(rows: Tensor, group: int) -> Tensor:
    """Return rows [outputs, inputs] as [outputs, groups, group], the last filled up with zeros."""
    size = group or rows.shape[1]
    lacking = -rows.shape[1] % size
    return torch.nn.functional.pad(rows, (0, lacking)).reshape(len(rows), -1, size)


def _packed(codes: Tensor) -> Tensor:
    """Return two codes of 4 bits in a byte, the first in its low half."""
    shifted = torch.nn.functional.pad(codes, (0, codes.shape[1] % 2)).to(torch.int16) + 8
    return (shifted[:, ::2] | (shifted[:, 1::2] << 4)).to(torch.uint8)


def _unpacked(packed: Tensor, inputs: int) -> Tensor:
    pairs = packed.to(torch.int16)
    return (torch.stack([pairs & 15, pairs >> 4], dim=2).flatten(1) - 8)[:, :inputs].to(torch.int8)
