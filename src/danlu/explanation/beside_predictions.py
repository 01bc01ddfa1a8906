"""An explanation beside each prediction: SHAP values as JSON text, a row each.

In: a predictor, rows as they were read, the predictions of them. Out: a column of text.
"""

import json
from typing import TYPE_CHECKING

import polars as pl

from danlu.artifacts.bundle import Bundle
from danlu.core.console import progress
from danlu.core.seeds import Seed
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.errors import ArgumentError
from danlu.explanation.local_shap import explain_rows
from danlu.explanation.tabular import TabularAnswers
from danlu.models.read_for import read_for

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

COLUMN = "explanation"
MOST_BACKGROUND = 100  # rows; each coalition costs so many answers


def background_of(bundle: Bundle) -> pl.DataFrame | None:
    """Return the kept rows that stand for absent columns, if there are any."""
    kept = bundle.reference_rows()
    if kept is None or kept.height == 0:
        return None
    return read_for(bundle, kept).frame.lazy().collect()[:MOST_BACKGROUND]


def require_explainable(predictor: "Predictor") -> None:
    """Raise ArgumentError unless the model reads a table."""
    if not isinstance(predictor.preprocessor, TabularPreprocessor):
        raise ArgumentError(
            f"explain: {predictor.manifest.kind} models cannot be explained yet; tables can", code="DL409"
        )


def with_explanations(
    predictor: "Predictor", frame: pl.DataFrame, answers: pl.DataFrame, errors: list[tuple[int, str]]
) -> pl.DataFrame:
    """Add the column `explanation` to predictions: `[{"name", "value", "low", "high"}]`, null for rows in error.

    Args:
        frame: the rows, as they were read.
        answers: their predictions, [rows].
        errors: rows in error.

    Raises:
        ArgumentError: the model reads no table, or needs background rows that the bundle does not keep.
    """
    require_explainable(predictor)
    broken = {row for row, _ in errors}
    numbers = [row for row in range(frame.height) if row not in broken]
    texts: list[str | None] = [None] * frame.height
    if numbers:
        rows = TabularAnswers(predictor)
        found = explain_rows(rows, frame[numbers], numbers, background_of(predictor.bundle), Seed(0))
        with progress("explaining", len(numbers), "rows") as bar:
            for one in found:
                values = [{"name": each.name, **each.share.to_json()} for each in one.values]
                texts[one.row] = json.dumps(values, ensure_ascii=False, allow_nan=False)
                bar.advance(1)
    return answers.with_columns(pl.Series(COLUMN, texts, dtype=pl.String))
