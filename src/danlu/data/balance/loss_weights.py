"""Balancing by the loss. The rows stay as they are, so any kind of data can be balanced this way.

Weights are normalised so that their mean over the training samples is 1: the gradient keeps its usual size, and with it
the learning rate its meaning.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat

from danlu.data.balance.base import Balancer
from danlu.data.messages import reason
from danlu.tasks.loss_weighting import LossWeighting

Overlap = Annotated[float, Field(ge=0.0, lt=1.0)]
Method = Literal["inverse-frequency", "effective-number"]


class ClassWeights(Balancer):
    """Weight samples by inverse class frequency, or by the effective number of samples."""

    name: Literal["class-weights"] = "class-weights"
    method: Method = "inverse-frequency"
    beta: Overlap = Field(default=0.999, description="of effective-number: 0 is equal weights, towards 1 nears inverse")

    @property
    def effect(self) -> str:
        return reason("balance.class-weights", method=self.method)

    def loss_weighting(self, counts: np.ndarray) -> LossWeighting:
        return LossWeighting(class_weights=class_weights(counts, self.method, self.beta))


class Focal(Balancer):
    """Weight samples by the focal loss (Lin et al. 2017, https://arxiv.org/abs/1708.02002).

    Well-classified samples count less; `alpha` weights classes as well.
    """

    name: Literal["focal"] = "focal"
    gamma: PositiveFloat = 2.0
    alpha: Literal["none"] | Method = "none"
    beta: Overlap = Field(default=0.999, description="of effective-number")

    @property
    def effect(self) -> str:
        if self.alpha == "none":
            return reason("balance.focal", gamma=self.gamma)
        return reason("balance.focal-weighted", gamma=self.gamma, alpha=self.alpha)

    def loss_weighting(self, counts: np.ndarray) -> LossWeighting:
        weights = None if self.alpha == "none" else class_weights(counts, self.alpha, self.beta)
        return LossWeighting(class_weights=weights, focal_gamma=self.gamma)


class LogitAdjustment(Balancer):
    """Add tau times each class's log share to the logits in training alone.

    Logit adjustment (Menon et al. 2021, https://arxiv.org/abs/2007.07314). The network then need not learn that a class
    is rare, and predicts as if all classes were equally frequent. tau 1 aims at the best balanced accuracy; less keeps
    some of the prior.
    """

    name: Literal["logit-adjustment"] = "logit-adjustment"
    tau: NonNegativeFloat = 1.0

    @property
    def effect(self) -> str:
        return reason("balance.logits", tau=self.tau)

    def loss_weighting(self, counts: np.ndarray) -> LossWeighting:
        present = np.maximum(counts, 1)
        return LossWeighting(logit_offsets=tuple((self.tau * np.log(present / present.sum())).tolist()))


def class_weights(counts: np.ndarray, method: Method, beta: float) -> tuple[float, ...]:
    """Return the weight of a sample of each class, mean 1 over the samples.

    Args:
        counts: training samples per class, [classes]; a class without any counts as if it had one.
        method: inverse-frequency, or effective-number, which weighs by (1 - beta) / (1 - beta^n) (Cui et al. 2019,
            https://arxiv.org/abs/1901.05555).
        beta: how much samples of a class repeat one another, in [0, 1).
    """
    present = np.maximum(counts, 1).astype(np.float64)
    raw = 1 / present
    if method == "effective-number":
        raw = (1 - beta) / (1 - beta**present)
    return tuple((raw * present.sum() / (raw * present).sum()).tolist())
