"""Token classification: each word of a sentence has a tag."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import polars as pl

from danlu.errors import DataError
from danlu.metrics.base import Metric, Predictions
from danlu.metrics.tags import TAG_METRICS
from danlu.tasks.base import (
    Baseline,
    BaselineData,
    ColumnTarget,
    ErrorScores,
    FitInputs,
    Head,
    SplitRows,
    Target,
    Task,
    Words,
    positions_of,
)
from danlu.tasks.classification import soft_classification_loss
from danlu.tasks.summaries import count_listed
from danlu.tasks.token_losses import IGNORED, num_tokens, token_loss

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def read_list(text: str) -> list[str]:
    """Parse a row's words or tags from JSON text."""
    found: list[str] = json.loads(text)
    return found


def ragged_array(rows: Iterable[Sequence[Any]]) -> np.ndarray:
    """Return lists of any lengths as an array of tuples, [rows]."""
    kept = [tuple(row) for row in rows]
    found = np.empty(len(kept), dtype=object)
    for place, row in enumerate(kept):
        found[place] = row
    return found


def pad_tags(predicted: Sequence[str], true: Sequence[str]) -> tuple[str, ...]:
    """Fill up predicted tags with '' for words beyond the model's context."""
    return (*predicted, *[""] * (len(true) - len(predicted)))


class TagTarget(ColumnTarget):
    """Predict a tag for each word."""

    task: Literal["token-classification"] = "token-classification"
    labels: tuple[str, ...]

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def codes(self, frame: pl.DataFrame) -> list[np.ndarray]:
        """Return the position of each word's tag in `labels`, row by row.

        Raises:
            DataError: a tag that the training split did not have.
        """
        rows = [read_list(text) for text in frame[self.column].to_list()]
        cure = "give more rows or another seed"
        positions = positions_of(self.labels, chain.from_iterable(rows), f"{self.column!r} has the tag", cure)
        return [np.array([positions[tag] for tag in row], dtype=np.int64) for row in rows]

    def encode(self, frame: pl.DataFrame) -> "torch.Tensor":
        raise NotImplementedError("tags are put where words begin, which their preprocessor knows")

    def decode(self, outputs: np.ndarray) -> pl.DataFrame:
        """Return `prediction`, the list of tags; none for words beyond `data.sequence_length`."""
        rows = [[self.labels[int(code)] for code in row if code >= 0] for row in outputs]
        return pl.DataFrame({"prediction": pl.Series(rows, dtype=pl.List(pl.String))})


