"""The worst errors of the test split, shown as the rows, texts or images themselves, for predictions/worst.json.

In: the predictions that evaluation keeps, and the data. Out: plain values. Only the model's input columns are shown.
Errors are described in the task's terms: another class, missing and extra labels, other tags.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from danlu.data.dataset import Dataset
from danlu.data.samples import MOST_COLUMNS, format_value, readable_rows, thumbnail
from danlu.data.splits import Split
from danlu.tasks.tagging import pad_tags, read_list

MAX_WORDS, CONTEXT_WORDS = 80, 8  # words shown of a sentence, and shown on either side of a wrong tag


def worst_errors(dataset: Dataset, test: Split, answers: pl.DataFrame) -> dict[str, Any]:
    """Select and describe the worst predictions.

    Args:
        dataset: describes the columns.
        test: the test split.
        answers: the test split's predictions, as `predictions_frame` writes them.

    Returns:
        by: as in ErrorScores; count: total number of errors; columns; rows: each with row, truth, answer, figure,
        values of the columns as text and, for images, a small PNG in base64. With several labels also which were missed
        and which are superfluous; with tags the words with their true and predicted tags; with texts the number of
        tokens.
    """
    bad = dataset.task.score_errors(answers)
    pictured = dataset.kind.shows_pictures
    chosen = bad.wrong[np.argsort(-bad.severity[bad.wrong], kind="stable")][: dataset.kind.shown_errors]
    part = Split(answers["row"].to_numpy()[chosen], test.table)
    names = [each.name for each in dataset.used if each.name != dataset.target]
    names = [] if pictured or bad.by == "tags" else names[:MOST_COLUMNS]
    values = readable_rows(dataset, names, part.columns(*names).rows()) if names else [[] for _ in chosen]
    told = [
        {
            "row": int(row),
            **_describe_answer(dataset, answers, place),
            "figure": float(bad.shown[place]),
            "values": shown,
        }
        for row, place, shown in zip(part.rows, chosen.tolist(), values, strict=True)
    ]
    if bad.by == "tags":
        for each, text, place in zip(told, part.column(dataset.content).to_list(), chosen.tolist(), strict=True):
            true = answers["truth"][place].to_list()
            predicted = pad_tags(answers["prediction"][place].to_list(), true)
            each["words"] = _words_near_errors(read_list(text), true, predicted)
    if pictured:
        for each, reference in zip(told, part.column(dataset.content).to_list(), strict=True):
            each["png"] = thumbnail(reference, dataset)
    return {"by": bad.by, "count": len(bad.wrong), "columns": names, "rows": told}


def _describe_answer(dataset: Dataset, answers: pl.DataFrame, place: int) -> dict[str, Any]:
    """Describe truth and prediction in the task's terms; tags are shown word by word."""
    told = dataset.task.describe_error(answers, place)
    return {name: format_value(value) if name in ("truth", "answer") else value for name, value in told.items()}


def _words_near_errors(words: list[str], own: Sequence[str], said: Sequence[str]) -> list[list[str] | None]:
    """Return the words near wrong tags with true and predicted tag; None marks a gap."""
    off = [place for place, (a, b) in enumerate(zip(own, said, strict=True)) if a != b]
    near = [place for place in range(len(words)) if any(abs(place - each) <= CONTEXT_WORDS for each in off)][:MAX_WORDS]
    found: list[list[str] | None] = []
    for place in near:
        if place and place - 1 not in near:
            found.append(None)
        found.append([format_value(words[place]), own[place], said[place]])
    return found if near[-1] == len(words) - 1 else [*found, None]
