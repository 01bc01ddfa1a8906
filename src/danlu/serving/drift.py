"""Drift: the latest rows and answers of a server beside what the bundle tells of its training, by the audit's tests.

In: rows and answers as they pass, of which the latest are kept. Out: a document when somebody asks. Each process keeps
its own; what reaches one of several is a sample of all.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from danlu.core.console import silenced
from danlu.data.audit.against import compare_with_training
from danlu.data.descriptors import RawData
from danlu.serving.answering import Answer, Rows, Served
from danlu.serving.rows import ORIGIN

WINDOW = 2_000  # rows
PREDICTION = "prediction"
Json = dict[str, Any]


class Drift:
    """Keep the latest rows and answers of one bundle, and compare them when asked."""

    def __init__(self, served: Served, window: int = WINDOW) -> None:
        self._served = served
        self._kept: deque[tuple[Any, Answer]] = deque(maxlen=window)
        self._seen = 0

    def observe(self, rows: Rows, answers: Sequence[Answer]) -> None:
        """Take the rows of a request and their answers; keeps references and computes nothing."""
        given = rows.quick if rows.quick is not None else rows.raw or ()
        self._seen += rows.count
        extra = max(0, rows.count - (self._kept.maxlen or 0))
        self._kept.extend(zip(islice(given, extra, None), islice(answers, extra, None), strict=True))

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
        columns = [
            {"name": column.name, "type": column.type} for column in self._served.columns if column.type != "image"
        ]
        if not columns:
            return {"columns": [], "findings": []}
        frame = self._served.reader.read(self._served.raw_cells(given)).frame
        assert frame is not None, "rows that were answered can be read"
        return compare_with_training(RawData(frame, ORIGIN, Path()), frame, columns, [], reference)

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
