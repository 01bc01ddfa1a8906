"""Metrics accumulated batch by batch over several processes: statistics are summed, predictions are not kept.

Sums do not depend on how samples are batched or distributed, except for rounding in the last bits; a mean of batch
means would. Metrics that need all predictions at once (areas under curves, medians) cannot be streamed.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from danlu.core.distributed.process_groups import SINGLE_PROCESS, ProcessGroups
from danlu.metrics.base import Metric, Predictions

if TYPE_CHECKING:
    import torch


class StreamingMetrics:
    """Accumulate metrics over batches."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        needing = [name for name, metric in metrics.items() if not metric.statistic.additive]
        assert not needing, f"{needing} need all answers at once"
        self.metrics = metrics
        self._sums: dict[int, np.ndarray] = {}

    def add(self, predictions: Predictions) -> None:
        """Add samples; a process without any adds one of weight 0 for the shapes."""
        self.add_weighted(predictions, np.ones((1, len(predictions))))

    def add_weighted(self, predictions: Predictions, weights: np.ndarray) -> None:
        """Add samples with weights, [1, samples]."""
        for key, metric in {id(metric.statistic): metric for metric in self.metrics.values()}.items():
            found = metric.statistic.prepare(predictions)(weights)
            self._sums[key] = self._sums[key] + found if key in self._sums else found

    def compute(self, groups: ProcessGroups = SINGLE_PROCESS, device: "torch.device | None" = None) -> dict[str, float]:
        """Compute the metrics over all processes; undefined ones are left out.

        Args:
            device: the device whose memory the collective uses.
        """
        totals = {key: _all_reduce(groups, sums, device) for key, sums in self._sums.items()}
        found = {name: float(metric.finalize(totals[id(metric.statistic)])[0]) for name, metric in self.metrics.items()}
        return {name: value for name, value in found.items() if np.isfinite(value)}


def _all_reduce(groups: ProcessGroups, sums: np.ndarray, device: "torch.device | None") -> np.ndarray:
    """Sum over the data-parallel processes."""
    if groups.is_single_process:
        return sums
    import torch

    return np.asarray(groups.all_reduce_dp(torch.tensor(sums, device=device)).cpu().numpy())
