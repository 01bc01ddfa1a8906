"""Regression metrics, with scikit-learn's definitions."""

from collections.abc import Callable

import numpy as np

from danlu.evaluation.metric import Metric, Statistic, Truth, Weighted, divided, mean_of, ratio


def errors(truth: Truth) -> np.ndarray:
    """Compute true minus predicted, [samples]."""
    return np.asarray(truth.values - truth.answers, dtype=np.float64)


def _moments(truth: Truth) -> Weighted:
    """Map weights to [resamples, 6]: count, squared error, and moments about the mean.

    The moments are error and its square, truth and its square. Sums of squares about a point far from the mean would
    cancel; hence the mean is subtracted first.
    """
    error, value = errors(truth), np.asarray(truth.values, dtype=np.float64)
    about, off = _centred(value), _centred(error)
    columns = np.stack([np.ones(len(truth)), error**2, off, off**2, about, about**2], axis=1)
    return lambda weights: np.asarray(weights @ columns)


def _centred(values: np.ndarray) -> np.ndarray:
    """Subtract the mean; exactly 0 if all values are the same."""
    return np.asarray(values - (values[0] if np.ptp(values) == 0 else values.mean()))


def _spread(count: np.ndarray, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(squares - divided(total**2, count, 0.0), 0.0))


def _explained(unexplained: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Compute 1 - unexplained / spread; for a constant truth 1 if matched, else 0."""
    return np.where(spread == 0, np.where(unexplained == 0, 1.0, 0.0), 1 - divided(unexplained, spread, 0.0))


def _r2(found: np.ndarray) -> np.ndarray:
    count = found[..., 0]
    share = _explained(found[..., 1], _spread(count, found[..., 4], found[..., 5]))
    return np.where(count < 2, np.nan, share)


def _explained_variance(found: np.ndarray) -> np.ndarray:
    count = found[..., 0]
    return _explained(_spread(count, found[..., 2], found[..., 3]), _spread(count, found[..., 4], found[..., 5]))


def _shares(truth: Truth) -> np.ndarray:
    return np.asarray(np.abs(errors(truth)) / np.maximum(np.abs(truth.values), np.finfo(np.float64).eps))


def _pinball(quantile: float) -> Callable[[Truth], np.ndarray]:
    def compute(truth: Truth) -> np.ndarray:
        error = errors(truth)
        return np.asarray(np.maximum(quantile * error, (quantile - 1) * error))

    return compute


def _median(truth: Truth) -> Weighted:
    """Compute the weighted median of absolute errors; the mean of the middle two if tied."""
    size = np.abs(errors(truth))
    order = np.argsort(size)
    ranked = size[order]

    def gather(weights: np.ndarray) -> np.ndarray:
        below = np.cumsum(weights.take(order, axis=1), axis=1)
        half = below[:, -1:] / 2
        first, second = (below >= half).argmax(axis=1), (below > half).argmax(axis=1)
        return np.asarray((ranked[first] + ranked[second]) / 2)

    return gather


def _largest(truth: Truth) -> Weighted:
    size = np.abs(errors(truth))
    return lambda weights: np.where(weights > 0, size, 0.0).max(axis=1)


def _mean(terms: Callable[[Truth], np.ndarray], meaning: str) -> Metric:
    return Metric("regression", mean_of(terms), ratio, False, meaning)


MOMENTS = Statistic(_moments)
OF_NUMBERS: dict[str, Metric] = {
    "rmse": Metric(
        "regression",
        mean_of(lambda truth: errors(truth) ** 2),
        lambda found: np.sqrt(ratio(found)),
        False,
        "root of the mean squared error, in the target's units",
    ),
    "mae": _mean(lambda truth: np.abs(errors(truth)), "mean absolute error, in the target's units"),
    "median-absolute-error": Metric(
        "regression", Statistic(_median), lambda found: found, False, "half of the errors are smaller"
    ),
    "r2": Metric("regression", MOMENTS, _r2, True, "share of the variance explained"),
    "explained-variance": Metric("regression", MOMENTS, _explained_variance, True, "as r2, a constant error forgiven"),
    "mape": _mean(_shares, "mean error as a share of the true number; useless where that nears 0"),
    **{
        f"quantile-loss-{quantile}": _mean(_pinball(quantile), f"pinball loss of the quantile {quantile}")
        for quantile in (0.1, 0.5, 0.9)
    },
    "max-error": Metric(
        "regression", Statistic(_largest), lambda found: found, False, "the largest error", resampled=False
    ),
}
