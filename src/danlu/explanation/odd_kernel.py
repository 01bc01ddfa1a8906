"""Regression on the odd part of a game: all interactions of odd order, without listing them.

Shapley values depend on the odd part alone (OddSHAP, Fumagalli et al. 2026, https://arxiv.org/abs/2602.01399). OddSHAP
chooses interactions by boosted trees; here every one has a normal prior whose variance is the product of its players'
relevances, a Gaussian process with a product kernel, as in functional ANOVA kernels (Durrande et al. 2013,
https://arxiv.org/abs/1111.6233). The relevances are those of the largest marginal likelihood.
"""

from dataclasses import dataclass

import numpy as np

from danlu.explanation.coalitions import Pairs
from danlu.explanation.estimates import Proxy
from danlu.explanation.paired_kernel import PairedKernel

MAX_PAIRS = 1500  # of the regression; more only correct it
TUNED_PAIRS = 200  # of which the relevances are chosen
STEPS = 15  # of that choice
STARTS = (0.3, 1.2, 4.0)  # expected sizes of interactions that it begins from
NOISE = 1e-3
LARGEST_RELEVANCE, LOG_NOISE = 0.88, (-12.0, 1.0)
NODES = 10  # Gauss-Legendre: exact for interactions of up to 19 players


@dataclass(frozen=True)
class OddKernel:
    """Fit a Gaussian process to the pairs' differences."""

    name = "odd"

    def fit(self, pairs: Pairs, differences: np.ndarray, whole: float) -> Proxy:
        """Fit the proxy; see `PairedKernel.fit`."""
        linear = PairedKernel().fit(pairs, differences, whole)
        scale = float(np.abs(differences).max(initial=abs(whole)))
        if not float(np.abs(linear.residuals).max()) > 1e-10 * scale:  # a sum of the players, whatever else is drawn
            return linear
        players = pairs.members.shape[1]
        inside = _spread_out(len(pairs), MAX_PAIRS)
        signs = np.vstack([pairs.signs[inside], np.ones((1, players))])  # the last is all against none
        targets = np.append(differences[inside], whole) / scale
        chosen = np.append(_spread_out(len(inside), TUNED_PAIRS), len(inside))
        relevances, noise = _tune(signs[chosen], targets[chosen], linear.values)
        weights, left_out, fitted = _fit(signs, targets, relevances, noise)
        values = _value_covariances(signs, relevances) @ weights
        values += (targets[-1] - values.sum()) / players  # what rounding leaves
        residuals, errors = np.empty(len(pairs)), np.empty(len(pairs))
        outside = np.setdiff1d(np.arange(len(pairs)), inside)
        residuals[inside] = targets[:-1] - fitted[:-1]
        for start in range(0, len(outside), 4096):
            block = outside[start : start + 4096]
            residuals[block] = differences[block] / scale - _kernel(pairs.signs[block], signs, relevances) @ weights
        errors[inside], errors[outside] = left_out[:-1], residuals[outside]
        return Proxy(values * scale, residuals * scale, errors * scale, players if len(outside) == 0 else 0)


def _spread_out(count: int, most: int) -> np.ndarray:
    """Return `most` of `count` positions, evenly spread, so that all strata are among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _log_terms(relevances: np.ndarray) -> tuple[float, np.ndarray]:
    plus, minus = np.log1p(relevances), np.log1p(-relevances)
    return float((plus + minus).sum() / 2), (plus - minus) / 2


def _kernel(first: np.ndarray, second: np.ndarray, relevances: np.ndarray) -> np.ndarray:
    """Return covariances of differences at coalitions in signs: [rows, players], [others, players] -> [rows, others].

    Half of the product of 1 + r z z' less that of 1 - r z z', relative to the variance of one difference.
    """
    _, slopes = _log_terms(relevances)
    return _sinh_ratio((first * slopes) @ second.T, float(slopes.sum()))


def _sinh_ratio(values: np.ndarray, top: float) -> np.ndarray:
    """Return sinh(values) / sinh(top) without overflow, |values| <= top."""
    return np.asarray((np.exp(values - top) - np.exp(-values - top)) / -np.expm1(-2 * top))


def _value_covariances(signs: np.ndarray, relevances: np.ndarray) -> np.ndarray:
    """Return covariances of the Shapley values with differences, [players, pairs].

    An odd interaction T gives each of its players 2 / |T| of its coefficient, and 1 / |T| is the integral of
    t^(|T| - 1); so it is an integral of the product without the player, whose terms have even order.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    level, slopes = _log_terms(relevances)
    top = float(slopes.sum())
    log_variance = level + top + np.log(-np.expm1(-2 * top)) - np.log(2.0)  # of one difference: sinh, scaled
    found = np.zeros_like(signs)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        shrunk = node * relevances
        own_level, own_slopes = _log_terms(shrunk)
        sums = (signs @ own_slopes)[:, None]
        with_plus = np.exp(own_level + sums - log_variance) / (1 + shrunk * signs)
        with_minus = np.exp(own_level - sums - log_variance) / (1 - shrunk * signs)
        found += weight * (with_plus + with_minus) / 2
    return np.asarray((relevances * signs * found).T)


