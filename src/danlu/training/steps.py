"""How long a run is, and when it validates, logs and keeps its state: worked out before it starts."""

import math
from dataclasses import dataclass

from danlu.data.feed import batch_bounds
from danlu.recipe.sections import Training

LOGGED_STEPS = 200  # about as many lines of training loss are written, however long the run
LEAST_VALIDATIONS = 10  # a run of fewer epochs validates within them too


@dataclass(frozen=True)
class Plan:
    """How long a run is.

    Attributes:
        steps: that the schedule is stretched over.
        ends: the step to end after; earlier than `steps` where it is known when training has learned enough.
    """

    steps: int
    ends: int
    steps_an_epoch: int
    validate_every: int
    log_every: int


def plan_steps(samples: int, options: Training, until: float | None = None) -> Plan:
    """The steps that a resolved `training` section means for so many training samples.

    Args:
        until: epochs to end after, within those of the schedule.
    """
    assert options.epochs is not None and isinstance(options.batch_size, int)
    an_epoch = len(batch_bounds(samples, options.batch_size))
    steps = min(options.epochs * an_epoch, options.max_steps or options.epochs * an_epoch)
    return Plan(
        steps=steps,
        ends=steps if until is None else min(steps, max(1, round(until * an_epoch))),
        steps_an_epoch=an_epoch,
        validate_every=min(an_epoch, max(1, math.ceil(steps / LEAST_VALIDATIONS))),
        log_every=max(1, steps // LOGGED_STEPS),
    )
