"""Paired Kernel SHAP: weighted least squares over pairs of coalitions, without any selection of columns.

Lundberg and Lee 2017, https://arxiv.org/abs/1705.07874; pairs: Covert and Lee 2021, https://arxiv.org/abs/2012.01536.
"""

from dataclasses import dataclass

import numpy as np

from danlu.explanation.coalitions import Pairs
from danlu.explanation.estimates import Proxy


@dataclass(frozen=True)
class PairedKernel:
    """Fit a sum over players to the differences; it adds up to the whole game."""

    name = "paired-kernel"

    def fit(self, pairs: Pairs, differences: np.ndarray, whole: float) -> Proxy:
        """Fit the proxy.

        Args:
            differences: v(S) - v(complement) of each pair, [pairs].
            whole: v(all) - v(none).
        """
        signs, players = pairs.signs, pairs.members.shape[1]
        sizes = pairs.members.sum(axis=1)
        counts = np.bincount(pairs.strata, minlength=len(pairs.fractions))
        # A stratum's pairs stand for all of its sizes, whose weight in Kernel SHAP is theirs together.
        kernel = np.where(2 * sizes == players, 0.5, 1.0) / (sizes * (players - sizes))
        shares = np.bincount(pairs.strata, kernel / counts[pairs.strata])
        weights = (shares / counts)[pairs.strata]
        inverse = np.linalg.pinv((signs * weights[:, None]).T @ signs, hermitian=True)
        row_sums = inverse.sum(axis=0)
        projection = inverse - np.outer(row_sums, row_sums) / row_sums.sum()  # onto values that add up
        start = np.full(players, whole / players)
        values = start + projection @ (signs.T @ (weights * (differences - signs @ start)))
        residuals = differences - signs @ values
        leverage = np.einsum("kp,pq,kq->k", signs, projection, signs, optimize=True) * weights
        return Proxy(values, residuals, residuals / np.maximum(1 - leverage, 0.05), 0)
