"""The worst errors of the test split, shown as the rows, texts or images themselves, for predictions/worst.json.

In: the predictions that evaluation keeps, and the data. Out: plain values. Only the model's input columns are shown.
Errors are described in the task's terms: another class, missing and extra labels, other tags.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from danlu.data.samples import MOST_COLUMNS, format_value, readable_rows, thumbnail
from danlu.data.sources.tags import read_list
from danlu.data.splits import Split
from danlu.experiment.data_context import DataContext

MAX_ROWS, MAX_IMAGES = 12, 24
MAX_WORDS, CONTEXT_WORDS = 80, 8  # words shown of a sentence, and shown on either side of a wrong tag
MIN_PROBABILITY = 1e-7  # about float32's resolution near 1: bounds the loss of a confident wrong prediction


@dataclass(frozen=True)
class ErrorScores:
    """Score how bad each prediction is.

    Attributes:
        by: the criterion: confidence (of wrong predictions), error, labels, tags, loss or margin.
        wrong: indices of the predictions that may be shown, [wrong].
        order: larger is worse, [samples].
        figures: the number shown with each prediction, [samples].
    """

    by: str
    wrong: np.ndarray
    severity: np.ndarray
    shown: np.ndarray


def worst_errors(opened: DataContext, answers: pl.DataFrame) -> dict[str, Any]:
    """Select and describe the worst predictions.

    Args:
        answers: the test split's predictions, as `predictions_frame` writes them.

    Returns:
        by: as in ErrorScores; count: total number of errors; columns; rows: each with row, truth, answer, figure,
        values of the columns as text and, for images, a small PNG in base64. With several labels also which were missed
        and which are superfluous; with tags the words with their true and predicted tags; with texts the number of
        tokens.
    """
    dataset = opened.dataset
    bad = _score_errors(dataset.task, answers)
    pictured = dataset.kind == "image"
    chosen = bad.wrong[np.argsort(-bad.severity[bad.wrong], kind="stable")][: MAX_IMAGES if pictured else MAX_ROWS]
    part = Split(answers["row"].to_numpy()[chosen], opened.splits.test.table)
    names = [each.name for each in dataset.used if each.name != dataset.target]
    names = [] if pictured or bad.by == "tags" else names[:MOST_COLUMNS]
    values = readable_rows(dataset, names, part.columns(*names).rows()) if names else [[] for _ in chosen]
    told = [
        {
            "row": int(row),
            **_describe_answer(answers, place, bad.by),
            "figure": float(bad.shown[place]),
            "values": shown,
        }
        for row, place, shown in zip(part.rows, chosen.tolist(), values, strict=True)
    ]
    if bad.by == "tags":
        for each, text, place in zip(told, part.column(dataset.content).to_list(), chosen.tolist(), strict=True):
            each["words"] = _words_near_errors(
                read_list(text), answers["truth"][place].to_list(), _tags(answers, place)
            )
    if pictured:
        for each, reference in zip(told, part.column(dataset.content).to_list(), strict=True):
            each["png"] = thumbnail(reference, dataset)
    return {"by": bad.by, "count": len(bad.wrong), "columns": names, "rows": told}


def _score_errors(task: str, answers: pl.DataFrame) -> ErrorScores:
    if task == "classification":
        return _score_classes(answers)
    if task == "multi-label":
        return _score_labels(answers)
    if task == "token-classification":
        return _score_tags(answers)
    if task == "regression":
        errors = (answers["prediction"] - answers["truth"]).abs().to_numpy()
        return ErrorScores("error", np.arange(answers.height), errors, errors)
    if task == "preference":
        margins = answers["margin"].to_numpy()
        return ErrorScores("margin", np.flatnonzero(margins <= 0), -margins, margins)
    losses = answers["loss"].cast(pl.Float64).fill_null(float("-inf")).fill_nan(float("-inf")).to_numpy()
    return ErrorScores("loss", np.flatnonzero(np.isfinite(losses)), losses, losses)


def _score_classes(answers: pl.DataFrame) -> ErrorScores:
    """Score wrong classes by confidence, highest first."""
    shares, labels = _probabilities(answers)
    place = {label: index for index, label in enumerate(labels)}
    told = [place[str(label)] for label in answers["prediction"].to_list()]
    wrong = (answers["prediction"].cast(pl.String) != answers["truth"].cast(pl.String)).to_numpy()
    sure = shares[np.arange(answers.height), told]
    return ErrorScores("confidence", np.flatnonzero(wrong), sure, sure)


def _score_labels(answers: pl.DataFrame) -> ErrorScores:
    """Score rows by number of wrong labels; ties by highest loss."""
    shares, labels = _probabilities(answers)
    truths, said = answers["truth"].to_list(), answers["prediction"].to_list()
    given = np.array([[label in row for label in labels] for row in truths], dtype=bool)
    right = np.clip(np.where(given, shares, 1 - shares), MIN_PROBABILITY, 1.0).astype(np.float64)
    wrong = np.array([len(set(own) ^ set(told)) for own, told in zip(truths, said, strict=True)])
    losses = -np.log(right).mean(axis=1)
    highest = -np.log(MIN_PROBABILITY) + 1  # so that a loss never outweighs a wrong label
    return ErrorScores("labels", np.flatnonzero(wrong), wrong + losses / highest, losses)


def _score_tags(answers: pl.DataFrame) -> ErrorScores:
    """Score sentences by number of wrong tags; ties by shortest sentence."""
    every = range(answers.height)
    sizes = np.array([len(own) for own in answers["truth"].to_list()])
    wrong = np.array([sum(a != b for a, b in zip(answers["truth"][i], _tags(answers, i), strict=True)) for i in every])
    return ErrorScores("tags", np.flatnonzero(wrong), wrong + 1 / (1 + sizes), wrong)


def _probabilities(answers: pl.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Return the probabilities of classes or labels, [samples, labels], and their names."""
    names = [name for name in answers.columns if name.startswith("probability_")]
    return answers.select(names).to_numpy(), [name.removeprefix("probability_") for name in names]


