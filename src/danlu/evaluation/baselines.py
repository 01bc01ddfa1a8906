"""Baselines that a model must beat: a trivial answer, a linear model and, for tables, gradient boosting.

All are fitted on the same training split. Classification: class frequencies and logistic regression; several labels:
the same for each label. Regression: the mean and ridge regression. The linear models see texts as TF-IDF of words and
images as pixels; boosting (scikit-learn's histogram trees) sees the columns as the model's own preprocessing gives
them. Language modelling: unigram and bigram token frequencies.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from danlu.data.dataset import Dataset
from danlu.data.descriptors import Origin
from danlu.data.kind import Preprocessor
from danlu.data.sources.tags import ragged_array, read_list
from danlu.data.splits import Split, Splits
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.data.targets import ClassTarget, MultiLabelTarget, NumericTarget, Supervised, TagTarget
from danlu.data.text.preprocessor import BlockPreprocessor
from danlu.evaluation.baseline_features import BLOCK_ROWS, BaselineFeatures, baseline_features

MAX_BOOSTED_LABELS = 20  # labels with boosted trees of their own
BIGRAM_WEIGHT = 0.75  # weight of the bigram probability in the mixture with the unigram's


@dataclass(frozen=True)
class Baseline:
    """Hold a simple model's predictions for each split, in the form of `Predictions.y_pred`."""

    name: str
    description: str
    predictions: dict[str, np.ndarray]


def supervised_baselines(
    dataset: Dataset, splits: Splits, preprocessor: Preprocessor, target: Supervised
) -> list[Baseline]:
    """Fit the baselines of a classification, multi-label or regression task."""
    eval_splits = splits.eval_splits()
    features = baseline_features(dataset.kind, preprocessor, Origin(dataset.origin, dataset.folder))
    answers = splits.train.columns(target.column)
    learned = _subsample(splits.train, features.max_rows)
    train = features.fit(learned)
    if isinstance(target, MultiLabelTarget):
        shares = target.multi_hot(answers).mean(axis=0)
        said = _classify_labels(features, train, target.multi_hot(learned.columns(target.column)), eval_splits)
        return [
            Baseline(
                "frequency",
                "each label as often as it occurs",
                {name: np.tile(shares, (len(split.rows), 1)) for name, split in eval_splits.items()},
            ),
            Baseline("logistic-regression", f"{features.description}, one for each label", said),
            *_boosting_label_baseline(preprocessor, features.place, learned, eval_splits, target),
        ]
    if isinstance(target, ClassTarget):
        share = np.bincount(target.codes(answers), minlength=len(target.labels)) / len(answers)
        codes = target.codes(learned.columns(target.column))
        tiled = {name: np.tile(share, (len(split.rows), 1)) for name, split in eval_splits.items()}
        trivial = Baseline("majority", "always the most frequent class", tiled)
        if share.max() == 1.0:  # a dry run on few rows may contain a single class
            return [trivial]
        linear = _classify(features, train, codes, eval_splits, target)
        boosted = _boosting_baseline(preprocessor, features, learned, codes, eval_splits, target)
        return [trivial, Baseline("logistic-regression", features.description, linear), *boosted]
    mean = float(answers[target.column].cast(pl.Float64).mean() or 0.0)  # type: ignore[arg-type]
    values = learned.column(target.column).cast(pl.Float64).to_numpy()
    return [
        Baseline(
            "mean",
            "always the training mean",
            {name: np.full(len(split.rows), mean) for name, split in eval_splits.items()},
        ),
        Baseline("ridge", features.description, _regress(features, train, values, eval_splits)),
        *_boosting_baseline(preprocessor, features, learned, values, eval_splits, target),
    ]


def language_baselines(splits: Splits, preprocessor: BlockPreprocessor) -> list[Baseline]:
    """Fit unigram and bigram models on the tokens that a language model is evaluated on.

    In conversations these are the assistant's tokens.
    """
    size = preprocessor.tokenizer.vocabulary
    learned, preceding, _ = preprocessor.successions(splits.train.frame)
    counts = np.bincount(learned, minlength=size) + 1.0
    unigram = counts / counts.sum()
    pairs, totals = _pair_counts(learned, preceding, size)
    found: dict[str, dict[str, np.ndarray]] = {"unigram": {}, "bigram": {}}
    for name, split in splits.eval_splits().items():
        now, before, owners = preprocessor.successions(split.frame)
        rows = len(split.rows)
        followed = np.array([pairs.get(pair, 0) for pair in (before * size + now).tolist()]) / np.maximum(
            1, totals[before]
        )
        mixed = BIGRAM_WEIGHT * followed + (1 - BIGRAM_WEIGHT) * unigram[now]
        # After a token that was never followed by another, use the unigram probability alone.
        mixed = np.where(totals[before] > 0, mixed, unigram[now])
        likeliest = int(unigram.argmax())
        right = _best_successors(pairs, size, likeliest)[before] == now
        found["unigram"][name] = _sum_per_row(owners, rows, -np.log(unigram[now]), now == likeliest)
        found["bigram"][name] = _sum_per_row(owners, rows, -np.log(mixed), right)
    return [
        Baseline("unigram", "tokens by how frequent they are", found["unigram"]),
        Baseline("bigram", "tokens by how frequent they are after the one before", found["bigram"]),
    ]


