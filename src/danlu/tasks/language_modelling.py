"""Language modelling: the target is the text's own next token."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl

from danlu.metrics.base import Metric, Predictions
from danlu.metrics.language import LANGUAGE_METRICS
from danlu.tasks.base import (
    Baseline,
    BaselineData,
    ErrorScores,
    FitInputs,
    Head,
    SplitRows,
    Target,
    Task,
    Words,
)
from danlu.tasks.classification import soft_classification_loss
from danlu.tasks.token_losses import num_tokens, token_loss, token_predict

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BIGRAM_WEIGHT = 0.75  # weight of the bigram probability in the mixture with the unigram's


class NextTokenTarget(Target):
    """Predict the text's own next token."""

    task: Literal["language-modelling"] = "language-modelling"
    vocabulary: int

    @property
    def outputs(self) -> int:
        return self.vocabulary

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        raise NotImplementedError("a corpus's preprocessor makes inputs and answers in one go")

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `tokens`, mean `loss` per token in nats, and `perplexity` of each text."""
        loss = outputs[:, 0] / np.maximum(outputs[:, 1], 1)
        tokens = outputs[:, 1].astype(np.int64)
        return pl.DataFrame({"tokens": tokens, "loss": loss, "perplexity": np.exp(loss)})


class LanguageModelling(Task):
    """Predict each token of a text from those before it."""

    name: Literal["language-modelling"] = "language-modelling"
    words: ClassVar[Words] = {"en": {"name": "language-modelling"}, "zh": {"name": "语言建模"}}
    own_metrics: ClassVar[Mapping[str, Metric]] = LANGUAGE_METRICS
    default_metrics = ("perplexity", "bits-per-byte", "token-accuracy")
    main_metric = "perplexity"
    has_target = False
    per_token = True
    counts_tokens = True
    can_distill = True
    target_class: ClassVar[type[Target]] = NextTokenTarget

    def fit_target(self, inputs: FitInputs) -> NextTokenTarget:
        return NextTokenTarget(vocabulary=inputs.vocabulary)

    def head(self, target: NextTokenTarget) -> Head:
        return Head(token_loss, token_predict, num_tokens)

    def soft_loss(self, logits: "Tensor", teacher: "Tensor", temperature: float) -> "Tensor":
        return soft_classification_loss(logits, teacher, temperature)

    def align_teacher(self, found: "Tensor", own: NextTokenTarget, student: NextTokenTarget) -> "Tensor":
        return found

    def pair(
        self, split: SplitRows, target: NextTokenTarget, y_pred: np.ndarray, text_column: str | None
    ) -> Predictions:
        """Pair a language model's sums with the byte length of each text.

        Blocks do not correspond to texts; they are paired with the total length.
        """
        if text_column is None:
            return Predictions(y_pred[:, 1], y_pred.astype(np.float64))
        texts = split.column(text_column).cast(pl.String)
        sizes = texts.str.len_bytes().fill_null(0).to_numpy().astype(np.float64)
        if len(sizes) != len(y_pred):
            sizes = np.append(sizes.sum(), np.zeros(len(y_pred) - 1))
        return Predictions(y_pred[:, 1], y_pred.astype(np.float64), sizes)

    def truth_columns(self, split: SplitRows, target: NextTokenTarget, predictions: Predictions) -> dict[str, Any]:
        """Return correctly predicted tokens and bytes of each text instead of a truth."""
        sizes = predictions.text_bytes
        return {
            "right": predictions.y_pred[:, 2].astype(np.int64),
            "bytes": np.zeros(len(predictions)) if sizes is None else sizes,
        }

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        tokens = table["tokens"].to_numpy().astype(np.float64)
        sums = np.stack([table["loss"].to_numpy() * tokens, tokens, table["right"].to_numpy()], axis=1)
        return Predictions(tokens, sums, table["bytes"].to_numpy())

    def same_truth(self, first: Predictions, other: Predictions) -> bool:
        """Return whether the texts are as long; tokenizers may differ."""
        assert first.text_bytes is not None and other.text_bytes is not None
        return np.array_equal(first.text_bytes, other.text_bytes)

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score texts by mean loss per token; texts without tokens are left out."""
        losses = table["loss"].cast(pl.Float64).fill_null(float("-inf")).fill_nan(float("-inf")).to_numpy()
        return ErrorScores("loss", np.flatnonzero(np.isfinite(losses)), losses, losses)

    def describe_error(self, table: pl.DataFrame, place: int) -> dict[str, Any]:
        return {"truth": "", "answer": "", "tokens": int(table["tokens"][place])}

    def baselines(self, target: NextTokenTarget, data: BaselineData) -> list[Baseline]:
        """Fit unigram and bigram models on the tokens that a language model is evaluated on.

        In conversations these are the assistant's tokens.
        """
        learned, preceding, _, size = data.successions(data.train.frame)
        counts = np.bincount(learned, minlength=size) + 1.0
        unigram = counts / counts.sum()
        pairs, totals = _pair_counts(learned, preceding, size)
        found: dict[str, dict[str, np.ndarray]] = {"unigram": {}, "bigram": {}}
        for name, split in data.eval_splits.items():
            now, before, owners, _ = data.successions(split.frame)
            rows = len(split)
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
