"""Preference metrics: means over pairs of a chosen and a rejected answer."""

import numpy as np

from danlu.evaluation.metric import Metric, Predictions, mean_statistic, ratio


def reward_margins(truth: Predictions) -> np.ndarray:
    """Compute the reward margin of chosen over rejected answers, [pairs].

    Beta times the difference of their gains in log-probability over the reference model (Rafailov et al. 2023,
    https://arxiv.org/abs/2305.18290).
    """
    gained = truth.y_pred - truth.y_true
    return np.asarray(gained[:, 0] - gained[:, 1])


PREFERENCE_METRICS: dict[str, Metric] = {
    "preference-accuracy": Metric(
        "preference",
        mean_statistic(lambda truth: reward_margins(truth) > 0),
        ratio,
        True,
        "share of pairs of which the model has come to favour the chosen answer",
    ),
    "reward-margin": Metric(
        "preference",
        mean_statistic(reward_margins),
        ratio,
        True,
        "how much more a chosen answer has gained over the first model than a rejected one, times beta",
    ),
    "preference-loss": Metric(
        "preference",
        mean_statistic(lambda truth: np.logaddexp(0.0, -reward_margins(truth))),
        ratio,
        False,
        "cost of the preferences as given, in nats; 0.693 for a model that has not changed",
    ),
}
