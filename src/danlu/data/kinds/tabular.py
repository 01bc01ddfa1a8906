"""Tables: rows of numbers, categories, dates and short texts, each column a feature."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from danlu.data.columns import Column
from danlu.data.descriptors import RawData
from danlu.data.kind import DataKind, TypicalSample
from danlu.data.specs import TabularInputs
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.errors import DataError, Problem, RecipeError
from danlu.recipe.sections.data import Data

MIN_BATCH_SIZE, MAX_BATCH_SIZE = 16, 1024
MAX_STEPS_PER_EPOCH = 48  # a larger batch is taken from there on; about thirty steps remain

TYPICAL_EDGES = tuple(-2 + index / 8 for index in range(33))  # bin edges of a standardised number


class TabularKind(DataKind):
    """Decide all that is particular to tables."""

    name = "tabular"
    preprocessor = TabularPreprocessor
    default_model = "mlp"
    default_epochs = 100
    typical = TypicalSample(
        "table",
        TabularInputs(numeric=20, cardinalities=(10,) * 4, edges=(TYPICAL_EDGES,) * 20),
        "20 numbers, 4 categories",
        outputs=2,
    )
    has_feature_columns = True
    reads_rows_apart = True
    max_baseline_rows = 200_000
    starter_lines = (
        "  scale: standard        # standard | minmax | symmetric | robust | quantile | power | log1p | none",
    )
    row_noun = "row"

    def recognize(self, columns: tuple[Column, ...], section: Data, source: RawData) -> tuple[Column, ...]:
        """Take whatever no other kind claimed."""
        if not any(column.used for column in columns):
            reasons = "; ".join(f"{column.name} ({column.reason})" for column in columns)
            why = reasons or "the target is the only column"
            raise DataError(f"{source.origin}: no column to learn from: {why}", code="DL212")
        return columns

    def default_batch_size(self, rows: int) -> int:
        """Return about a thirtieth of the rows, a power of two between 16 and 1024."""
        size = MIN_BATCH_SIZE
        while size < MAX_BATCH_SIZE and rows / size > MAX_STEPS_PER_EPOCH:
            size *= 2
        return size

    def near_duplicates(self, values: Sequence[Any], folder: Path, similarity: float) -> np.ndarray:
        message = "near compares texts and images; for tables use drop"
        raise RecipeError(Problem("", "data.clean.duplicates", message, code="DL114"))
