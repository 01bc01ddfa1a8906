"""What an explanation asks of a model of tables, whoever computes it: a bundle's engine or an exported file.

In: rows as they were read. Out: calibrated outputs, also of rows mixed by column. Methods that need more of a model
(its structure, its weights) ask for `tabular.TabularAnswers`.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import polars as pl

from danlu.explanation.answers import Answer
from danlu.explanation.games import MixedAnswers
from danlu.tasks.base import Label, Target


class RowAnswers(Protocol):
    """Answer rows of a table."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the model reads, in its order."""

    @property
    def target(self) -> Target:
        """What the model predicts."""

    @property
    def positive(self) -> Label | None:
        """The label of two that figures are about; None for other tasks."""

    @property
    def ranges(self) -> Mapping[str, tuple[float, ...]] | None:
        """Quantiles of the training rows' numbers by column, ascending; None where nobody kept them."""

    @property
    def engine(self) -> str:
        """The name of what computes the model."""

    def outputs(self, frame: pl.DataFrame) -> np.ndarray:
        """Return calibrated outputs of rows as they were read, [rows, ...]."""

    def mixed(
        self, row: pl.DataFrame, background: pl.DataFrame, answer: Answer, *, of_scores: bool = False
    ) -> MixedAnswers:
        """Return answers to mixtures of a row and background rows, or their scores."""
