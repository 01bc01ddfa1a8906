"""Metrics of tagged words: truth and predictions are tuples of tags, [samples]; a word without a prediction has ''.

An entity is a type and a span of words in the BIO, BIOES or a related scheme; it is found if both span and type match.
Spans begin and end by the rules of CoNLL's conlleval, as in seqeval's default mode.
"""

from collections.abc import Callable

import numpy as np

from danlu.metrics.base import Metric, Predictions, Statistic, StatisticFn, ratio, safe_divide, sum_statistic
from danlu.metrics.classification import f_beta, macro

OUTSIDE = "O"
PREFIXES = "BIOES"
Entity = tuple[str, int, int]


def entities(tags: tuple[str, ...]) -> set[Entity]:
    """Extract type, first and last word of each entity."""
    found: set[Entity] = set()
    before, kind, begin = OUTSIDE, "", 0
    for place, tag in enumerate((*tags, OUTSIDE)):
        prefix, _, own = tag.partition("-")
        if before != OUTSIDE and (prefix in ("B", "S", OUTSIDE, "") or before in ("E", "S") or own != kind):
            found.add((kind, begin, place - 1))
        starts = prefix in ("B", "S") or before in (OUTSIDE, "E", "S") or own != kind
        if prefix not in (OUTSIDE, "") and starts:
            begin = place
        before, kind = prefix or OUTSIDE, own
    return found


def is_bio_scheme(tags: tuple[str, ...]) -> bool:
    """Return whether tags follow a BIO scheme: O, or a prefix and a type."""
    return all(tag in (OUTSIDE, "") or (tag[:1] in PREFIXES and tag[1:2] == "-") for tag in tags)


def _word_counts(predictions: Predictions) -> np.ndarray:
    """Count correctly tagged words and words, [samples, 2]."""
    pairs = zip(predictions.y_true, predictions.y_pred, strict=True)
    return np.array([[sum(a == b for a, b in zip(*pair, strict=True)), len(pair[0])] for pair in pairs])


def _entity_counts(predictions: Predictions) -> np.ndarray:
    """Count correct, true and predicted entities, [samples, 3]; all 0 without a BIO scheme."""
    if not all(map(is_bio_scheme, predictions.y_true)):
        return np.zeros((len(predictions), 3))
    pairs = ((entities(own), entities(said)) for own, said in zip(predictions.y_true, predictions.y_pred, strict=True))
    return np.array([[len(own & said), len(own), len(said)] for own, said in pairs])


def _prepare_tags(predictions: Predictions) -> StatisticFn:
    """Map weights to [resamples, 3, tags]: correct, true and predicted count of each tag.

    A word without a prediction counts as none of them.
    """
    names = sorted({tag for rows in (predictions.y_true, predictions.y_pred) for row in rows for tag in row} - {""})
    places = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(predictions), 3, len(names) + 1))
    for row, pair in enumerate(zip(predictions.y_true, predictions.y_pred, strict=True)):
        for own, said in zip(*pair, strict=True):
            counts[row, 1, places.get(own, -1)] += 1
            counts[row, 2, places.get(said, -1)] += 1
            counts[row, 0, places.get(own, -1)] += own == said
    flat = counts[:, :, :-1].reshape(len(predictions), -1)
    return lambda weights: np.asarray((weights @ flat).reshape(len(weights), 3, -1))


def _entity_metric(finish: Callable[[np.ndarray], np.ndarray], meaning: str) -> Metric:
    return Metric("token-classification", ENTITIES, finish, True, meaning)


ENTITIES = sum_statistic(_entity_counts)
TAG_METRICS: dict[str, Metric] = {
    "tag-accuracy": Metric(
        "token-classification", sum_statistic(_word_counts), ratio, True, "share of words with the right tag"
    ),
    "tag-f1": Metric(
        "token-classification", Statistic(_prepare_tags), macro(f_beta(1.0)), True, "mean F1 of the tags that occur"
    ),
    "entity-f1": _entity_metric(
        lambda found: safe_divide(2 * found[..., 0], found[..., 1] + found[..., 2]),
        "F1 of entities: the same words and type (as seqeval)",
    ),
    "entity-precision": _entity_metric(
        lambda found: np.where(found[..., 1] > 0, safe_divide(found[..., 0], found[..., 2], 0.0), np.nan),
        "share of given entities that are right",
    ),
    "entity-recall": _entity_metric(
        lambda found: safe_divide(found[..., 0], found[..., 1]), "share of entities that are found"
    ),
}
