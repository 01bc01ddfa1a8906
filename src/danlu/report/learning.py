"""What the curves of training and validation loss say together: whether the model learned too little or by heart.

In: metrics.jsonl as it was read. Out: values that the report's sentences and pictures are made of.
"""

import math
from dataclasses import dataclass
from typing import Literal

from danlu.report.readings import TRIVIAL, Json, series, value_of

Sign = Literal["overfitting", "underfitting", "unfinished", "wide gap", "fine"]

LEAST = 3  # validations without which curves say nothing
RISE = 0.05  # of its best value that validation loss must rise by to be more than noise
STILL_FALLING = 0.02  # share that the last quarter of a run still gained
WIDE = 0.5  # share of the validation loss that training loss lies below it
HARDLY = 0.9  # of the trivial answer's loss: who needs that much has learned hardly anything


@dataclass(frozen=True)
class Learning:
    """How a model learned.

    Attributes:
        sign: what the curves suggest.
        best_step: where validation loss was least.
        training, validation: the losses there.
        last_training, last_validation: the losses at the end.
        grown: whether steps are rounds of a model that fits itself, which has no learning rate of an optimizer.
    """

    sign: Sign
    best_step: int
    training: float
    validation: float
    last_training: float
    last_validation: float
    grown: bool = False


def learning(log: list[Json], evaluation: Json) -> Learning | None:
    """Read the curves; None where there are too few points to say anything."""
    steps, validation = series(log, "validation/loss")
    training = training_at(log, steps)
    if len(steps) < LEAST or training is None:
        return None
    best = validation.index(min(validation))
    return Learning(
        sign=_sign(training, validation, best, _trivial_loss(evaluation)),
        best_step=steps[best],
        training=training[best],
        validation=validation[best],
        last_training=training[-1],
        last_validation=validation[-1],
        grown=not series(log, "lr")[0],
    )


def training_at(log: list[Json], steps: list[int]) -> list[float] | None:
    """The mean training loss logged since the validation before, at the steps of each validation; None without any."""
    logged, losses = series(log, "train/loss")
    means: list[float] = []
    for before, step in zip((0, *steps), steps, strict=False):
        within = [loss for at, loss in zip(logged, losses, strict=True) if before < at <= step]
        if within:
            means.append(sum(within) / len(within))
        elif means:
            means.append(means[-1])
        else:
            return None
    return means


def _sign(training: list[float], validation: list[float], best: int, trivial: float | None) -> Sign:
    rise = validation[-1] - validation[best]
    if rise > RISE * abs(validation[best]) and training[-1] < training[best]:
        return "overfitting"
    if trivial is not None and min(training[-1], validation[best]) > HARDLY * trivial:
        return "underfitting"
    earlier = min(validation[: max(1, math.ceil(0.75 * len(validation)) - 1)])
    if earlier - validation[best] > STILL_FALLING * abs(earlier) and best == len(validation) - 1:
        return "unfinished"
    if validation[best] - training[best] > WIDE * abs(validation[best]):
        return "wide gap"
    return "fine"


def _trivial_loss(evaluation: Json) -> float | None:
    """The validation loss of the answer that never looks at the input, where it is the same kind of loss."""
    for name, judged in evaluation.get("baselines", {}).items():
        if name in TRIVIAL:
            perplexity = value_of(judged.get("validation", {}), "perplexity")
            loss = value_of(judged.get("validation", {}), "log-loss")
            return math.log(perplexity) if perplexity else loss
    return None
