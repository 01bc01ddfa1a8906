"""Preference: each row has two answers to a prompt, of which the first is preferred (DPO)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl

from danlu.metrics.base import Metric, Predictions
from danlu.metrics.language import PREFERENCE_METRICS, reward_margins
from danlu.tasks.base import ErrorScores, FitInputs, Head, SplitRows, Target, Task, Words
from danlu.tasks.loss_weighting import LossWeighting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

REFERENCE = ("reference_chosen", "reference_rejected")  # columns of a pair's row, added once there is a model
# The same in fp32, as bundles compute, where training computes in another precision.
FP32_REFERENCE = ("fp32_reference_chosen", "fp32_reference_rejected")


class PreferenceTarget(Target):
    """Predict which of two answers is preferred, relative to a reference model.

    The first answer of a pair is always the preferred one.

    Attributes:
        beta: strength of the penalty for departing from the reference (DPO); scales log-ratios to rewards.
    """

    task: Literal["preference"] = "preference"
    vocabulary: int
    beta: float

    @property
    def columns(self) -> tuple[str, ...]:
        return REFERENCE

    @property
    def outputs(self) -> int:
        return self.vocabulary

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        """Return the reference's log-probabilities of both answers, [pairs, 2]."""
        import torch

        return torch.from_numpy(frame.select(REFERENCE).to_numpy().astype(np.float32))

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `chosen` and `rejected` log-probabilities, and whether the chosen one is likelier."""
        chosen, rejected = outputs[:, 0].astype(np.float64), outputs[:, 1].astype(np.float64)
        return pl.DataFrame({"chosen": chosen, "rejected": rejected, "prefers_chosen": chosen > rejected})


class Preference(Task):
    """Predict which of two answers is preferred."""

    name: Literal["preference"] = "preference"
    words: ClassVar[Words] = {"en": {"name": "preference"}, "zh": {"name": "偏好"}}
    own_metrics: ClassVar[Mapping[str, Metric]] = PREFERENCE_METRICS
    default_metrics = ("preference-accuracy", "reward-margin", "preference-loss")
    main_metric = "preference-accuracy"
    has_target = False
    is_trained_on_pairs = True
    target_class: ClassVar[type[Target]] = PreferenceTarget

    def fit_target(self, inputs: FitInputs) -> PreferenceTarget:
        return PreferenceTarget(vocabulary=inputs.vocabulary, beta=inputs.beta)

    def head(self, target: PreferenceTarget) -> Head:
        return Head(partial(preference_loss, beta=target.beta), preference_predict, len)

    def to_y_pred(self, target: PreferenceTarget, outputs: np.ndarray) -> np.ndarray:
        return target.beta * outputs.astype(np.float64)

    def pair(
        self, split: SplitRows, target: PreferenceTarget, y_pred: np.ndarray, text_column: str | None
    ) -> Predictions:
        reference = split.columns(*REFERENCE).to_numpy().astype(np.float64)
        return Predictions(target.beta * reference, y_pred)

    def truth_columns(self, split: SplitRows, target: PreferenceTarget, predictions: Predictions) -> dict[str, Any]:
        """Return the reward margin, which stands for the truth."""
        return {"margin": reward_margins(predictions)}

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        """Read margins as gains of the chosen answer over a rejected one without any."""
        gained = np.stack([table["margin"].to_numpy(), np.zeros(table.height)], axis=1)
        return Predictions(np.zeros_like(gained), gained)

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score pairs whose rejected answer the model favours, by margin."""
        margins = table["margin"].to_numpy()
        return ErrorScores("margin", np.flatnonzero(margins <= 0), -margins, margins)


def preference_loss(
    likelihoods: "Tensor", reference: "Tensor", emphasis: LossWeighting, beta: float
) -> "tuple[Tensor, int]":
    """Compute the summed DPO loss and the number of pairs.

    A pair costs -(1 - s) log sigmoid(m) - s log sigmoid(-m). m is `beta` times the margin by which the model favors the
    chosen answer more than the reference does; s, `emphasis.smoothing`, is the assumed share of flipped preferences
    (Mitchell 2023, conservative DPO, https://ericmitchell.ai/cdpo.pdf).

    Args:
        likelihoods: log-probabilities of the chosen and the rejected answer, [pairs, 2].
        reference: log-probabilities under the reference model, [pairs, 2].
        emphasis: its smoothing is used.
        beta: strength of the KL penalty towards the reference model.
    """
    from torch.nn import functional

    ratios = likelihoods.float() - reference
    margin = beta * (ratios[:, 0] - ratios[:, 1])
    terms = -(1 - emphasis.smoothing) * functional.logsigmoid(margin)
    terms = terms - emphasis.smoothing * functional.logsigmoid(-margin)
    return terms.sum(), len(margin)


def preference_predict(likelihoods: "Tensor", reference: "Tensor | None") -> "Tensor":
    """Return the log-probabilities of both answers, [pairs, 2]."""
    return likelihoods.float()
