"""Rows that cannot be answered, each with the reason: one broken row is not the end of a file.

In: errors of single rows, added while rows are prepared. Out: predictions in which those rows are empty or left out.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl

from danlu.errors import DataError

ERROR = "error"  # the column of reasons beside the predictions
SKIPPED_IN_TRAINING = "data.clean.broken: skip"  # what errors of images advise, and what it is to predict
SKIPPED_TO_PREDICT = '--broken skip (in Python broken="skip")'
Broken = Literal["row", "skip", "fail"]  # keep a row in error without answer, leave it out, or refuse the whole


@dataclass(frozen=True)
class RowErrors:
    """Collect the errors of single rows; several threads may add to it.

    Whoever prepares rows adds an error here in place of raising it, and fills the row with anything: its prediction is
    thrown away.

    Attributes:
        texts: code and message by row, as `DL230: a.png: is not a file`.
        start: row of the whole source at which the part in hand begins; what is added counts from there.
    """

    texts: dict[int, str] = field(default_factory=dict)
    start: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, row: int, error: DataError) -> None:
        """Note why a row cannot be answered; the first reason stays."""
        self.texts.setdefault(self.start + row, f"{error.code}: {advice_to_predict(error)}")

    def from_row(self, start: int) -> "RowErrors":
        """Return the same collection for a part that begins at a row of this one."""
        return replace(self, start=self.start + start)

    def mark(self, answers: pl.DataFrame) -> pl.DataFrame:
        """Empty the predictions of rows in error and add the column `error`, if any."""
        if not self.texts:
            return answers
        reasons = pl.Series(ERROR, [self.texts.get(row) for row in range(answers.height)], dtype=pl.String)
        kept = pl.when(reasons.is_null())
        return answers.with_columns(kept.then(pl.col(name)).alias(name) for name in answers.columns).with_columns(
            reasons
        )


def with_error_column(answers: pl.DataFrame) -> pl.DataFrame:
    """Return answers with a column `error`, which is empty where they had none."""
    if ERROR in answers.columns:
        return answers
    return answers.with_columns(pl.lit(None, dtype=pl.String).alias(ERROR))


def advice_to_predict(error: DataError) -> DataError:
    """Return an error that advises what whoever predicts can do: they have no recipe."""
    text = str(error)
    if SKIPPED_IN_TRAINING not in text:
        return error
    return DataError(text.replace(SKIPPED_IN_TRAINING, SKIPPED_TO_PREDICT), code=error.code)


def errors_in(answers: pl.DataFrame) -> list[tuple[int, str]]:
    """Return row and reason of every row in error of marked predictions."""
    if ERROR not in answers.columns:
        return []
    return [(row, reason) for row, reason in enumerate(answers[ERROR].to_list()) if reason is not None]


def without_errors(answers: pl.DataFrame) -> pl.DataFrame:
    """Leave out the rows in error of marked predictions, and the column with the reasons."""
    return answers.filter(pl.col(ERROR).is_null()).drop(ERROR) if ERROR in answers.columns else answers