class Tagging(Task):
    """Predict a tag for each word of a sentence."""

    name: Literal["token-classification"] = "token-classification"
    words: ClassVar[Words] = {"en": {"name": "token-classification"}, "zh": {"name": "词的标注"}}
    noun = "tag"
    own_metrics: ClassVar[Mapping[str, Metric]] = TAG_METRICS
    default_metrics = ("tag-accuracy", "tag-f1", "entity-f1", "entity-precision", "entity-recall")
    main_metric = "tag-f1"
    per_token = True
    can_distill = True
    target_class: ClassVar[type[Target]] = TagTarget

    def describe_target(self, parts: Mapping[str, pl.Series], values: pl.Series) -> dict[str, Any]:
        return {"classes": count_listed(parts, read_list)}

    def format_cell(self, value: Any) -> Any:
        return " ".join(read_list(value))

    def fit_target(self, inputs: FitInputs) -> TagTarget:
        assert inputs.values is not None
        tags = sorted({tag for text in inputs.values.unique().to_list() for tag in read_list(text)})
        if len(tags) == 1:
            raise DataError(f"{inputs.origin}: the training split holds one tag alone ({tags[0]!r})", code="DL223")
        return TagTarget(column=inputs.column, labels=tuple(tags))

    def head(self, target: TagTarget) -> Head:
        return Head(token_loss, tagging_predict, num_tokens, answer=tagging_answer)

    def soft_loss(self, logits: "Tensor", teacher: "Tensor", temperature: float) -> "Tensor":
        return soft_classification_loss(logits, teacher, temperature)

    def to_y_pred(self, target: TagTarget, outputs: np.ndarray) -> np.ndarray:
        return ragged_array(target.decode(outputs)["prediction"].to_list())

    def pair(self, split: SplitRows, target: TagTarget, y_pred: np.ndarray, text_column: str | None) -> Predictions:
        values = ragged_array(read_list(text) for text in split.column(target.column).to_list())
        return Predictions(values, ragged_array(pad_tags(own, true) for own, true in zip(y_pred, values, strict=True)))

    def truth_columns(self, split: SplitRows, target: TagTarget, predictions: Predictions) -> dict[str, Any]:
        return {"truth": [list(tags) for tags in predictions.y_true]}

    def read(self, table: pl.DataFrame, labels: Sequence[str]) -> Predictions:
        truths, predicted = table["truth"].to_list(), table["prediction"].to_list()
        padded = ragged_array(pad_tags(own, true) for own, true in zip(predicted, truths, strict=True))
        return Predictions(ragged_array(truths), padded)

    def score_errors(self, table: pl.DataFrame) -> ErrorScores:
        """Score sentences by number of wrong tags; ties by shortest sentence."""
        predictions = self.read(table, ())
        pairs = list(zip(predictions.y_true, predictions.y_pred, strict=True))
        sizes = np.array([len(true) for true, _ in pairs])
        wrong = np.array([sum(a != b for a, b in zip(*pair, strict=True)) for pair in pairs])
        return ErrorScores("tags", np.flatnonzero(wrong), wrong + 1 / (1 + sizes), wrong)

    def baselines(self, target: TagTarget, data: BaselineData) -> list[Baseline]:
        """Predict the most frequent tag overall, and the most frequent tag per word.

        An unknown word gets the most frequent tag overall.
        """
        seen, counts = dict[str, Counter[str]](), Counter[str]()
        rows = data.train.columns(data.content, target.column)
        for sentence, tags in zip(rows[data.content].to_list(), rows[target.column].to_list(), strict=True):
            for word, tag in zip(read_list(sentence), read_list(tags), strict=True):
                seen.setdefault(word, Counter())[tag] += 1
                counts[tag] += 1
        usual = counts.most_common(1)[0][0]
        own = {word: tags.most_common(1)[0][0] for word, tags in seen.items()}
        sentences = {
            name: [read_list(text) for text in split.column(data.content).to_list()]
            for name, split in data.eval_splits.items()
        }
        trivial = {name: ragged_array([usual] * len(row) for row in found) for name, found in sentences.items()}
        by_word = {
            name: ragged_array([own.get(word, usual) for word in row] for row in found)
            for name, found in sentences.items()
        }
        return [
            Baseline("majority", "always the most frequent tag", trivial),
            Baseline("word", "the most frequent tag of each word", by_word),
        ]


def tagging_predict(logits: "Tensor", target: "Tensor | None") -> "Tensor":
    """Return one tag per word, left-aligned and padded with -1, [batch, length].

    `target` marks the first token of each word: any code there, IGNORED elsewhere.
    """
    import torch

    assert target is not None, "tagging needs the target (or zeros) to find the first token of each word"
    codes = torch.where(target == IGNORED, -1, logits.argmax(dim=2))
    order = (codes < 0).to(torch.uint8).argsort(dim=1, stable=True)
    return codes.gather(1, order)


def tagging_answer(outputs: np.ndarray, target: np.ndarray | None) -> np.ndarray:
    """Return one tag per word of arrays, as `tagging_predict`."""
    assert target is not None, "tagging needs the target (or zeros) to find the first token of each word"
    codes = np.where(target == IGNORED, -1, outputs.argmax(axis=2))
    order = np.argsort(codes < 0, axis=1, kind="stable")
    return np.take_along_axis(codes, order, axis=1)