def tag_baselines(splits: Splits, target: TagTarget, words: str) -> list[Baseline]:
    """Predict the most frequent tag overall, and the most frequent tag per word.

    An unknown word gets the most frequent tag overall.
    """
    seen, counts = dict[str, Counter[str]](), Counter[str]()
    rows = splits.train.columns(words, target.column)
    for sentence, tags in zip(rows[words].to_list(), rows[target.column].to_list(), strict=True):
        for word, tag in zip(read_list(sentence), read_list(tags), strict=True):
            seen.setdefault(word, Counter())[tag] += 1
            counts[tag] += 1
    usual = counts.most_common(1)[0][0]
    own = {word: tags.most_common(1)[0][0] for word, tags in seen.items()}
    sentences = {
        name: [read_list(text) for text in split.column(words).to_list()]
        for name, split in splits.eval_splits().items()
    }
    trivial = {name: ragged_array([usual] * len(row) for row in found) for name, found in sentences.items()}
    by_word = {
        name: ragged_array([own.get(word, usual) for word in row] for row in found) for name, found in sentences.items()
    }
    return [
        Baseline("majority", "always the most frequent tag", trivial),
        Baseline("word", "the most frequent tag of each word", by_word),
    ]


def _subsample(train: Split, most: int) -> Split:
    """Take at most `most` evenly spaced rows; a linear model gains nothing from millions."""
    if len(train) <= most:
        return train
    return Split(train.rows[np.linspace(0, len(train) - 1, most).astype(np.int64)], train.table)


def _classify(
    features: BaselineFeatures, train: Any, codes: np.ndarray, eval_splits: dict[str, Split], target: ClassTarget
) -> dict[str, np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=features.inverse_penalty, max_iter=1000).fit(train, codes)
    found: dict[str, np.ndarray] = {}
    for name, split in eval_splits.items():
        probabilities = np.zeros((len(split.rows), len(target.labels)))
        probabilities[:, model.classes_] = features.predict(split, model.predict_proba)
        found[name] = probabilities
    return found


def _classify_labels(
    features: BaselineFeatures, train: Any, given: np.ndarray, eval_splits: dict[str, Split]
) -> dict[str, np.ndarray]:
    """Fit one-vs-rest models; returns probabilities, [rows, labels].

    A label that all training rows have, or none, is predicted by its frequency.
    """
    from sklearn.linear_model import LogisticRegression

    shares = given.mean(axis=0)
    found = {name: np.tile(shares, (len(split.rows), 1)) for name, split in eval_splits.items()}
    learned = [label for label, share in enumerate(shares) if 0 < share < 1]
    models = [
        LogisticRegression(C=features.inverse_penalty, max_iter=1000).fit(train, given[:, label]) for label in learned
    ]

    def answer(seen: Any) -> np.ndarray:
        return np.stack([model.predict_proba(seen)[:, 1] for model in models], axis=1)

    for name, split in eval_splits.items() if models else ():
        found[name][:, learned] = features.predict(split, answer)
    return found


def _boosting_baseline(
    preprocessor: Preprocessor,
    features: BaselineFeatures,
    learned: Split,
    answers: np.ndarray,
    eval_splits: dict[str, Split],
    target: ClassTarget | NumericTarget,
) -> list[Baseline]:
    """Fit gradient-boosted trees to a table; return nothing for other kinds of data."""
    if not isinstance(preprocessor, TabularPreprocessor):
        return []
    found = predict_boosting(preprocessor, features.place, learned, answers, eval_splits, target)
    return [Baseline("gradient-boosting", f"boosted trees of the same columns{features.learned}", found)]