def _fit(
    signs: np.ndarray, targets: np.ndarray, relevances: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, errors without each observation, and what is fitted, [observations] each."""
    covariance = _kernel(signs, signs, relevances)
    noises = np.append(np.full(len(targets) - 1, noise), 1e-10)
    covariance[np.diag_indices_from(covariance)] += noises
    found = _inverse(covariance)
    inverse = np.linalg.pinv(covariance, hermitian=True) if found is None else found[0]
    weights = inverse @ targets
    return weights, weights / np.diag(inverse), covariance @ weights - noises * weights


def _tune(signs: np.ndarray, targets: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, float]:
    """Choose relevances, [players], and noise by marginal likelihood."""
    from scipy.optimize import minimize

    players = signs.shape[1]
    strength = np.sqrt(np.abs(linear) / max(float(np.abs(linear).mean()), 1e-300) + 0.05)
    starts = []
    for size in STARTS:
        relevances = np.clip(size * strength / strength.sum(), 1e-4, 0.6)
        starts.append(np.append(np.log(relevances / (1 - relevances)), np.log(NOISE)))
    best = min(starts, key=lambda start: _loss(start, signs, targets)[0])
    limits = [(-9.0, float(np.log(LARGEST_RELEVANCE / (1 - LARGEST_RELEVANCE))))] * players + [LOG_NOISE]
    found = minimize(
        _loss, best, (signs, targets), method="L-BFGS-B", jac=True, bounds=limits, options={"maxiter": STEPS}
    ).x
    return 1 / (1 + np.exp(-found[:-1])), float(np.exp(found[-1]))


def _loss(parameters: np.ndarray, signs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the negative log marginal likelihood, the scale integrated out, and its gradient.

    Args:
        parameters: log odds of the relevances, then the log of the noise; a weak prior holds the former together.
    """
    relevances, noise = 1 / (1 + np.exp(-parameters[:-1])), float(np.exp(parameters[-1]))
    _, slopes = _log_terms(relevances)
    top = float(slopes.sum())
    sums = (signs * slopes) @ signs.T
    size = np.abs(sums)
    large, small = np.exp(size - top), np.exp(-size - top)  # sinh and cosh over sinh(top), without overflow
    whole = -np.expm1(-2 * top)
    covariance, cosh = np.copysign(large - small, sums) / whole, (large + small) / whole
    noisy = covariance.copy()
    noisy[np.diag_indices_from(noisy)] += np.append(np.full(len(targets) - 1, noise), 1e-10)
    found = _inverse(noisy)
    if found is None:
        return 1e10, np.zeros_like(parameters)
    inverse, half_log_determinant = found
    weights = inverse @ targets
    variance = float(targets @ weights) / len(targets)
    apart = parameters[:-1] - parameters[:-1].mean()
    loss = 0.5 * len(targets) * np.log(variance) + half_log_determinant + float(apart @ apart) / 18
    outer = 0.5 * (inverse - np.outer(weights, weights / variance))
    # d sinh(s) / sinh(top) = cosh(s) / sinh(top) ds - sinh(s) / sinh(top) coth(top) dtop
    by_slope = (signs * ((outer * cosh) @ signs)).sum(axis=0) - float((outer * covariance).sum()) / np.tanh(top)
    by_relevance = by_slope / (1 - relevances**2)
    gradient = by_relevance * relevances * (1 - relevances) + apart / 9
    return loss, np.append(gradient, float(np.trace(outer[:-1, :-1])) * noise)


def _inverse(matrix: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Invert a positive matrix; return also half its log determinant, or None."""
    from scipy.linalg.lapack import dpotrf, dpotri

    factor, failed = dpotrf(matrix.T, lower=1)  # symmetric, and then in LAPACK's own order
    if failed:
        return None
    lower, _ = dpotri(factor, lower=1)
    inverse = lower + lower.T  # above the diagonal stand zeros
    inverse[np.diag_indices_from(inverse)] /= 2
    return inverse, float(np.log(np.diag(factor)).sum())
