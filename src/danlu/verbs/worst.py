"""The worst errors of the test split, shown as the rows, texts or images themselves, for predictions/worst.json.

In: the predictions that evaluation keeps, and the data. Out: plain values. Only the model's input columns are shown.
Errors are described in the task's terms: another class, missing and extra labels, other tags.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from danlu.data.samples import MOST_COLUMNS, readable, thumbnail, word
from danlu.data.splits import Part
from danlu.data.tags import read_list
from danlu.verbs.prepare import Opened

MOST_ROWS, MOST_IMAGES = 12, 24
MOST_WORDS, AROUND = 80, 8  # words shown of a sentence, and shown on either side of a wrong tag
SMALLEST = 1e-7  # about float32's resolution near 1: bounds the loss of a confident wrong prediction


@dataclass(frozen=True)
class Badness:
    """Score how bad each prediction is.

    Attributes:
        by: the criterion: confidence (of wrong predictions), error, labels, tags, loss or margin.
        wrong: indices of the predictions that may be shown, [wrong].
        order: larger is worse, [samples].
        figures: the number shown with each prediction, [samples].
    """

    by: str
    wrong: np.ndarray
    order: np.ndarray
    figures: np.ndarray


def worst_errors(opened: Opened, answers: pl.DataFrame) -> dict[str, Any]:
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
    bad = _badness(dataset.task, answers)
    pictured = dataset.kind == "image"
    chosen = bad.wrong[np.argsort(-bad.order[bad.wrong], kind="stable")][: MOST_IMAGES if pictured else MOST_ROWS]
    part = Part(answers["row"].to_numpy()[chosen], opened.splits.test.whole)
    names = [each.name for each in dataset.used if each.name != dataset.target]
    names = [] if pictured or bad.by == "tags" else names[:MOST_COLUMNS]
    values = readable(dataset, names, part.columns(*names).rows()) if names else [[] for _ in chosen]
    told = [
        {"row": int(row), **_answered(answers, place, bad.by), "figure": float(bad.figures[place]), "values": shown}
        for row, place, shown in zip(part.rows, chosen.tolist(), values, strict=True)
    ]
    if bad.by == "tags":
        for each, text, place in zip(told, part.column(dataset.content).to_list(), chosen.tolist(), strict=True):
            each["words"] = _words(read_list(text), answers["truth"][place].to_list(), _tags(answers, place))
    if pictured:
        for each, reference in zip(told, part.column(dataset.content).to_list(), strict=True):
            each["png"] = thumbnail(reference, dataset)
    return {"by": bad.by, "count": len(bad.wrong), "columns": names, "rows": told}


def _badness(task: str, answers: pl.DataFrame) -> Badness:
    if task == "classification":
        return _confidence(answers)
    if task == "multi-label":
        return _labels(answers)
    if task == "token-classification":
        return _tagged(answers)
    if task == "regression":
        errors = (answers["prediction"] - answers["truth"]).abs().to_numpy()
        return Badness("error", np.arange(answers.height), errors, errors)
    if task == "preference":
        margins = answers["margin"].to_numpy()
        return Badness("margin", np.flatnonzero(margins <= 0), -margins, margins)
    losses = answers["loss"].cast(pl.Float64).fill_null(float("-inf")).fill_nan(float("-inf")).to_numpy()
    return Badness("loss", np.flatnonzero(np.isfinite(losses)), losses, losses)


def _confidence(answers: pl.DataFrame) -> Badness:
    """Score wrong classes by confidence, highest first."""
    shares, labels = _probabilities(answers)
    place = {label: index for index, label in enumerate(labels)}
    told = [place[str(label)] for label in answers["prediction"].to_list()]
    wrong = (answers["prediction"].cast(pl.String) != answers["truth"].cast(pl.String)).to_numpy()
    sure = shares[np.arange(answers.height), told]
    return Badness("confidence", np.flatnonzero(wrong), sure, sure)


def _labels(answers: pl.DataFrame) -> Badness:
    """Score rows by number of wrong labels; ties by highest loss."""
    shares, labels = _probabilities(answers)
    truths, said = answers["truth"].to_list(), answers["prediction"].to_list()
    given = np.array([[label in row for label in labels] for row in truths], dtype=bool)
    right = np.clip(np.where(given, shares, 1 - shares), SMALLEST, 1.0).astype(np.float64)
    wrong = np.array([len(set(own) ^ set(told)) for own, told in zip(truths, said, strict=True)])
    losses = -np.log(right).mean(axis=1)
    highest = -np.log(SMALLEST) + 1  # so that a loss never outweighs a wrong label
    return Badness("labels", np.flatnonzero(wrong), wrong + losses / highest, losses)


def _tagged(answers: pl.DataFrame) -> Badness:
    """Score sentences by number of wrong tags; ties by shortest sentence."""
    every = range(answers.height)
    sizes = np.array([len(own) for own in answers["truth"].to_list()])
    wrong = np.array([sum(a != b for a, b in zip(answers["truth"][i], _tags(answers, i), strict=True)) for i in every])
    return Badness("tags", np.flatnonzero(wrong), wrong + 1 / (1 + sizes), wrong)


def _probabilities(answers: pl.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Return the probabilities of classes or labels, [samples, labels], and their names."""
    names = [name for name in answers.columns if name.startswith("probability_")]
    return answers.select(names).to_numpy(), [name.removeprefix("probability_") for name in names]


def _tags(answers: pl.DataFrame, place: int) -> list[str]:
    """Return a sentence's predicted tags; '' for words beyond the model's context."""
    own, said = answers["truth"][place], answers["prediction"][place].to_list()
    return [*said, *[""] * (len(own) - len(said))]


def _answered(answers: pl.DataFrame, place: int, by: str) -> dict[str, Any]:
    """Describe truth and prediction in the task's terms; tags are shown word by word."""
    if by == "loss":
        return {"truth": "", "answer": "", "tokens": int(answers["tokens"][place])}
    if by in ("margin", "tags"):
        return {"truth": "", "answer": ""}
    truth, answer = answers["truth"][place], answers["prediction"][place]
    if by != "labels":
        return {"truth": word(truth), "answer": word(answer)}
    own, said = list(truth), list(answer)
    return {
        "truth": word(", ".join(own)),
        "answer": word(", ".join(said)),
        "missed": [label for label in own if label not in said],
        "superfluous": [label for label in said if label not in own],
    }


def _words(words: list[str], own: list[str], said: list[str]) -> list[list[str] | None]:
    """Return the words near wrong tags with true and predicted tag; None marks a gap."""
    off = [place for place, (a, b) in enumerate(zip(own, said, strict=True)) if a != b]
    near = [place for place in range(len(words)) if any(abs(place - each) <= AROUND for each in off)][:MOST_WORDS]
    found: list[list[str] | None] = []
    for place in near:
        if place and place - 1 not in near:
            found.append(None)
        found.append([word(words[place]), own[place], said[place]])
    return found if near[-1] == len(words) - 1 else [*found, None]
