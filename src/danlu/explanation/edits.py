"""Rows with some cells changed, answered in blocks: what permutation importance and curves are made of.

In: a table's answers, rows as they were read, and the cells that each column may get. Out: calibrated outputs of the
changed rows. Where features are made column by column, all cells are prepared in one go.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from danlu.explanation.row_answers import RowAnswers
from danlu.explanation.tabular import BATCH, PreparedRows, TabularAnswers


class EditableRows:
    """Answer rows with one column's cells replaced.

    Args:
        frame: the rows, as they were read.
        cells: column -> the cells that it may get, of its type; None for those of the rows.
    """

    def __init__(self, answers: RowAnswers, frame: pl.DataFrame, cells: Mapping[str, pl.Series] | None = None) -> None:
        self.answers, self.frame, self.cells = answers, frame, cells
        self.by_column = _ByColumn(answers, frame, cells) if isinstance(answers, TabularAnswers) else None

    def outputs(self, rows: np.ndarray, name: str, places: np.ndarray) -> np.ndarray:
        """Return calibrated outputs, [edits, ...].

        Args:
            rows: the row of each edit, [edits].
            name: the column that is changed.
            places: which of its cells each edit gets, [edits].
        """
        if self.by_column is not None and self.by_column.owners is not None:
            return self.by_column.outputs(rows, name, places)
        cells = self.frame[name] if self.cells is None else self.cells[name]
        return self.answers.outputs(self.frame[rows].with_columns(cells.gather(places).alias(name)))


class _ByColumn:
    """Change prepared rows: a cell changes its own column's features alone."""

    def __init__(self, answers: TabularAnswers, frame: pl.DataFrame, cells: Mapping[str, pl.Series] | None) -> None:
        self.answers, self.owners = answers, answers.owners
        if self.owners is not None:
            self.rows = answers.prepare(frame)
            self.new = self.rows if cells is None else answers.prepare(_side_by_side(frame, cells))

    def outputs(self, rows: np.ndarray, name: str, places: np.ndarray) -> np.ndarray:
        answers, numbers = self.answers, self.answers.num_numbers
        changed = np.flatnonzero(self.owners == answers.columns.index(name))
        numeric, codes = changed[changed < numbers], changed[changed >= numbers] - numbers
        scores = []
        for start in range(0, len(rows), BATCH):
            block, taken = rows[start : start + BATCH], places[start : start + BATCH]
            edited = self.rows.take(block)
            edited.numeric[:, numeric] = self.new.numeric[np.ix_(taken, numeric)]
            edited.codes[:, codes] = self.new.codes[np.ix_(taken, codes)]
            scores.append(answers.scores(PreparedRows(edited.numeric, edited.codes)))
        return answers.calibrated(np.concatenate(scores))


def _side_by_side(frame: pl.DataFrame, cells: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Return one frame of all columns' cells; shorter ones are filled up."""
    longest = max((len(each) for each in cells.values()), default=1)
    filled = []
    for name in frame.columns:
        own = cells.get(name, frame[name][:1])
        filled.append(own.extend_constant(None, longest - len(own)).alias(name).cast(frame.schema[name]))
    return pl.DataFrame(filled)