def _boosting_label_baseline(
    preprocessor: Preprocessor, place: Origin, learned: Split, eval_splits: dict[str, Split], target: MultiLabelTarget
) -> list[Baseline]:
    """Fit boosted trees per label of a table; skipped if there are many labels."""
    if not isinstance(preprocessor, TabularPreprocessor) or len(target.labels) > MAX_BOOSTED_LABELS:
        return []
    given = target.multi_hot(learned.columns(target.column))
    shares = given.mean(axis=0)
    found = {name: np.tile(shares, (len(split.rows), 1)) for name, split in eval_splits.items()}
    for label in np.flatnonzero((shares > 0) & (shares < 1)).tolist():
        one = ClassTarget(column=target.column, labels=(False, True))
        answers = predict_boosting(preprocessor, place, learned, given[:, label].astype(np.int64), eval_splits, one)
        for name, probabilities in answers.items():
            found[name][:, label] = probabilities[:, 1]
    return [Baseline("gradient-boosting", "boosted trees of the same columns, one for each label", found)]


def _regress(
    features: BaselineFeatures, train: Any, values: np.ndarray, eval_splits: dict[str, Split]
) -> dict[str, np.ndarray]:
    from sklearn.linear_model import Ridge

    model = Ridge().fit(train, values)
    return {name: features.predict(split, model.predict) for name, split in eval_splits.items()}


def _pair_counts(now: np.ndarray, before: np.ndarray, size: int) -> tuple[dict[int, int], np.ndarray]:
    """Count token pairs, keyed by `before * size + now`, and pairs per first token."""
    keys, counts = np.unique(before * size + now, return_counts=True)
    totals = np.bincount(before, minlength=size)
    return dict(zip(keys.tolist(), counts.tolist(), strict=True)), totals


def _best_successors(pairs: dict[int, int], size: int, otherwise: int) -> np.ndarray:
    """Return the most frequent token after each token, [vocabulary]."""
    best, most = np.full(size, otherwise), np.zeros(size)
    for key, count in pairs.items():
        before, now = divmod(key, size)
        if count > most[before]:
            best[before], most[before] = now, count
    return best


def _sum_per_row(owners: np.ndarray, count: int, losses: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Sum loss, tokens and correct guesses per row, [rows, 3], as a language model's predictions."""
    terms = (losses, np.ones(len(owners)), right)
    return np.stack([np.bincount(owners, weights=values, minlength=count) for values in terms], axis=1)


MAX_CATEGORIES = 255  # a histogram tree's limit
EARLY_STOPPING_FROM_ROWS = 2_000  # training rows; with fewer, none can be spared for early stopping
MAX_ROUNDS = 200


def predict_boosting(
    preprocessor: TabularPreprocessor,
    place: Origin,
    learned: Split,
    answers: np.ndarray,
    eval_splits: dict[str, Split],
    target: ClassTarget | NumericTarget,
) -> dict[str, np.ndarray]:
    """Fit boosted trees and predict each split.

    Args:
        learned: the training rows.
        answers: their class indices or numbers, [rows].
        eval_splits: the splits, by name.

    Returns:
        split -> probabilities [rows, classes] or numbers [rows].
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    numbers = preprocessor.arrays(learned.frame.head(1), place.name)[0].shape[1]
    sizes = preprocessor.inputs.cardinalities
    options = {
        "categorical_features": [numbers + i for i, size in enumerate(sizes) if size <= MAX_CATEGORIES] or None,
        "early_stopping": len(learned) >= EARLY_STOPPING_FROM_ROWS,
        "max_iter": MAX_ROUNDS,
        "random_state": 0,
    }
    train = _boosting_features(preprocessor, learned.frame, place)
    if isinstance(target, NumericTarget):
        fitted = HistGradientBoostingRegressor(**options).fit(train, answers)
        return {
            name: _predict_blocks(fitted.predict, preprocessor, split, place) for name, split in eval_splits.items()
        }
    fitted = HistGradientBoostingClassifier(**options).fit(train, answers)
    found: dict[str, np.ndarray] = {}
    for name, split in eval_splits.items():
        probabilities = np.zeros((len(split), len(target.labels)))
        probabilities[:, fitted.classes_] = _predict_blocks(fitted.predict_proba, preprocessor, split, place)
        found[name] = probabilities
    return found


def _predict_blocks(ask: object, preprocessor: TabularPreprocessor, split: Split, place: Origin) -> np.ndarray:
    blocks = split.iter_blocks(preprocessor.columns, BLOCK_ROWS)
    return np.concatenate([ask(_boosting_features(preprocessor, block, place)) for block in blocks])  # type: ignore[operator]


def _boosting_features(preprocessor: TabularPreprocessor, frame: pl.DataFrame, place: Origin) -> np.ndarray:
    """Return numbers and category codes side by side, [rows, numbers + categories]."""
    numeric, codes = preprocessor.arrays(frame, place.name)
    return np.concatenate([numeric, codes.astype(np.float32)], axis=1)
