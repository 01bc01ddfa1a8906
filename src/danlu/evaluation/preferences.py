"""Preference metrics: means over pairs of a chosen and a rejected answer."""

import numpy as np

from danlu.evaluation.metric import Metric, Truth, mean_of, ratio


def margins(truth: Truth) -> np.ndarray:
    """Compute the reward margin of chosen over rejected answers, [pairs].

    Beta times the difference of their gains in log-probability over the reference model (Rafailov et al. 2023,
    https://arxiv.org/abs/2305.18290).
    """
    gained = truth.answers - truth.values
    return np.asarray(gained[:, 0] - gained[:, 1])


OF_PREFERENCES: dict[str, Metric] = {
    "preference-accuracy": Metric(
        "preference",
        mean_of(lambda truth: margins(truth) > 0),
        ratio,
        True,
        "share of pairs of which the model has come to favour the chosen answer",
    ),
    "reward-margin": Metric(
        "preference",
        mean_of(margins),
        ratio,
        True,
        "how much more a chosen answer has gained over the first model than a rejected one, times beta",
    ),
    "preference-loss": Metric(
        "preference",
        mean_of(lambda truth: np.logaddexp(0.0, -margins(truth))),
        ratio,
        False,
        "cost of the preferences as given, in nats; 0.693 for a model that has not changed",
    ),
}
