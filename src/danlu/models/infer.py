"""A model's answers to prepared samples, in order, without gradients; by several processes, each sample once."""

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
    """Asks a model, which several processes may have parts of; all of them ask together."""

    def answer(self, inputs: Tensors, target: Tensor | None) -> Tensor:
        """Answers as the head gives them, [batch, ...], on every process that has the samples."""

    def loss(self, inputs: Tensors, target: Tensor) -> tuple[Tensor, int]:
        """The summed loss and how many answers it is summed over; of this process's tokens, where it has some alone."""


@dataclass(frozen=True)
class Called:
    """Asks a model by calling it."""

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
    """What the model says of every sample.

    Args:
        model: on `device`; left in the mode (training or not) it was in.
        batch_size: samples at a time; decides memory and, in the last bits, rounding.
        advance: called with the number of samples after each batch, for a progress bar.
        judge: asks the model, where it is not simply called.
        team: each process answers its share of every batch, and has all answers in the end.

    Returns:
        [samples, ...] float32, as the head's `answer` gives them.
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
    """This process's rows of each batch, which may be none, and the answers to them, within `judging`."""
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
    """The loss over all samples, each counted once whatever the batch size and however many processes."""
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
    """The model answers and learns nothing; after, it is in the mode it was in."""
    was_training = model.training
    model.eval()
    # Weights that are gathered for inference mode could not be used in training afterwards.
    with torch.inference_mode() if team.alone else torch.no_grad():
        yield
    model.train(was_training)
    give_back = getattr(model, "reshard", None)
    if give_back is not None:  # of a model that processes share, what was gathered for the last forward pass
        give_back()


def _shares(
    examples: Examples, size: int, device: torch.device, team: Team
) -> Iterator[tuple[np.ndarray, Tensors, Tensor | None]]:
    """A process's rows of every batch with inputs and answers; where it has none, one sample that counts for nothing.

    Every process must call the model equally often, since others may wait for its part of the weights.
    """
    if team.alone:
        yield from examples.in_order(size, device)
        return

    def make(rows: np.ndarray) -> tuple[np.ndarray, Tensors, Tensor | None]:
        own = rows[team.slice_of(len(rows))]
        return own, *examples.take(own if len(own) else rows[:1], device)

    yield from examples.made(make, ordered_batches(len(examples), size))
