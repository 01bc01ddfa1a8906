"""Learning rate finder: the range test of Smith 2017, Cyclical Learning Rates, https://arxiv.org/abs/1506.01186.

In: a model and a step of its training. Out: losses by rate, and the rate at which the loss falls fastest. The model is
left as it was; whatever else the step changes (an optimizer, the order of batches) is the caller's to discard.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from danlu.errors import DanluError

MIN_LR, MAX_LR = 1e-6, 10.0
STEPS = 100
SMOOTHING = 0.9  # decay of the running mean of losses, which tells divergence
SMOOTHING_RADIUS = 5  # losses averaged on either side; a running mean would lag behind the rate
DIVERGENCE_RATIO = 4.0  # times the best loss: above it no larger rate is tried
MIN_LOSS_DROP = 0.02  # of the loss; less than that is not learning


@dataclass(frozen=True)
class LRFinderResult:
    """Hold the result of a learning rate search.

    Attributes:
        lrs: learning rates tried, rising by a constant factor, [tried].
        losses: smoothed, [tried].
        suggested_lr: the rate at which the smoothed loss falls fastest over the logarithm of the rate.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    suggested_lr: float


def find_lr(
    model: nn.Module,
    step: Callable[[float], float],
    min_lr: float = MIN_LR,
    max_lr: float = MAX_LR,
    steps: int = STEPS,
) -> LRFinderResult:
    """Train with rates rising from `min_lr` to `max_lr` and find where the loss falls fastest.

    Args:
        model: its weights, buffers and mode are restored afterwards.
        step: trains the model by one step at this rate, and returns its loss before the step.

    Raises:
        DanluError: the loss fell at no rate.
    """
    kept = {name: value.detach().clone() for name, value in model.state_dict(keep_vars=True).items()}
    was_training = model.training
    rates = [min_lr * (max_lr / min_lr) ** (index / (steps - 1)) for index in range(steps)]
    try:
        losses = _smooth(_sweep(step, rates))
    finally:
        _restore(model, kept)
        model.train(was_training)
    return LRFinderResult(tuple(rates[: len(losses)]), tuple(losses), _steepest_lr(rates, losses))


def _sweep(step: Callable[[float], float], lrs: list[float]) -> list[float]:
    """Return the losses by rate, up to the point where training diverges."""
    losses: list[float] = []
    mean, best, first = 0.0, math.inf, 0.0
    for count, rate in enumerate(lrs, start=1):
        loss = step(rate)
        if not math.isfinite(loss):
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed = mean / (1 - SMOOTHING**count)  # as if the mean had not begun at 0
        losses.append(loss)
        best, first = min(best, smoothed), first or smoothed
        # A loss may be negative or near zero, where a multiple of it means nothing: judged by the first one too.
        if smoothed > best + (DIVERGENCE_RATIO - 1) * max(abs(best), 0.1 * abs(first)):
            break
    return losses


def _smooth(losses: list[float]) -> list[float]:
    """Average each loss with its neighbours; towards the ends with fewer, equally on both sides."""
    reach = [min(SMOOTHING_RADIUS, index, len(losses) - 1 - index) for index in range(len(losses))]
    return [float(np.mean(losses[index - r : index + r + 1])) for index, r in enumerate(reach)]


def _steepest_lr(lrs: list[float], losses: list[float]) -> float:
    """Return the rate of the fastest fall between the highest loss and the later minimum."""
    curve = np.array(losses)
    bottom = int(curve.argmin()) if losses else 0
    top = int(curve[: bottom + 1].argmax()) if losses else 0
    if bottom - top < 2 or curve[top] - curve[bottom] < MIN_LOSS_DROP * abs(curve[top]):
        raise DanluError(
            f"the learning rate range test found no rate from {lrs[0]:.0e} to {lrs[-1]:.0e} that lowers the loss; "
            "set training.optimizer.lr to a number",
            code="DL506",
        )
    slopes = np.gradient(curve[: bottom + 1], np.log(lrs[: bottom + 1]))
    begin = min(max(top, SMOOTHING_RADIUS), bottom - 1)  # the first are means of few losses, and fall by chance
    return lrs[begin + int(slopes[begin:].argmin())]


@torch.no_grad()
def _restore(model: nn.Module, kept: dict[str, torch.Tensor]) -> None:
    for name, value in model.state_dict(keep_vars=True).items():
        value.copy_(kept[name])