def _tags(answers: pl.DataFrame, place: int) -> list[str]:
    """Return a sentence's predicted tags; '' for words beyond the model's context."""
    own, said = answers["truth"][place], answers["prediction"][place].to_list()
    return [*said, *[""] * (len(own) - len(said))]


def _describe_answer(answers: pl.DataFrame, place: int, by: str) -> dict[str, Any]:
    """Describe truth and prediction in the task's terms; tags are shown word by word."""
    if by == "loss":
        return {"truth": "", "answer": "", "tokens": int(answers["tokens"][place])}
    if by in ("margin", "tags"):
        return {"truth": "", "answer": ""}
    truth, answer = answers["truth"][place], answers["prediction"][place]
    if by != "labels":
        return {"truth": format_value(truth), "answer": format_value(answer)}
    own, said = list(truth), list(answer)
    return {
        "truth": format_value(", ".join(own)),
        "answer": format_value(", ".join(said)),
        "missed": [label for label in own if label not in said],
        "superfluous": [label for label in said if label not in own],
    }


def _words_near_errors(words: list[str], own: list[str], said: list[str]) -> list[list[str] | None]:
    """Return the words near wrong tags with true and predicted tag; None marks a gap."""
    off = [place for place, (a, b) in enumerate(zip(own, said, strict=True)) if a != b]
    near = [place for place in range(len(words)) if any(abs(place - each) <= CONTEXT_WORDS for each in off)][:MAX_WORDS]
    found: list[list[str] | None] = []
    for place in near:
        if place and place - 1 not in near:
            found.append(None)
        found.append([format_value(words[place]), own[place], said[place]])
    return found if near[-1] == len(words) - 1 else [*found, None]
