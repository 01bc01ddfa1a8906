"""Tiny transformers and a bit of text, trained plainly or by several processes: what the parallel tests compare."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from danlu.data.loader import Batch
from danlu.data.specs import CorpusInputs, TextInputs
from danlu.data.text.sequences import TokenBlocks
from danlu.data.text.tokenize import RaggedTokens
from danlu.models.text.options import Transformer
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.table import get_task

VOCABULARY = 300
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
# Relative, fp32: steps with momentum let a rounding error of 1e-7 grow, by how much the CPU decides. What is left out
# or counted twice is off by 1e-3 and more.
TOLERANCE = 5e-5
CORPUS = Path(__file__).parents[2] / "LICENSE"  # a text that stays as it is


def language_model(name: str, **config: Any) -> nn.Module:
    """A tiny one, the same in every process."""
    torch.manual_seed(3)
    inputs = CorpusInputs(vocabulary=VOCABULARY, end=0, longest=64, packed=False)
    return _shaken(Transformer(name=f"hf:{name}", config={**SIZES, **config}).build(inputs, VOCABULARY))


def classifier(name: str, **config: Any) -> nn.Module:
    """A tiny one of three classes, the same in every process."""
    torch.manual_seed(3)
    inputs = TextInputs(vocabulary=VOCABULARY, pad=1, longest=64)
    return _shaken(Transformer(name=f"hf:{name}", config={**SIZES, **config}).build(inputs, 3))


@torch.no_grad()
def _shaken(model: nn.Module) -> nn.Module:
    """Biases begin as zeros and norms as ones, which would hide that one was added twice."""
    for weight in model.parameters():
        if weight.ndim == 1:
            weight.add_(torch.randn_like(weight), alpha=0.2)
    return model


def corpus_batches(steps: int, packed: bool, rows: int = 4, length: int = 32) -> list[Batch]:
    """Blocks of the repository's licence, its lines being documents."""
    lines = [line for line in CORPUS.read_bytes().split(b"\n") if len(line) > 8]
    pieces = [np.frombuffer(line, np.uint8).astype(np.int64) + 1 for line in lines]
    ids = np.concatenate([np.append(piece, 0) for piece in pieces])
    ends = np.cumsum([len(piece) + 1 for piece in pieces])
    tokens = RaggedTokens(ids, np.concatenate([[0], ends]))
    count = steps * rows
    lengths = np.full(count, length)
    lengths[1::3] -= 5  # some end in padding
    blocks = TokenBlocks(tokens, np.arange(count) * length, lengths, length, lead=0, pad=0, packed=packed)
    batches = []
    for step in range(steps):
        order = np.arange(step * rows, (step + 1) * rows)
        taken = blocks.take(order)
        batches.append(Batch({k: v for k, v in taken.items() if k != "target"}, taken["target"], order, 0))
    return batches


def text_batches(steps: int, rows: int = 4, length: int = 13) -> list[Batch]:
    """Token ids padded to a length that does not divide, with a class that follows from them."""
    draw = torch.Generator().manual_seed(5)
    batches = []
    for step in range(steps):
        ids = torch.randint(2, VOCABULARY, (rows, length), generator=draw)
        mask = (torch.arange(length) < torch.tensor([[length], [length - 2], [length - 5], [4]])).long()
        inputs = {"input_ids": ids.where(mask.bool(), 1), "attention_mask": mask}
        batches.append(Batch(inputs, ids[:, 0] % 3, np.arange(rows) + step * rows, 0))
    return batches


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda weights: torch.optim.SGD(weights, lr=0.3, momentum=0.9),
    # The keys' biases have no gradient but rounding, which a smaller epsilon would make steps of.
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=3e-3, eps=1e-6),
}


@dataclass(frozen=True)
class Curve:
    """What training gave: the loss and the gradient's norm of every step, and the weights at the end."""

    losses: list[float]
    norms: list[float]
    weights: dict[str, Tensor]


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def train(
    model: nn.Module,
    batches: list[Batch],
    optimizer: str,
    head: str,
    smoothing: float = 0.0,
    part: Callable[[Batch], Batch] = lambda batch: batch,
    total: Callable[[Tensor], Tensor] = lambda value: value,
    gradients: Callable[[nn.Module], None] = lambda model: None,
    averaged: int = 1,
) -> Curve:
    """Train plainly.

    Args:
        part: of a batch what this process takes.
        total: the sum over processes that took other parts.
        gradients: summed over those processes, in place.
        averaged: processes whose gradients are averaged rather than summed.
    """
    stepper = OPTIMIZERS[optimizer](list(model.parameters()))
    losses, norms = [], []
    model.train()
    for number, batch in enumerate(batches):
        torch.manual_seed(number)
        taken = part(batch)
        loss, count = (
            get_task(head).head(None).loss(model(**taken.inputs), taken.target, LossWeighting(smoothing=smoothing))
        )
        answers = total(torch.tensor(float(count))).item()
        (loss * averaged / answers).backward()
        gradients(model)
        found = [whole(weight.grad).flatten() for weight in model.parameters() if weight.grad is not None]
        losses.append((total(loss.detach()) / answers).item())
        norms.append(float(torch.cat(found).norm()))
        stepper.step()
        stepper.zero_grad()
    return Curve(losses, norms, {name: whole(weight.detach()).clone() for name, weight in model.named_parameters()})


def deviation(found: Curve, wanted: Curve) -> dict[str, float]:
    """The largest relative differences."""
    assert found.weights.keys() == wanted.weights.keys()
    return {
        "loss": max(abs(a / b - 1) for a, b in zip(found.losses, wanted.losses, strict=True)),
        "norm": max(abs(a / b - 1) for a, b in zip(found.norms, wanted.norms, strict=True)),
        "weights": max(
            float((found.weights[name] - weight).norm() / weight.norm()) for name, weight in wanted.weights.items()
        ),
    }
