"""The training loop, the same for every task and device: batches in; steps, validations and checkpoints out.

Every random choice is a function of (seed, epoch) or (seed, step), so step s sees the same samples and the same dropout
masks however the run got there. A run that starts at step s from the state of step s continues bit by bit.
"""

import math
from dataclasses import dataclass

from danlu.data.feed import batch_bounds
from danlu.recipe.sections import Training

NUM_LOGGED_STEPS = 200  # about as many lines of training loss are written, however long the run
MIN_VALIDATIONS = 10  # a run of fewer epochs validates within them too


@dataclass(frozen=True)
class TrainPlan:
    """Hold the length of a run and its validation and logging intervals, in optimizer steps.

    Attributes:
        steps: length that the schedule is stretched over.
        end_step: last step; earlier than `steps` where training is to end after a known number of epochs.
    """

    steps: int
    end_step: int
    steps_per_epoch: int
    validate_every: int
    log_every: int


def plan_steps(samples: int, options: Training, until_epoch: float | None = None) -> TrainPlan:
    """Turn a resolved `training` section into steps for a number of training samples.

    Args:
        until_epoch: epochs to end after, at most those of the schedule.
    """
    assert options.epochs is not None and isinstance(options.batch_size, int)
    an_epoch = len(batch_bounds(samples, options.batch_size))
    steps = min(options.epochs * an_epoch, options.max_steps or options.epochs * an_epoch)
    return TrainPlan(
        steps=steps,
        end_step=steps if until_epoch is None else min(steps, max(1, round(until_epoch * an_epoch))),
        steps_per_epoch=an_epoch,
        validate_every=min(an_epoch, max(1, math.ceil(steps / MIN_VALIDATIONS))),
        log_every=max(1, steps // NUM_LOGGED_STEPS),
    )
