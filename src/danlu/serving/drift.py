"""Drift: the latest rows and answers of a server beside what the bundle tells of its training, by the audit's tests.

In: rows and answers as they pass, of which the latest are kept. Out: a document when somebody asks. Each process keeps
its own; what reaches one of several is a sample of all.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import polars as pl
from msgspec.structs import astuple

from danlu.core.console import silenced
from danlu.data.audit.against import compare_with_training
from danlu.data.descriptors import RawData
from danlu.serving.answering import Answer, Rows, Served
from danlu.serving.rows import ORIGIN

WINDOW = 2_000  # rows
EVERY_S = 0.002  # a request is kept at most so often: a busy server loses no time by it, and a sample is enough
LONGEST = 10_000  # characters of a cell that are kept
PREDICTION = "prediction"
Json = dict[str, Any]


class Drift:
    """Keep the latest rows and answers of one bundle, and compare them when asked.

    Args:
        served: the bundle.
        window: rows that are kept.
        every_s: a request is kept at most so often.
    """

    def __init__(self, served: Served, window: int = WINDOW, every_s: float = EVERY_S) -> None:
        self._served, self._every_s = served, every_s
        self._compared = [
            {"name": column.name, "type": column.type} for column in served.columns if column.type != "image"
        ]
        self._kept: deque[tuple[Any, Answer]] = deque(maxlen=window)
        self._seen, self._last = 0, -every_s

    def observe(self, rows: Rows, answers: Sequence[Answer]) -> None:
        """Take the rows of a request and their answers; computes nothing."""
        self._seen += rows.count
        now = monotonic()
        if now - self._last < self._every_s:
            return
        self._last = now
        given = rows.quick if rows.quick is not None else rows.raw or ()
        extra = max(0, rows.count - (self._kept.maxlen or 0))
        for row, answer in zip(islice(given, extra, None), islice(answers, extra, None), strict=True):
            self._kept.append((_light(row) if self._compared else None, answer))

    def report(self) -> Json:
        """Compare what is kept with the training.

        Returns:
            rows seen and compared, errors among them, `inputs` and `answers` as `danlu check --against` gives columns,
            and all findings, the most severe first.
        """
        served, kept = self._served, list(self._kept)
        answered = [(row, answer) for row, answer in kept if "error" not in answer]
        told: Json = {
            "format": 1,
            "digest": served.digest,
            "seen": self._seen,
            "rows": len(kept),
            "errors": len(kept) - len(answered),
        }
        reference = served.predictor.bundle.reference()
        if reference is None or not answered:
            why = "no-reference" if reference is None else "no-rows"
            return {**told, "inputs": [], "answers": [], "findings": [], "why": why}
        with silenced():
            inputs = self._compare_inputs([row for row, _ in answered], reference)
            answers = self._compare_answers([answer.get(PREDICTION) for _, answer in answered], reference)
        return {
            **told,
            "inputs": inputs["columns"],
            "answers": answers["columns"],
            "findings": [*answers["findings"], *inputs["findings"]],
        }

    def _compare_inputs(self, given: Sequence[Any], reference: Json) -> Json:
        """Compare the rows, column by column; pictures are not decoded for it."""
        if not self._compared:
            return {"columns": [], "findings": []}
        frame = self._served.reader.read(self._served.raw_cells(given)).frame
        assert frame is not None, "rows that were answered can be read"
        return compare_with_training(RawData(frame, ORIGIN, Path()), frame, self._compared, [], reference)

    def _compare_answers(self, predictions: Sequence[Any], reference: Json) -> Json:
        """Compare the predictions with the answers to the test rows."""
        before = reference.get("answers", {}).get("columns", {}).get(PREDICTION)
        if before is None or any(isinstance(each, list) or each is None for each in predictions):
            return {"columns": [], "findings": []}
        type_ = "number" if "quantiles" in before else "category"
        values = pl.Series(PREDICTION, predictions)
        frame = pl.DataFrame([values if type_ == "number" else values.cast(pl.String)])
        told = {
            "rows": reference["answers"]["rows"],
            "columns": {PREDICTION: {"type": type_, "missing": 0.0, **before}},
        }
        source = RawData(frame, ORIGIN, Path())
        return compare_with_training(source, frame, [{"name": PREDICTION, "type": type_}], [], told)


def _light(row: Any) -> Any:
    """Return a row whose long texts are cut."""
    if isinstance(row, msgspec.Struct):
        if not any(isinstance(cell, str) and len(cell) > LONGEST for cell in astuple(row)):
            return row
        row = dict(zip(row.__struct_encode_fields__, astuple(row), strict=True))
    if isinstance(row, dict):
        return {name: cell[:LONGEST] if isinstance(cell, str) else cell for name, cell in row.items()}
    return row[:LONGEST] if isinstance(row, str) else row
