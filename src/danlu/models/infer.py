"""Inference: predictions and loss of a model on prepared samples, in order, without gradients.

With several processes each sample is computed once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from danlu.core.team import ALONE, Team
from danlu.data.balance.emphasis import Emphasis
from danlu.data.examples import Examples, Tensors, ordered_batches
from danlu.data.tags import stacked
from danlu.models.heads import Head


class Judge(Protocol):
    """Evaluate a model that may be sharded over processes; all processes call it together."""

    def answer(self, inputs: Tensors, target: Tensor | None) -> Tensor:
        """Return the head's predictions, [batch, ...], on every process that has the samples."""

    def loss(self, inputs: Tensors, target: Tensor) -> tuple[Tensor, int]:
        """Return the summed loss and the number of targets.

        Where processes share a sequence, they are of this process's tokens.
        """


@dataclass(frozen=True)
class Called:
    """Evaluate a model by calling its forward."""

    model: nn.Module
    head: Head

    def answer(self, inputs: Tensors, target: Tensor | None) -> Tensor:
        return self.head.answer(self.model(**inputs), target)

    def loss(self, inputs: Tensors, target: Tensor) -> tuple[Tensor, int]:
        return self.head.loss(self.model(**inputs), target, Emphasis())


def answers(
    model: nn.Module,
    head: Head,
    examples: Examples,
    batch_size: int,
    device: torch.device,
    advance: Callable[[int], None] | None = None,
    judge: Judge | None = None,
    team: Team = ALONE,
) -> np.ndarray:
    """Predict every sample.

    Args:
        model: on `device`; its training mode is restored.
        batch_size: samples per forward pass; affects memory use and, in the last bits, rounding.
        on_progress: called with the number of samples after each batch, for a progress bar.
        evaluator: evaluates the model; by default its forward is called.
        team: each process computes its share of every batch, and all receive every prediction.

    Returns:
        the head's predictions, [samples, ...] float32.
    """
    found: list[tuple[np.ndarray, Tensor]] = []
    with judging(model, team):
        for rows, answer in answer_batches(model, head, examples, batch_size, device, judge, team):
            found.append((rows, answer))
            if advance is not None:
                advance(len(rows))
        if team.alone:
            return stacked([answer.cpu().numpy() for _, answer in found])
        whole = found[0][1].new_zeros(len(examples), *found[0][1].shape[1:])
        for rows, answer in found:
            whole[torch.from_numpy(rows).to(whole.device)] = answer
        return team.sum_of_samples(whole).cpu().numpy()


def answer_batches(
    model: nn.Module,
    head: Head,
    examples: Examples,
    batch_size: int,
    device: torch.device,
    judge: Judge | None = None,
    team: Team = ALONE,
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield this process's rows of each batch (possibly none) and their predictions.

    Call it within `eval_mode`.
    """
    judge = judge or Called(model, head)
    for rows, inputs, target in _shares(examples, batch_size, device, team):
        yield rows, judge.answer(inputs, target).float()[: len(rows)]


def mean_loss(
    model: nn.Module,
    head: Head,
    examples: Examples,
    batch_size: int,
    device: torch.device,
    judge: Judge | None = None,
    team: Team = ALONE,
) -> float:
    """Return the mean loss over all samples, independent of batch size and number of processes."""
    judge = judge or Called(model, head)
    sums: list[Tensor] = []
    count = 0
    with judging(model, team):
        for rows, inputs, target in _shares(examples, batch_size, device, team):
            assert target is not None
            loss, counted = judge.loss(inputs, target)
            if len(rows):
                sums.append(loss.double())
                count += counted
        total = torch.stack(sums).sum() if sums else torch.zeros((), dtype=torch.float64, device=device)
        both = team.sum_of_gradients(torch.stack([total, total.new_tensor(float(count))]))
    return float(both[0] / both[1])


@contextmanager
def judging(model: nn.Module, team: Team = ALONE) -> Iterator[None]:
    """Put a model in evaluation mode without gradients; restore its mode afterwards."""
    was_training = model.training
    model.eval()
    # Weights gathered in inference mode could not be used for training afterwards.
    with torch.inference_mode() if team.alone else torch.no_grad():
        yield
    model.train(was_training)
    give_back = getattr(model, "reshard", None)
    if give_back is not None:  # FSDP: free the weights gathered for the last forward pass
        give_back()


def _shares(
    examples: Examples, size: int, device: torch.device, team: Team
) -> Iterator[tuple[np.ndarray, Tensors, Tensor | None]]:
    """Yield this process's rows of every batch, with inputs and targets.

    A process without rows gets one dummy sample: every process must call the model equally often, since others may wait
    for its shard of the weights.
    """
    if team.alone:
        yield from examples.in_order(size, device)
        return

    def make(rows: np.ndarray) -> tuple[np.ndarray, Tensors, Tensor | None]:
        own = rows[team.slice_of(len(rows))]
        return own, *examples.take(own if len(own) else rows[:1], device)

    yield from examples.made(make, ordered_batches(len(examples), size))
