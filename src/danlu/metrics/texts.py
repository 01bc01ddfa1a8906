"""Metrics of generated texts against reference texts: exact match, ROUGE, BLEU and chrF.

BLEU and chrF are those of sacrebleu (13a tokens, exponential smoothing; 6 characters, beta 2), from 0 to 100, computed
from counts over all texts, not as a mean of sentences. ROUGE is rouge-score's F without stemming, from 0 to 1.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from danlu.metrics.base import FROM_ZERO, Metric, Predictions, mean_statistic, ratio, safe_divide, sum_statistic

BLEU_ORDER, CHRF_ORDER, CHRF_BETA = 4, 6, 2

# mteval-v13a's punctuation, surrounded by spaces; full stops and commas only if no digit is next to them.
MARKS = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def tokenize_13a(text: str) -> list[str]:
    """Tokenize into words and punctuation as mteval-v13a does."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in ENTITIES:
        text = text.replace(entity, character)
    text = f" {text} "
    for mark, apart in MARKS:
        text = mark.sub(apart, text)
    return text.split()


def rouge_words(text: str) -> list[str]:
    """Extract lower-case runs of a to z and digits, as ROUGE does."""
    return re.findall(r"[a-z0-9]+", text.lower())


def ngrams(sequence: Sequence[Hashable] | str, length: int) -> Counter[Hashable]:
    """Count the n-grams of a sequence."""
    return Counter(tuple(sequence[i : i + length]) for i in range(len(sequence) - length + 1))


def _pairs(predictions: Predictions) -> list[tuple[str, str]]:
    return [(str(asked), str(given)) for asked, given in zip(predictions.y_true, predictions.y_pred, strict=True)]


def exact_match(predictions: Predictions) -> np.ndarray:
    """Return whether a text equals its reference up to surrounding whitespace, [samples]."""
    return np.array([asked.strip() == given.strip() for asked, given in _pairs(predictions)], dtype=np.float64)


def rouge_n(length: int) -> Callable[[Predictions], np.ndarray]:
    """Return the function for ROUGE-N: the F-score of shared n-grams, [samples]."""

    def one(asked: str, given: str) -> float:
        first, second = ngrams(rouge_words(asked), length), ngrams(rouge_words(given), length)
        return _f1(sum((first & second).values()), sum(first.values()), sum(second.values()))

    return lambda predictions: np.array([one(*pair) for pair in _pairs(predictions)], dtype=np.float64)


def rouge_l(predictions: Predictions) -> np.ndarray:
    """Compute ROUGE-L: the F-score of the longest common subsequence of words, [samples]."""

    def one(asked: str, given: str) -> float:
        first, second = rouge_words(asked), rouge_words(given)
        return _f1(_lcs_length(first, second), len(first), len(second))

    return np.array([one(*pair) for pair in _pairs(predictions)], dtype=np.float64)


def _f1(shared: int, first: int, second: int) -> float:
    return 2 * shared / (first + second) if shared else 0.0


def _lcs_length(first: list[str], second: list[str]) -> int:
    """Compute the length of the longest common subsequence with bit vectors (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | (1 << place)
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        same = row & places.get(word, 0)
        row = ((row + same) | (row - same)) & full
    return len(first) - row.bit_count()


def _bleu_terms(predictions: Predictions) -> np.ndarray:
    """Count lengths, shared and predicted n-grams for BLEU, [samples, 10].

    Columns: predicted length, reference length, shared n-grams of 1 to 4 tokens, predicted n-grams of 1 to 4 tokens.
    """

    def one(asked: str, given: str) -> list[int]:
        first, second = tokenize_13a(asked), tokenize_13a(given)
        orders = range(1, BLEU_ORDER + 1)
        shared = [sum((ngrams(first, n) & ngrams(second, n)).values()) for n in orders]
        return [len(second), len(first), *shared, *(max(0, len(second) - n + 1) for n in orders)]

    return np.array([one(*pair) for pair in _pairs(predictions)], dtype=np.float64)


def _bleu(found: np.ndarray) -> np.ndarray:
    given, asked = found[..., 0], found[..., 1]
    shared, totals = found[..., 2 : 2 + BLEU_ORDER], found[..., 2 + BLEU_ORDER :]
    # Exponential smoothing: an order without a match counts as half a match, the next one as a quarter, and so on.
    halvings = np.cumsum(shared == 0, axis=-1)
    precise = safe_divide(np.where(shared == 0, 0.5**halvings, shared), totals, 0.0)
    with np.errstate(divide="ignore"):
        mean = np.exp(np.log(precise).mean(-1))
    brevity = np.exp(np.minimum(0.0, 1 - safe_divide(asked, given, np.inf)))
    return np.where(shared.sum(-1) > 0, 100 * brevity * mean, 0.0)


def _chrf_terms(predictions: Predictions) -> np.ndarray:
    """Count predicted, reference and shared character n-grams of 1 to 6, without spaces, [samples, 18]."""

    def one(asked: str, given: str) -> list[int]:
        first, second = "".join(asked.split()), "".join(given.split())
        counts: list[int] = []
        for n in range(1, CHRF_ORDER + 1):
            wanted, found = ngrams(first, n), ngrams(second, n)
            counts += [
                sum(found.values()) if wanted else 0,
                sum(wanted.values()),
                sum((wanted & found).values()),
            ]
        return counts

    return np.array([one(*pair) for pair in _pairs(predictions)], dtype=np.float64)


def _chrf(found: np.ndarray) -> np.ndarray:
    parts = found.reshape(*found.shape[:-1], CHRF_ORDER, 3)
    given, asked, shared = parts[..., 0], parts[..., 1], parts[..., 2]
    counted = ((given > 0) & (asked > 0)).astype(np.float64)
    orders = counted.sum(-1)
    precise = safe_divide((safe_divide(shared, given, 0.0) * counted).sum(-1), orders, 0.0)
    recalled = safe_divide((safe_divide(shared, asked, 0.0) * counted).sum(-1), orders, 0.0)
    above = (1 + CHRF_BETA**2) * precise * recalled
    return 100 * safe_divide(above, CHRF_BETA**2 * precise + recalled, 0.0)


def _mean(terms: Callable[[Predictions], np.ndarray], meaning: str) -> Metric:
    return Metric("text-generation", mean_statistic(terms), ratio, True, meaning)


TEXT_METRICS: dict[str, Metric] = {
    "exact-match": _mean(exact_match, "share of texts that are the one asked for"),
    "rouge-1": _mean(rouge_n(1), "F of shared words"),
    "rouge-2": _mean(rouge_n(2), "F of shared pairs of words"),
    "rouge-l": _mean(rouge_l, "F of the longest row of words in the same order"),
    "bleu": Metric(
        "text-generation", sum_statistic(_bleu_terms), _bleu, True, "sacrebleu's BLEU, 0 to 100", bounds=FROM_ZERO
    ),
    "chrf": Metric(
        "text-generation", sum_statistic(_chrf_terms), _chrf, True, "sacrebleu's chrF, 0 to 100", bounds=FROM_ZERO
    ),
}
