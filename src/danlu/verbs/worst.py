"""The test split's worst errors, to be looked at: the rows, texts or images themselves, for predictions/worst.json.

In: the answers that evaluation keeps, and the data. Out: plain values. Only columns that the model is given are shown.
What is wrong with one answer is told in the task's own terms: another class, labels too few and too many, other tags.
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
MOST_WORDS, AROUND = 80, 8  # of a sentence that are shown, and how many of them beside a word that is tagged wrongly
SMALLEST = 1e-7  # about what float32 tells from 0: what is said with certainty, and wrongly, costs this much


@dataclass(frozen=True)
class Badness:
    """How bad each answer is.

    Attributes:
        by: what is looked at: confidence (of wrong answers), error, labels, tags, loss or margin.
        wrong: which answers may be shown, [wrong].
        order: the larger, the worse, [samples].
        figures: what is told of each answer, [samples].
    """

    by: str
    wrong: np.ndarray
    order: np.ndarray
    figures: np.ndarray


def worst_errors(opened: Opened, answers: pl.DataFrame) -> dict[str, Any]:
    """What the model answers worst.

    Args:
        answers: of the test split, as `verbs.recording.record` makes them.

    Returns:
        by: as in Badness; count: of errors in all; columns; rows: each with row, truth, answer, figure, values of the
        columns as words and, of images, a small PNG in base64. Of several labels a row also which were missed and which
        are superfluous; of tags the words, each with its own tag and the given one; of texts how many tokens there are.
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
    """Wrong classes, the surest first."""
    shares, labels = _probabilities(answers)
    place = {label: index for index, label in enumerate(labels)}
    told = [place[str(label)] for label in answers["prediction"].to_list()]
    wrong = (answers["prediction"].cast(pl.String) != answers["truth"].cast(pl.String)).to_numpy()
    sure = shares[np.arange(answers.height), told]
    return Badness("confidence", np.flatnonzero(wrong), sure, sure)


def _labels(answers: pl.DataFrame) -> Badness:
    """Rows with wrong labels, those with most of them first; among as many, those of the highest loss."""
    shares, labels = _probabilities(answers)
    truths, said = answers["truth"].to_list(), answers["prediction"].to_list()
    given = np.array([[label in row for label in labels] for row in truths], dtype=bool)
    right = np.clip(np.where(given, shares, 1 - shares), SMALLEST, 1.0).astype(np.float64)
    wrong = np.array([len(set(own) ^ set(told)) for own, told in zip(truths, said, strict=True)])
    losses = -np.log(right).mean(axis=1)
    highest = -np.log(SMALLEST) + 1  # so that a loss never outweighs a label
    return Badness("labels", np.flatnonzero(wrong), wrong + losses / highest, losses)


def _tagged(answers: pl.DataFrame) -> Badness:
    """Sentences with wrong tags, those with most of them first; among as many, the shortest."""
    every = range(answers.height)
    sizes = np.array([len(own) for own in answers["truth"].to_list()])
    wrong = np.array([sum(a != b for a, b in zip(answers["truth"][i], _tags(answers, i), strict=True)) for i in every])
    return Badness("tags", np.flatnonzero(wrong), wrong + 1 / (1 + sizes), wrong)


def _probabilities(answers: pl.DataFrame) -> tuple[np.ndarray, list[str]]:
    """What each class or label was given, [samples, labels], and which those are."""
    names = [name for name in answers.columns if name.startswith("probability_")]
    return answers.select(names).to_numpy(), [name.removeprefix("probability_") for name in names]


def _tags(answers: pl.DataFrame, place: int) -> list[str]:
    """The tags that a sentence was given; '' for words beyond what the model reads."""
    own, said = answers["truth"][place], answers["prediction"][place].to_list()
    return [*said, *[""] * (len(own) - len(said))]


def _answered(answers: pl.DataFrame, place: int, by: str) -> dict[str, Any]:
    """What is true and what was answered, in the task's own terms; tags are told word by word."""
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
    """The words around wrong tags, each with its own tag and the given one; None where some are left out."""
    off = [place for place, (a, b) in enumerate(zip(own, said, strict=True)) if a != b]
    near = [place for place in range(len(words)) if any(abs(place - each) <= AROUND for each in off)][:MOST_WORDS]
    found: list[list[str] | None] = []
    for place in near:
        if place and place - 1 not in near:
            found.append(None)
        found.append([word(words[place]), own[place], said[place]])
    return found if near[-1] == len(words) - 1 else [*found, None]
