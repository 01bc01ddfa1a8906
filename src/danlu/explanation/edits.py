"""Rows with some cells changed, answered in large batches: what permutation importance and curves are made of.

In: a table's answers and rows as they were read. Out: calibrated outputs of the changed rows.
"""

import numpy as np
import polars as pl

from danlu.explanation.tabular import PreparedRows, TabularAnswers


class EditableRows:
    """Answer rows with one column's cells replaced, prepared once where that works."""

    def __init__(self, answers: TabularAnswers, frame: pl.DataFrame) -> None:
        self.answers, self.frame = answers, frame
        self.prepared = None if answers.owners is None else answers.prepare(frame)

    def outputs(self, rows: np.ndarray, name: str, cells: pl.Series, places: np.ndarray) -> np.ndarray:
        """Return calibrated outputs, [edits, ...].

        Args:
            rows: the row of each edit, [edits].
            name: the column that is changed.
            cells: values of its type.
            places: which of them each edit gets, [edits].
        """
        answers = self.answers
        if self.prepared is None or answers.owners is None:
            return answers.outputs(self.frame[rows].with_columns(cells.gather(places).alias(name)))
        sources = self.frame[:1].select(pl.exclude(name)).join(cells.alias(name).to_frame(), how="cross")
        new, numbers = answers.prepare(sources.select(self.frame.columns)), answers.num_numbers
        changed = answers.owners == list(answers.columns).index(name)
        edited = self.prepared.take(rows)
        edited.numeric[:, changed[:numbers]] = new.numeric[places][:, changed[:numbers]]
        edited.codes[:, changed[numbers:]] = new.codes[places][:, changed[numbers:]]
        return answers.outputs_of_prepared(PreparedRows(edited.numeric, edited.codes))
