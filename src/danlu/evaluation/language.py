"""Metrics of language models: next-token metrics (sums over tokens, bytes) and preference metrics (means over pairs).

In: summed losses, tokens and bytes per text; or log-probabilities of a chosen and a rejected answer per pair.
"""

from collections.abc import Callable

import numpy as np

from danlu.evaluation.metric import Metric, Predictions, safe_divide, sum_statistic

LOSS, TOKENS, RIGHT, BYTES = range(4)


def _token_totals(truth: Predictions) -> np.ndarray:
    sizes = np.zeros(len(truth)) if truth.text_bytes is None else truth.text_bytes
    return np.concatenate([truth.y_pred, np.asarray(sizes, dtype=np.float64)[:, None]], axis=1)


def _language_metric(finish: Callable[[np.ndarray], np.ndarray], higher_is_better: bool, meaning: str) -> Metric:
    return Metric("language-modelling", TOTALS, finish, higher_is_better, meaning)


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
        lambda found: safe_divide(found[..., RIGHT], found[..., TOKENS]), True, "share of next tokens guessed rightly"
    ),
}
