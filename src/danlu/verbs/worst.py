"""The test split's worst errors, to be looked at: the rows, texts or images themselves, for predictions/worst.json.

In: the answers that evaluation keeps, and the data. Out: plain values. Only columns that the model is given are shown.
"""

from typing import Any

import numpy as np
import polars as pl

from danlu.data.samples import MOST_COLUMNS, thumbnail, word
from danlu.data.splits import Part
from danlu.verbs.prepare import Opened

MOST_ROWS, MOST_IMAGES = 12, 24
TASKS = ("classification", "regression", "preference", "language-modelling")


def worst_errors(opened: Opened, answers: pl.DataFrame) -> dict[str, Any]:
    """What the model answers worst.

    Args:
        answers: of the test split, as `verbs.recording.record` makes them.

    Returns:
        by: confidence (of wrong answers), error, loss or margin; count: of errors in all; columns; rows: each with
        row, truth, answer, figure, values of the columns as words and, of images, a small PNG in base64. Nothing of a
        task whose answers are not told apart so.
    """
    if opened.dataset.task not in TASKS:
        return {}
    by, wrong, figures = _badness(opened.dataset.task, answers)
    most = MOST_IMAGES if opened.dataset.kind == "image" else MOST_ROWS
    chosen = wrong[np.argsort(-figures[wrong], kind="stable")][:most]
    dataset = opened.dataset
    pictured = dataset.kind == "image"
    names = [each.name for each in dataset.used if each.name != dataset.target]
    names = [] if pictured else names[:MOST_COLUMNS]
    rows = answers["row"].to_numpy()[chosen]
    part = Part(rows, opened.splits.test.whole)
    values = part.columns(*names).rows() if names else [()] * len(rows)
    told = [
        {
            "row": int(row),
            "truth": _told(answers, "truth", place),
            "answer": _told(answers, "prediction", place),
            "figure": float(figures[place]) * (-1 if by == "margin" else 1),
            "values": [word(value) for value in shown],
        }
        for row, place, shown in zip(rows, chosen.tolist(), values, strict=True)
    ]
    if pictured:
        for each, reference in zip(told, part.column(dataset.content).to_list(), strict=True):
            each["png"] = thumbnail(reference, dataset)
    return {"by": by, "count": len(wrong), "columns": names, "rows": told}


def _badness(task: str, answers: pl.DataFrame) -> tuple[str, np.ndarray, np.ndarray]:
    """What is looked at, which answers may be shown [wrong], and how bad each answer is, [samples]."""
    every = np.arange(answers.height)
    if task == "classification":
        shares = answers.select(pl.col("^probability_.*$")).to_numpy()
        labels = [name.removeprefix("probability_") for name in answers.columns if name.startswith("probability_")]
        place = {label: index for index, label in enumerate(labels)}
        told = [place[str(label)] for label in answers["prediction"].to_list()]
        wrong = (answers["prediction"].cast(pl.String) != answers["truth"].cast(pl.String)).to_numpy()
        return "confidence", np.flatnonzero(wrong), shares[every, told]
    if task == "regression":
        return "error", every, (answers["prediction"] - answers["truth"]).abs().to_numpy()
    if task == "preference":
        margins = answers["margin"].to_numpy()
        return "margin", np.flatnonzero(margins <= 0), -margins
    losses = answers["loss"].cast(pl.Float64).fill_null(float("-inf")).fill_nan(float("-inf")).to_numpy()
    return "loss", np.flatnonzero(np.isfinite(losses)), losses


def _told(answers: pl.DataFrame, column: str, place: int) -> str:
    return word(answers[column][place]) if column in answers.columns else ""
