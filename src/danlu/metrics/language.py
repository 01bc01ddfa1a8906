"""Metrics of language models: next-token metrics (sums over tokens, bytes) and preference metrics (means over pairs).

In: summed losses, tokens and bytes per text; or log-probabilities of a chosen and a rejected answer per pair.
"""

from collections.abc import Callable

import numpy as np

from danlu.metrics.base import (
    FROM_ZERO,
    UNBOUNDED,
    Metric,
    Predictions,
    mean_statistic,
    ratio,
    safe_divide,
    sum_statistic,
)

LOSS, TOKENS, RIGHT, BYTES = range(4)


def _token_totals(predictions: Predictions) -> np.ndarray:
    sizes = np.zeros(len(predictions)) if predictions.text_bytes is None else predictions.text_bytes
    return np.concatenate([predictions.y_pred, np.asarray(sizes, dtype=np.float64)[:, None]], axis=1)


def _language_metric(
    finish: Callable[[np.ndarray], np.ndarray],
    higher_is_better: bool,
    meaning: str,
    bounds: tuple[float, float] = FROM_ZERO,
) -> Metric:
    return Metric("language-modelling", TOTALS, finish, higher_is_better, meaning, bounds=bounds)


TOTALS = sum_statistic(_token_totals)
LANGUAGE_METRICS: dict[str, Metric] = {
    "perplexity": _language_metric(
        lambda found: np.exp(safe_divide(found[..., LOSS], found[..., TOKENS])),
        False,
        "as unsure as a choice among so many tokens",
    ),
    "bits-per-byte": _language_metric(
        lambda found: safe_divide(found[..., LOSS] / np.log(2), found[..., BYTES]),
        False,
        "bits to write a byte of text, whatever the tokenizer",
    ),
    "token-accuracy": _language_metric(
        lambda found: safe_divide(found[..., RIGHT], found[..., TOKENS]),
        True,
        "share of next tokens guessed rightly",
        (0.0, 1.0),
    ),
}


def reward_margins(predictions: Predictions) -> np.ndarray:
    """Compute the reward margin of chosen over rejected answers, [pairs].

    Beta times the difference of their gains in log-probability over the reference model (Rafailov et al. 2023,
    https://arxiv.org/abs/2305.18290).
    """
    gained = predictions.y_pred - predictions.y_true
    return np.asarray(gained[:, 0] - gained[:, 1])


PREFERENCE_METRICS: dict[str, Metric] = {
    "preference-accuracy": Metric(
        "preference",
        mean_statistic(lambda predictions: reward_margins(predictions) > 0),
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
        bounds=UNBOUNDED,
    ),
    "preference-loss": Metric(
        "preference",
        mean_statistic(lambda predictions: np.logaddexp(0.0, -reward_margins(predictions))),
        ratio,
        False,
        "cost of the preferences as given, in nats; 0.693 for a model that has not changed",
        bounds=FROM_ZERO,
    ),
}
