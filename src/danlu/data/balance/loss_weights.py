"""Balancing by the loss. The rows stay as they are, so any kind of data can be balanced this way.

Weights are normalised so that their mean over the training samples is 1: the gradient keeps its usual size, and with it
the learning rate its meaning.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator, model_validator

from danlu.core.text import suggestion
from danlu.data.balance.base import Balancer
from danlu.data.messages import reason
from danlu.errors import Problem, RecipeError
from danlu.tasks.loss_weighting import LossWeighting

Overlap = Annotated[float, Field(ge=0.0, lt=1.0)]
Method = Literal["inverse-frequency", "effective-number"]


class ClassWeights(Balancer):
    """Weight samples by inverse class frequency, effective number, or weights of one's own."""

    name: Literal["class-weights"] = "class-weights"
    weights: dict[str, PositiveFloat] | None = Field(
        default=None, description="in place of a method: the weight of each class by its label, as {ok: 1, fraud: 20}"
    )
    method: Method = "inverse-frequency"
    beta: Overlap = Field(default=0.999, description="of effective-number: 0 is equal weights, towards 1 nears inverse")

    @field_validator("weights", mode="before")
    @classmethod
    def _labels_as_text(cls, said: Any) -> Any:
        """Accept labels that YAML reads as numbers or truth values."""
        return {str(label): weight for label, weight in said.items()} if isinstance(said, Mapping) else said

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.weights is not None and (self.method, self.beta) != ("inverse-frequency", 0.999):
            raise ValueError("weights are given, so method and beta have no effect; remove them")
        return self

    @property
    def effect(self) -> str:
        own = ", ".join(f"{label}: {weight:g}" for label, weight in (self.weights or {}).items())
        return reason("balance.class-weights", method=own or self.method)

    def for_labels(self, labels: tuple[str, ...]) -> Self:
        if self.weights is None:
            return self
        spelt = {label.lower(): label for label in labels}
        found = {spelt.get(label.lower(), label): weight for label, weight in self.weights.items()}
        for label in found:
            if label not in labels:
                message = f"the target has no class {label!r}{suggestion(label, labels)}"
                raise RecipeError(Problem("", "data.balance.weights", message, code="DL107"))
        for label in labels:
            if label not in found:
                message = f"has no weight for class {label!r}; give each of {', '.join(labels)} one"
                raise RecipeError(Problem("", "data.balance.weights", message, code="DL115"))
        return self.model_copy(update={"weights": {label: found[label] for label in labels}})

    def loss_weighting(self, counts: np.ndarray) -> LossWeighting:
        if self.weights is not None and len(self.weights) == len(counts):
            return LossWeighting(class_weights=mean_one(np.array(list(self.weights.values())), counts))
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
    return mean_one(raw, present)


def mean_one(raw: np.ndarray, counts: np.ndarray) -> tuple[float, ...]:
    """Return weights of classes in the same ratios, with mean 1 over the samples."""
    return tuple((raw * counts.sum() / (raw * counts).sum()).tolist())
