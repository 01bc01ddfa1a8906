"""Calibration and threshold of a classifier, as the recipe configures them.

They are fitted on validation or, for a model that was trained on all rows, on its out-of-fold predictions.
"""

from typing import Any

import numpy as np

from danlu.data.splits import Split
from danlu.data.targets import TargetSpec, ClassTarget
from danlu.evaluation.calibrating import fit_calibration
from danlu.evaluation.decisions import choose_threshold
from danlu.evaluation.evaluate import build_predictions
from danlu.evaluation.metric import Predictions
from danlu.evaluation.probabilities import log_losses
from danlu.recipe.judging import Evaluation


def fit_calibration_and_threshold(
    options: Evaluation, target: TargetSpec, part: Split, raw: np.ndarray, fitted_on: str
) -> tuple[Any, dict[str, Any]]:
    """Fit calibration and threshold.

    Args:
        part: rows that the model was not trained on and that are not the test split.
        raw: the head's outputs for them, [samples, ...].
        fitted_on: a word for these rows, for the report.

    Returns:
        the target with calibration and threshold, and a description of the choice in plain values.
    """
    if not isinstance(target, ClassTarget):
        return target, {}
    labels = target.labels
    plain = target.model_copy(update={"calibration": None, "threshold": None})
    before = build_predictions(part, plain, raw, "")
    calibration = fit_calibration(options.calibration, before)
    calibrated = plain.model_copy(update={"calibration": calibration})
    after = Predictions(before.y_true, calibrated.calibrate(raw))
    told: dict[str, Any] = {
        "fitted_on": fitted_on,
        "calibration": {
            "asked": options.calibration,
            "method": "none" if calibration is None else calibration.method,
            **({} if calibration is None else {"temperature": getattr(calibration, "temperature", None)}),
            "log_loss_before": float(log_losses(before).mean()),
            "log_loss_after": float(log_losses(after).mean()),
        },
        "threshold": None,
    }
    if options.threshold is None:
        return calibrated, told
    threshold = choose_threshold(options.threshold, after)
    told["threshold"] = {
        "value": threshold,
        "positive": str(labels[1]),
        **options.threshold.model_dump(mode="json", exclude_none=True),
    }
    return calibrated.model_copy(update={"threshold": threshold}), told
