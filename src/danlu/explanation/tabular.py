"""A tabular bundle as what explanations need: rows prepared once, mixed by column, answered in large batches.

In: a predictor and rows as it reads them. Out: answers and scores of mixed rows. Where a feature is made of several
columns, rows are mixed before they are prepared, which is slower and gives the same.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from danlu.data.descriptors import Origin
from danlu.data.splits import Split
from danlu.data.tabular.preprocessor import TabularPreprocessor, to_dataset
from danlu.explanation.answers import Answer
from danlu.explanation.games import MixedAnswers

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

BATCH = 8192  # rows of a forward pass; an answer does not depend on it but by rounding
ORIGIN = "explanation"


@dataclass(frozen=True)
class PreparedRows:
    """Hold rows as the network takes them: numeric [rows, numbers] float32, codes [rows, categories] int64."""

    numeric: np.ndarray
    codes: np.ndarray

    def __len__(self) -> int:
        return len(self.numeric)

    def take(self, rows: np.ndarray) -> "PreparedRows":
        """Select rows."""
        return PreparedRows(self.numeric[rows], self.codes[rows])


class TabularAnswers:
    """Answer rows of a tabular bundle, mixed by column.

    Attributes:
        columns: the players: the model's columns, in its order.
        owners: the column of each numeric feature, then of each category; None where features mix columns.
    """

    def __init__(self, predictor: "Predictor") -> None:
        assert isinstance(predictor.preprocessor, TabularPreprocessor)
        self.predictor, self.preprocessor = predictor, predictor.preprocessor
        self.columns = predictor.preprocessor.columns
        made_of = predictor.preprocessor.feature_columns
        positions = {name: place for place, name in enumerate(self.columns)}
        self.owners = None if made_of is None else np.array([positions[name] for name in made_of], dtype=np.int64)

    @property
    def num_numbers(self) -> int:
        """The number of numeric features."""
        return self.preprocessor.inputs.numeric

    def prepare(self, frame: pl.DataFrame) -> PreparedRows:
        """Prepare rows for the network."""
        return PreparedRows(*self.preprocessor.arrays(frame, ORIGIN))

    def outputs(self, frame: pl.DataFrame) -> np.ndarray:
        """Return calibrated outputs of rows as they were read, [rows, ...]."""
        return self.predictor.outputs(Split.of(frame), Origin(ORIGIN, Path.cwd()), batch_size=BATCH)

    def outputs_of_prepared(self, rows: PreparedRows) -> np.ndarray:
        """Return calibrated outputs of prepared rows, [rows, ...]."""
        from danlu.models.infer import predict_all

        predictor = self.predictor
        examples = to_dataset(rows.numeric, rows.codes)
        return predictor.target.calibrate(
            predict_all(predictor.model, predictor.head, examples, BATCH, predictor.device)
        )

    def scores(self, rows: PreparedRows) -> np.ndarray:
        """Return the network's outputs in double precision, [rows, outputs]."""
        import copy

        import torch

        network = copy.deepcopy(self.predictor.model).cpu().double()
        inputs = {}
        if rows.numeric.shape[1]:
            inputs["numeric"] = torch.from_numpy(rows.numeric).double()
        if rows.codes.shape[1]:
            inputs["categories"] = torch.from_numpy(rows.codes)
        with torch.inference_mode():
            return np.asarray(network(**inputs))

    def mixed(self, row: pl.DataFrame, background: pl.DataFrame, answer: Answer) -> MixedAnswers:
        """Return the answers to mixtures of a row and background rows."""
        if self.owners is None:
            return self._mixed_frames(row, background, answer)
        own, others = self.prepare(row), self.prepare(background)
        numeric_owners, code_owners = self.owners[: self.num_numbers], self.owners[self.num_numbers :]

        def answers(coalitions: np.ndarray) -> np.ndarray:
            kept, rows = coalitions[:, None, :], len(coalitions) * len(others)
            numeric = np.where(kept[..., numeric_owners], own.numeric, others.numeric[None])
            codes = np.where(kept[..., code_owners], own.codes, others.codes[None])
            mixed = PreparedRows(numeric.reshape(rows, own.numeric.shape[1]), codes.reshape(rows, own.codes.shape[1]))
            outputs = self.outputs_of_prepared(mixed)
            return answer.of(self.predictor.target, outputs).reshape(len(coalitions), len(others))

        return answers

    def _mixed_frames(self, row: pl.DataFrame, background: pl.DataFrame, answer: Answer) -> MixedAnswers:
        together = pl.concat([row.select(self.columns), background.select(self.columns)], how="vertical_relaxed")
        numbers = np.arange(1, background.height + 1)

        def answers(coalitions: np.ndarray) -> np.ndarray:
            columns = []
            for place, name in enumerate(self.columns):
                sources = np.where(coalitions[:, place][:, None], 0, numbers)
                columns.append(together[name].gather(sources.ravel()))
            found = answer.of(self.predictor.target, self.outputs(pl.DataFrame(columns)))
            return found.reshape(len(coalitions), background.height)

        return answers
