"""Regression metrics, with scikit-learn's definitions."""

from collections.abc import Callable

import numpy as np

from danlu.metrics.base import (
    FROM_ZERO,
    UP_TO_ONE,
    Metric,
    Predictions,
    Statistic,
    StatisticFn,
    mean_statistic,
    ratio,
    safe_divide,
)


def residuals(predictions: Predictions) -> np.ndarray:
    """Compute true minus predicted, [samples]."""
    return np.asarray(predictions.y_true - predictions.y_pred, dtype=np.float64)


def _moments(predictions: Predictions) -> StatisticFn:
    """Map weights to [resamples, 6]: count, squared error, and moments about the mean.

    The moments are error and its square, truth and its square. Sums of squares about a point far from the mean would
    cancel; hence the mean is subtracted first.
    """
    error, value = residuals(predictions), np.asarray(predictions.y_true, dtype=np.float64)
    about, off = _center(value), _center(error)
    columns = np.stack([np.ones(len(predictions)), error**2, off, off**2, about, about**2], axis=1)
    return lambda weights: np.asarray(weights @ columns)


def _center(values: np.ndarray) -> np.ndarray:
    """Subtract the mean; exactly 0 if all values are the same."""
    return np.asarray(values - (values[0] if np.ptp(values) == 0 else values.mean()))


def _sum_of_squares(count: np.ndarray, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(squares - safe_divide(total**2, count, 0.0), 0.0))


def _explained_share(unexplained: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Compute 1 - unexplained / spread; for a constant truth 1 if matched, else 0."""
    return np.where(spread == 0, np.where(unexplained == 0, 1.0, 0.0), 1 - safe_divide(unexplained, spread, 0.0))


def _r2(found: np.ndarray) -> np.ndarray:
    count = found[..., 0]
    share = _explained_share(found[..., 1], _sum_of_squares(count, found[..., 4], found[..., 5]))
    return np.where(count < 2, np.nan, share)


def _explained_variance(found: np.ndarray) -> np.ndarray:
    count = found[..., 0]
    return _explained_share(
        _sum_of_squares(count, found[..., 2], found[..., 3]), _sum_of_squares(count, found[..., 4], found[..., 5])
    )


def _relative_errors(predictions: Predictions) -> np.ndarray:
    return np.asarray(np.abs(residuals(predictions)) / np.maximum(np.abs(predictions.y_true), np.finfo(np.float64).eps))


def _pinball(quantile: float) -> Callable[[Predictions], np.ndarray]:
    def compute(predictions: Predictions) -> np.ndarray:
        error = residuals(predictions)
        return np.asarray(np.maximum(quantile * error, (quantile - 1) * error))

    return compute


def _median_error(predictions: Predictions) -> StatisticFn:
    """Compute the weighted median of absolute errors; the mean of the middle two if tied."""
    size = np.abs(residuals(predictions))
    order = np.argsort(size)
    ranked = size[order]

    def gather(weights: np.ndarray) -> np.ndarray:
        below = np.cumsum(weights.take(order, axis=1), axis=1)
        half = below[:, -1:] / 2
        first, second = (below >= half).argmax(axis=1), (below > half).argmax(axis=1)
        return np.asarray((ranked[first] + ranked[second]) / 2)

    return gather


def _max_error(predictions: Predictions) -> StatisticFn:
    size = np.abs(residuals(predictions))
    return lambda weights: np.where(weights > 0, size, 0.0).max(axis=1)


def _mean(terms: Callable[[Predictions], np.ndarray], meaning: str) -> Metric:
    return Metric("regression", mean_statistic(terms), ratio, False, meaning, bounds=FROM_ZERO)


MOMENTS = Statistic(_moments)
REGRESSION_METRICS: dict[str, Metric] = {
    "rmse": Metric(
        "regression",
        mean_statistic(lambda predictions: residuals(predictions) ** 2),
        lambda found: np.sqrt(ratio(found)),
        False,
        "root of the mean squared error, in the target's units",
        bounds=FROM_ZERO,
    ),
    "mae": _mean(lambda predictions: np.abs(residuals(predictions)), "mean absolute error, in the target's units"),
    "median-absolute-error": Metric(
        "regression",
        Statistic(_median_error),
        lambda found: found,
        False,
        "half of the errors are smaller",
        bounds=FROM_ZERO,
    ),
    "r2": Metric("regression", MOMENTS, _r2, True, "share of the variance explained", bounds=UP_TO_ONE),
    "explained-variance": Metric(
        "regression", MOMENTS, _explained_variance, True, "as r2, a constant error forgiven", bounds=UP_TO_ONE
    ),
    "mape": _mean(_relative_errors, "mean error as a share of the true number; useless where that nears 0"),
    **{
        f"quantile-loss-{quantile}": _mean(_pinball(quantile), f"pinball loss of the quantile {quantile}")
        for quantile in (0.1, 0.5, 0.9)
    },
    "max-error": Metric(
        "regression",
        Statistic(_max_error),
        lambda found: found,
        False,
        "the largest error",
        can_bootstrap=False,
        bounds=FROM_ZERO,
    ),
}
