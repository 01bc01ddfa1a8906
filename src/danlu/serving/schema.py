"""The columns that a bundle's model reads, as a request gives them.

In: an opened predictor. Out: names and types in the order of training; what a cell of each may be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from danlu.data.reading.reading import Reading
from danlu.data.reading.spelling import as_words
from danlu.errors import DataError
from danlu.models.predictor import Predictor

CANONICAL: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "datetime": pl.Datetime("us"),
    "image": pl.Binary(),
}


@dataclass(frozen=True)
class InputColumn:
    """Describe a column of a request.

    Attributes:
        name: as in training.
        type: number, category, datetime, text or image.
        reading: how its words become values.
    """

    name: str
    type: str
    reading: Reading

    def canonical(self, values: pl.Series) -> pl.Series:
        """Return read values in the one type that all requests share.

        Raises:
            DataError: they are of another type.
        """
        if self.type == "category":
            words = values if values.dtype.is_nested() else as_words(values)
            return self._cast(words, pl.String())
        if self.type == "datetime" and values.dtype == pl.String:
            return values  # bundles before columns had a reading parse dates when they prepare them
        wanted = CANONICAL.get(self.type, pl.String())
        if values.dtype in (pl.Duration, pl.Time):
            return values.cast(pl.Duration("us")).cast(pl.Int64) / 1e6
        return self._cast(values, wanted)

    def _cast(self, values: pl.Series, wanted: pl.DataType) -> pl.Series:
        if values.dtype == wanted:
            return values
        if values.dtype.is_nested() or (wanted == pl.String() and values.dtype == pl.Binary):
            raise DataError(f"column {self.name!r} holds an array or an object, not {article(self.type)}", code="DL211")
        try:
            return values.cast(wanted)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"column {self.name!r} holds no {article(self.type)}", code="DL211") from error


NOUNS = {"number": "a number", "category": "a word", "datetime": "a date", "text": "a text", "image": "an image"}


def article(type_: str) -> str:
    """Return what a cell of a column of this type is, as `a number`."""
    return NOUNS.get(type_, "a text")


def input_columns(predictor: Predictor) -> tuple[InputColumn, ...]:
    """Return the columns that a model reads, in the order of training."""
    told: dict[str, Mapping[str, Any]] = {str(column["name"]): column for column in predictor.manifest.columns}
    names = predictor.manifest.in_training_order(predictor.preprocessor.columns)
    alone = "image" if predictor.kind.shows_pictures else "text"
    return tuple(
        InputColumn(
            name,
            alone if predictor.kind.shows_pictures else told.get(name, {}).get("type", alone),
            Reading.model_validate(told.get(name, {}).get("reading", {})),
        )
        for name in names
    )
