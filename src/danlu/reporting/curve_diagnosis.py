"""Diagnosis of training and validation loss curves: overfitting, underfitting or stopped too early.

In: the parsed metrics.jsonl. Out: values for the report's sentences and figures.
"""

import math
from dataclasses import dataclass
from typing import Literal

from danlu.reporting.run_reader import TRIVIAL_BASELINES, Json, metric_value, series

Diagnosis = Literal["overfitting", "underfitting", "unfinished", "wide gap", "fine"]

MIN_VALIDATIONS = 3  # minimum validations for a diagnosis
OVERFITTING_RISE = 0.05  # relative rise of validation loss above its best that is more than noise
STILL_FALLING = 0.02  # relative improvement in the last quarter of a run
WIDE_GAP = 0.5  # relative gap of training loss below validation loss
NEAR_TRIVIAL = 0.9  # of the trivial baseline's loss: above this, hardly anything was learned


@dataclass(frozen=True)
class CurveDiagnosis:
    """Hold the diagnosis of a training.

    Attributes:
        diagnosis: overfitting, underfitting, unfinished, wide gap or fine.
        best_step: the step of the lowest validation loss.
        training, validation: the losses at that step.
        last_training, last_validation: the losses at the end.
        by_rounds: whether steps are boosting rounds, which have no optimizer learning rate.
    """

    diagnosis: Diagnosis
    best_step: int
    training: float
    validation: float
    last_training: float
    last_validation: float
    by_rounds: bool = False


def diagnose_curves(log: list[Json], evaluation: Json) -> CurveDiagnosis | None:
    """Diagnose the curves; None if there are too few points."""
    steps, validation = series(log, "validation/loss")
    training = training_loss_at(log, steps)
    if len(steps) < MIN_VALIDATIONS or training is None:
        return None
    best = validation.index(min(validation))
    return CurveDiagnosis(
        diagnosis=_classify_curves(training, validation, best, _trivial_loss(evaluation)),
        best_step=steps[best],
        training=training[best],
        validation=validation[best],
        last_training=training[-1],
        last_validation=validation[-1],
        by_rounds=not series(log, "lr")[0],
    )


def training_loss_at(log: list[Json], steps: list[int]) -> list[float] | None:
    """Average the training loss since the previous validation, for each validation; None if missing."""
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


def _classify_curves(training: list[float], validation: list[float], best: int, trivial: float | None) -> Diagnosis:
    rise = validation[-1] - validation[best]
    if rise > OVERFITTING_RISE * abs(validation[best]) and training[-1] < training[best]:
        return "overfitting"
    if trivial is not None and min(training[-1], validation[best]) > NEAR_TRIVIAL * trivial:
        return "underfitting"
    earlier = min(validation[: max(1, math.ceil(0.75 * len(validation)) - 1)])
    if earlier - validation[best] > STILL_FALLING * abs(earlier) and best == len(validation) - 1:
        return "unfinished"
    if validation[best] - training[best] > WIDE_GAP * abs(validation[best]):
        return "wide gap"
    return "fine"


def _trivial_loss(evaluation: Json) -> float | None:
    """Return the validation loss of a trivial baseline, if it is the same loss."""
    for name, judged in evaluation.get("baselines", {}).items():
        if name in TRIVIAL_BASELINES:
            perplexity = metric_value(judged.get("validation", {}), "perplexity")
            loss = metric_value(judged.get("validation", {}), "log-loss")
            return math.log(perplexity) if perplexity else loss
    return None
