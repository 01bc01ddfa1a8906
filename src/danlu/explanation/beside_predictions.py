"""An explanation beside each prediction: SHAP values as JSON text, a row each.

In: a predictor, rows as they were read, the predictions of them. Out: a column of text.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from danlu.artifacts.bundle import Bundle
from danlu.core.console import progress
from danlu.core.seeds import Seed
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.data.text.preprocessor import TextPreprocessor
from danlu.data.text.tagging import TaggingPreprocessor
from danlu.errors import ArgumentError
from danlu.explanation.local_shap import explain_rows
from danlu.explanation.tabular import TabularAnswers
from danlu.models.read_for import read_for

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

COLUMN = "explanation"
WORD = ("name", "start", "end", "value", "low", "high")
MOST_BACKGROUND = 100  # rows; each coalition costs so many answers

Values = list[dict[str, Any]]


def background_of(bundle: Bundle) -> pl.DataFrame | None:
    """Return the kept rows that stand for absent columns, if there are any."""
    kept = bundle.reference_rows()
    if kept is None or kept.height == 0:
        return None
    return read_for(bundle, kept).frame.lazy().collect()[:MOST_BACKGROUND]


def require_explainable(predictor: "Predictor") -> None:
    """Raise ArgumentError unless the model reads a table, or texts with an answer each."""
    if why := refusal(predictor):
        raise ArgumentError(f"explain: {why}", code="DL409")


def refusal(predictor: "Predictor") -> str | None:
    """Say why a cell beside an answer cannot explain it; None where it can."""
    if isinstance(predictor.preprocessor, TabularPreprocessor | TextPreprocessor):
        return None
    if isinstance(predictor.preprocessor, ImagePreprocessor):
        return "an image has a map of pixels, which no cell holds; danlu explain BUNDLE DATA -o DIR writes it"
    if isinstance(predictor.preprocessor, TaggingPreprocessor):
        return "each word has an answer of its own; danlu explain BUNDLE DATA explains one of a row"
    return "these answers are of many tokens; danlu explain BUNDLE DATA explains the next one"


def with_explanations(
    predictor: "Predictor", frame: pl.DataFrame, answers: pl.DataFrame, errors: list[tuple[int, str]]
) -> pl.DataFrame:
    """Add the column `explanation` to predictions: `[{"name", "value", "low", "high"}]`, null for rows in error.

    Of texts, `name` is a word or a span of words, with `start` and `end` in the text; null where there is no word.

    Args:
        frame: the rows, as they were read.
        answers: their predictions, [rows].
        errors: rows in error.

    Raises:
        ArgumentError: such models are not explained beside answers, or need background rows that the bundle lacks.
    """
    require_explainable(predictor)
    broken = {row for row, _ in errors}
    numbers = [row for row in range(frame.height) if row not in broken]
    texts: list[str | None] = [None] * frame.height
    if numbers:
        is_table = isinstance(predictor.preprocessor, TabularPreprocessor)
        explained = _of_rows if is_table else _of_texts
        found = explained(predictor, frame, numbers)
        with progress("explaining", len(numbers), "rows") as bar:
            for row, values in zip(numbers, found, strict=True):
                texts[row] = None if values is None else json.dumps(values, ensure_ascii=False, allow_nan=False)
                bar.advance(1)
    return answers.with_columns(pl.Series(COLUMN, texts, dtype=pl.String))


def _of_rows(predictor: "Predictor", frame: pl.DataFrame, numbers: list[int]) -> Iterator[Values | None]:
    rows, background = TabularAnswers(predictor), background_of(predictor.bundle)
    for one in explain_rows(rows, frame[numbers], numbers, background, Seed(0)):
        yield [{"name": each.name, **each.share.to_json()} for each in one.values]


def _of_texts(predictor: "Predictor", frame: pl.DataFrame, numbers: list[int]) -> Iterator[Values | None]:
    from danlu.explanation.networks.methods import NETWORK_METHODS, USUAL, Asked
    from danlu.explanation.networks.texts import PlainTextRows

    (name,) = USUAL
    rows, asked = PlainTextRows(predictor), Asked(Seed(0))
    for number in numbers:
        row = rows.row(frame[number : number + 1], number, None)
        if row is None:
            yield None
            continue
        one = row.describe(name, NETWORK_METHODS[name].explain(row, asked))
        yield [{key: each.to_json()[key] for key in WORD} for each in one.values]
