"""Apply a balancer to the prepared training split: samples in, the training loader out.

Also the figures of the report: how many samples each class had, and has.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.core.seeds import Seed
from danlu.data.balance.base import Balancer
from danlu.data.loader import PreparedDataset, TrainLoader, shuffled_order
from danlu.tasks.loss_weighting import LossWeighting


@dataclass(frozen=True)
class BalancedTraining:
    """Hold the training split as a balancer left it.

    Attributes:
        loader: the rows, and which of them each epoch takes.
        loss_weighting: how the training loss weights the classes.
        before: training samples per class, [classes].
        after: samples per class in the first epoch, [classes].
        labels: the classes' names.
        effect: the change in a sentence; empty where there is none.
    """

    loader: TrainLoader
    loss_weighting: LossWeighting
    before: np.ndarray
    after: np.ndarray
    labels: tuple[str, ...]
    effect: str

    def profile(self) -> dict[str, Any]:
        """Return the counts for data/profile.json; empty where nothing was done."""
        if not self.effect:
            return {}
        columns = zip(self.labels, self.before.tolist(), self.after.tolist(), strict=True)
        classes = {label: {"before": before, "after": after} for label, before, after in columns}
        weights = dict(zip(self.labels, self.loss_weighting.class_weights or (), strict=False))
        return {"effect": self.effect, "classes": classes, "weights": weights}


def balance(balancer: Balancer, examples: PreparedDataset, labels: tuple[str, ...], seed: Seed) -> BalancedTraining:
    """Balance the prepared training split.

    Args:
        examples: with the class of each sample as target.
        labels: the classes' names, in the order of their codes.
        seed: the recipe's.

    Raises:
        DataError: a class has too few samples, or the inputs cannot be balanced this way.
    """
    assert examples.target is not None
    balancer = balancer.for_labels(labels)
    before = np.bincount(examples.target.numpy(), minlength=len(labels))
    resampled = balancer.resample(examples, labels, seed.derive("balance"))
    assert resampled.target is not None
    codes = resampled.target.numpy()
    order = balancer.order(codes, seed)
    first = order(0)
    after = np.bincount(codes[first % len(codes)], minlength=len(labels))
    feed = TrainLoader(resampled, order, len(first))
    return BalancedTraining(feed, balancer.loss_weighting(after), before, after, labels, balancer.effect)


def unbalanced(examples: PreparedDataset, seed: Seed) -> BalancedTraining:
    """Return the training split of a task without classes, unchanged."""
    nothing = np.zeros(0, dtype=np.int64)
    feed = TrainLoader(examples, shuffled_order(len(examples), seed), len(examples))
    return BalancedTraining(feed, LossWeighting(), nothing, nothing, (), "")
