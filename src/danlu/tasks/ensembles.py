"""Losses and predictions of networks that give several answers at once, [batch, members, outputs]."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from danlu.tasks.base import Answer, Loss
from danlu.tasks.loss_weighting import LossWeighting

if TYPE_CHECKING:
    from torch import Tensor


def ensemble_loss(loss: Loss) -> Loss:
    """Extend a loss to [batch, members, outputs]: average the members' separate losses."""

    def mean_loss(logits: "Tensor", target: "Tensor", emphasis: LossWeighting) -> "tuple[Tensor, int]":
        if logits.ndim == 2:
            return loss(logits, target, emphasis)
        members = logits.shape[1]
        total, count = loss(logits.flatten(0, 1), target.repeat_interleave(members, dim=0), emphasis)
        return total / members, count // members

    return mean_loss


def ensemble_predict(
    predict: "Callable[[Tensor, Tensor | None], Tensor]",
) -> "Callable[[Tensor, Tensor | None], Tensor]":
    """Extend a prediction to [batch, members, outputs]: average the members' predictions."""

    def mean_answer(logits: "Tensor", target: "Tensor | None") -> "Tensor":
        if logits.ndim == 2:
            return predict(logits, target)
        return predict(logits.flatten(0, 1), None).reshape(*logits.shape[:2], -1).mean(dim=1)

    return mean_answer


def ensemble_answer(answer: Callable[[np.ndarray], np.ndarray]) -> Answer:
    """Extend a prediction of arrays to [batch, members, outputs], as `ensemble_predict`."""

    def mean_answer(outputs: np.ndarray, target: np.ndarray | None) -> np.ndarray:
        if outputs.ndim == 2:
            return answer(outputs)
        found = answer(outputs.reshape(-1, outputs.shape[-1]))
        return np.asarray(found.reshape(*outputs.shape[:2], -1).mean(axis=1))

    return mean_answer
