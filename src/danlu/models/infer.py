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

from danlu.core.distributed.process_groups import SINGLE_PROCESS, ProcessGroups
from danlu.core.distributed.shards import is_dtensor
from danlu.data.loader import PreparedDataset, Tensors, sequential_batches
from danlu.data.sources.tags import stack_ragged
from danlu.tasks.base import Head
from danlu.tasks.loss_weighting import LossWeighting


class Evaluator(Protocol):
    """Evaluate a model that may be sharded over processes; all processes call it together."""

    def predict(self, inputs: Tensors, target: Tensor | None) -> Tensor:
        """Return the head's predictions, [batch, ...], on every process that has the samples."""

    def loss(self, inputs: Tensors, target: Tensor) -> tuple[Tensor, int]:
        """Return the summed loss and the number of targets.

        Where processes share a sequence, they are of this process's tokens.
        """


@dataclass(frozen=True)
class EagerEvaluator:
    """Evaluate a model by calling its forward."""

    model: nn.Module
    head: Head

    def predict(self, inputs: Tensors, target: Tensor | None) -> Tensor:
        return self.head.predict(self.model(**inputs), target)

    def loss(self, inputs: Tensors, target: Tensor) -> tuple[Tensor, int]:
        return self.head.loss(self.model(**inputs), target, LossWeighting())


def predict_all(
    model: nn.Module,
    head: Head,
    examples: PreparedDataset,
    batch_size: int,
    device: torch.device,
    on_progress: Callable[[int], None] | None = None,
    evaluator: Evaluator | None = None,
    groups: ProcessGroups = SINGLE_PROCESS,
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
    with eval_mode(model, groups):
        for rows, answer in predict_batches(model, head, examples, batch_size, device, evaluator, groups):
            found.append((rows, answer))
            if on_progress is not None:
                on_progress(len(rows))
        if groups.is_single_process:
            return stack_ragged([answer.cpu().numpy() for _, answer in found])
        whole = found[0][1].new_zeros(len(examples), *found[0][1].shape[1:])
        for rows, answer in found:
            whole[torch.from_numpy(rows).to(whole.device)] = answer
        return groups.all_reduce_dp(whole).cpu().numpy()


def predict_batches(
    model: nn.Module,
    head: Head,
    examples: PreparedDataset,
    batch_size: int,
    device: torch.device,
    evaluator: Evaluator | None = None,
    groups: ProcessGroups = SINGLE_PROCESS,
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield this process's rows of each batch (possibly none) and their predictions.

    Call it within `eval_mode`.
    """
    evaluator = evaluator or EagerEvaluator(model, head)
    for rows, inputs, target in _local_batches(examples, batch_size, device, groups):
        yield rows, evaluator.predict(inputs, target).float()[: len(rows)]


def mean_loss(
    model: nn.Module,
    head: Head,
    examples: PreparedDataset,
    batch_size: int,
    device: torch.device,
    evaluator: Evaluator | None = None,
    groups: ProcessGroups = SINGLE_PROCESS,
) -> float:
    """Return the mean loss over all samples, independent of batch size and number of processes."""
    evaluator = evaluator or EagerEvaluator(model, head)
    sums: list[Tensor] = []
    count = 0
    with eval_mode(model, groups):
        for rows, inputs, target in _local_batches(examples, batch_size, device, groups):
            assert target is not None
            loss, counted = evaluator.loss(inputs, target)
            if len(rows):
                sums.append(loss.double())
                count += counted
        total = torch.stack(sums).sum() if sums else torch.zeros((), dtype=torch.float64, device=device)
        both = groups.all_reduce_dp_cp(torch.stack([total, total.new_tensor(float(count))]))
    return float(both[0] / both[1])


@contextmanager
def eval_mode(model: nn.Module, groups: ProcessGroups = SINGLE_PROCESS) -> Iterator[None]:
    """Put a model in evaluation mode without gradients; restore its mode afterwards."""
    was_training = model.training
    model.eval()
    # Weights gathered in inference mode could not be used for training afterwards.
    with torch.inference_mode() if groups.is_single_process else torch.no_grad():
        yield
    model.train(was_training)
    give_back = getattr(model, "reshard", None)
    if give_back is not None:  # FSDP: free the weights gathered for the last forward pass
        give_back()


@torch.no_grad()
def share_buffers(model: nn.Module, groups: ProcessGroups) -> None:
    """Give all replicas of a model the first one's buffers.

    Each process gathers its own while it trains. Checkpoints and the bundle keep those of the first, so these are to be
    judged, by a process that was restarted too.
    """
    for values in model.buffers():
        if values.is_floating_point() and not is_dtensor(values):
            groups.broadcast_dp_cp(values)


def _local_batches(
    examples: PreparedDataset, size: int, device: torch.device, groups: ProcessGroups
) -> Iterator[tuple[np.ndarray, Tensors, Tensor | None]]:
    """Yield this process's rows of every batch, with inputs and targets.

    A process without rows gets one dummy sample: every process must call the model equally often, since others may wait
    for its shard of the weights.
    """
    if groups.is_single_process:
        yield from examples.iter_batches(size, device)
        return

    def make(rows: np.ndarray) -> tuple[np.ndarray, Tensors, Tensor | None]:
        own = rows[groups.local_slice(len(rows))]
        return own, *examples.take(own if len(own) else rows[:1], device)

    yield from examples.imap(make, sequential_batches(len(examples), size))
