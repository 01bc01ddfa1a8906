"""Probability calibration and the decision threshold, fitted on validation. Out: what the bundle keeps.

Temperature scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599) learns one number and suits little data;
isotonic regression follows any monotone curve and needs about a thousand rows. A model that was trained on all rows is
calibrated on its out-of-fold predictions instead of validation.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from danlu.core.console import info
from danlu.data.splits import Split
from danlu.evaluation.predictions import build_predictions
from danlu.evaluation.thresholds import choose_threshold
from danlu.metrics.base import Predictions
from danlu.metrics.classification import log_losses
from danlu.recipe.sections.evaluation import Evaluation
from danlu.tasks.base import Target
from danlu.tasks.calibrations import Isotonic, Temperature
from danlu.tasks.classification import ClassTarget

Method = Literal["none", "temperature", "isotonic", "auto"]
Calibration = Temperature | Isotonic | None

TEMPERATURES = (0.05, 20.0)
SELECTION_FOLDS = 5  # parts of the validation split for cross-validation by `auto`
MIN_ROWS_FOR_ISOTONIC = 1_000
MAX_KNOTS = 200  # of an isotonic curve


def fit_calibration(method: Method, predictions: Predictions) -> Calibration:
    """Fit a calibration method.

    Args:
        method: auto takes the method with the lowest cross-validated log loss within validation.
        predictions: validation, with the probabilities of the model's head.
    """
    return _FITS[_select_method(predictions) if method == "auto" else method](predictions)


def _none(predictions: Predictions) -> Calibration:
    return None


def _temperature(predictions: Predictions) -> Temperature:
    from scipy.optimize import minimize_scalar

    def cost(logarithm: float) -> float:
        applied = Temperature(temperature=float(np.exp(logarithm))).apply(predictions.y_pred)
        return float(log_losses(Predictions(predictions.y_true, applied)).mean())

    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-4})
    return Temperature(temperature=float(np.exp(found.x)))


def _isotonic(predictions: Predictions) -> Isotonic:
    classes = predictions.y_pred.shape[1]
    chosen = [1] if classes == 2 else range(classes)
    curves = [_isotonic_knots(predictions.y_pred[:, c].astype(np.float64), predictions.y_true == c) for c in chosen]
    return Isotonic(given=tuple(given for given, _ in curves), true=tuple(true for _, true in curves))


def _isotonic_knots(given: np.ndarray, member: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Fit an isotonic curve and return its knots, kept away from exactly 0 and 1.

    No finite data can show a probability of 0 or 1.
    """
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(given) + 2)
    fitted = IsotonicRegression(out_of_bounds="clip").fit(given, member.astype(np.float64))
    x, y = fitted.X_thresholds_, np.clip(fitted.y_thresholds_, least, 1 - least)
    if len(x) > MAX_KNOTS:
        kept = np.unique(np.linspace(0, len(x) - 1, MAX_KNOTS).astype(np.int64))
        x, y = x[kept], y[kept]
    return tuple(map(float, x)), tuple(map(float, y))


_FITS: dict[str, Callable[[Predictions], Calibration]] = {
    "none": _none,
    "temperature": _temperature,
    "isotonic": _isotonic,
}


def _select_method(predictions: Predictions) -> str:
    """Return the method that generalizes best within validation; `none` if nothing beats it."""
    usable = [name for name in _FITS if name != "isotonic" or len(predictions) >= MIN_ROWS_FOR_ISOTONIC]
    if len(predictions) < 2 * SELECTION_FOLDS:
        return "none"
    # Rows are assigned round-robin within each class, so that every part has each class that is large enough.
    order = np.argsort(predictions.y_true, kind="stable")
    part_of = np.empty(len(predictions), dtype=np.int64)
    part_of[order] = np.arange(len(predictions)) % SELECTION_FOLDS
    cost = {
        name: sum(_held_out_loss(name, predictions, part_of == split) for split in range(SELECTION_FOLDS))
        for name in usable
    }
    return min(cost, key=lambda name: cost[name])


def _held_out_loss(name: str, predictions: Predictions, held: np.ndarray) -> float:
    fitted = _FITS[name](predictions.take(np.flatnonzero(~held)))
    held_out = predictions.take(np.flatnonzero(held))
    answers = held_out.y_pred if fitted is None else fitted.apply(held_out.y_pred)
    return float(log_losses(Predictions(held_out.y_true, answers)).sum())


def fit_calibration_and_threshold(
    options: Evaluation, target: Target, split: Split, raw: np.ndarray, fitted_on: str
) -> tuple[Target, dict[str, Any]]:
    """Fit calibration and threshold.

    Args:
        split: rows that the model was not trained on and that are not the test split.
        raw: the head's outputs for them, [samples, ...].
        fitted_on: a word for these rows, for the report.

    Returns:
        the target with calibration and threshold, and a description of the choice in plain values.
    """
    if not isinstance(target, ClassTarget):
        return target, {}
    labels = target.labels
    plain = target.model_copy(update={"calibration": None, "threshold": None})
    before = build_predictions(split, plain, raw, "")
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
    never = _never_answered(after, threshold)
    told["threshold"] = {
        "value": threshold,
        "positive": str(labels[1]),
        **options.threshold.model_dump(mode="json", exclude_none=True),
    }
    if never is not None:
        told["threshold"]["never_answered"] = str(labels[never])
        info(
            f"alarm: at the threshold {threshold:.3g} no row of {fitted_on} is answered {labels[never]!r}; the "
            f"positive class is {labels[1]!r} (data.positive): look at which one is meant, and at evaluation.threshold"
        )
    return calibrated.model_copy(update={"threshold": threshold}), told


def _never_answered(predictions: Predictions, threshold: float) -> int | None:
    """Return the class that the threshold never answers; None if both are answered."""
    answered = predictions.y_pred[:, 1] >= threshold
    if answered.all() or not answered.any():
        return 0 if answered.all() else 1
    return None
