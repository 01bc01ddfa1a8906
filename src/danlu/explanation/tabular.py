"""A tabular bundle as what explanations need: rows prepared once, mixed by column, answered in large batches.

In: a predictor and rows as it reads them. Out: answers and scores of mixed rows. Where a feature is made of several
columns, rows are mixed before they are prepared, which is slower and gives the same.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from danlu.data.descriptors import Origin
from danlu.data.reference import trained_quantiles
from danlu.data.splits import Split
from danlu.data.tabular.preprocessor import NAMES, TabularPreprocessor
from danlu.explanation.answers import Answer
from danlu.explanation.games import MixedAnswers
from danlu.tasks.base import Label, Target

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

BATCH = 2048  # rows of a forward pass, so that its arrays stay in the cache; answers change but by rounding
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
        self._background: tuple[pl.DataFrame, PreparedRows] | None = None
        made_of = predictor.preprocessor.feature_columns
        positions = {name: place for place, name in enumerate(self.columns)}
        self.owners = None if made_of is None else np.array([positions[name] for name in made_of], dtype=np.int64)

    @property
    def target(self) -> Target:
        """What the bundle predicts."""
        return self.predictor.target

    @property
    def positive(self) -> Label | None:
        """The label of two that the bundle's figures are about."""
        return self.predictor.manifest.positive

    @property
    def engine(self) -> str:
        """The name of the engine that computes the bundle."""
        return self.predictor.engine.name

    @property
    def num_numbers(self) -> int:
        """The number of numeric features."""
        return self.preprocessor.inputs.numeric

    @cached_property
    def weights(self) -> Mapping[str, np.ndarray]:
        """The network's weights by name; of boosting the arrays of its trees."""
        from danlu.models.engines.numpy_engine import read_weights

        predictor = self.predictor
        return read_weights(predictor.bundle.require(predictor.options.weights_file), predictor.target.outputs)

    @property
    def ranges(self) -> Mapping[str, tuple[float, ...]] | None:
        """The quantiles of the training rows' numbers by column; None where the bundle keeps none."""
        kept = self.predictor.bundle.reference()
        return None if kept is None else trained_quantiles(kept)

    def prepare(self, frame: pl.DataFrame) -> PreparedRows:
        """Prepare rows for the network."""
        return PreparedRows(*self.preprocessor.arrays(frame, ORIGIN))

    def prepare_once(self, frame: pl.DataFrame) -> PreparedRows:
        """Prepare the rows that stand for absent columns; the same frame is not prepared again."""
        if self._background is None or self._background[0] is not frame:
            self._background = (frame, self.prepare(frame))
        return self._background[1]

    def outputs(self, frame: pl.DataFrame) -> np.ndarray:
        """Return calibrated outputs of rows as they were read, [rows, ...]."""
        return self.predictor.outputs(Split.of(frame), Origin(ORIGIN, Path.cwd()), batch_size=BATCH)

    def outputs_of_prepared(self, rows: PreparedRows) -> np.ndarray:
        """Return calibrated outputs of prepared rows, [rows, ...]."""
        return self.calibrated(self.scores(rows))

    def calibrated(self, scores: np.ndarray) -> np.ndarray:
        """Return calibrated outputs of the network's, [rows, ...]."""
        answer = self.predictor.head.answer
        assert answer is not None, "every task of tables answers from arrays"
        return self.target.calibrate(answer(scores, None))

    def scores(self, rows: PreparedRows) -> np.ndarray:
        """Return the network's outputs, [rows, outputs] float32, or [rows, members, outputs]."""
        named = zip(NAMES, (rows.numeric, rows.codes), strict=True)
        given = {name: values for name, values in named if values.shape[1]}
        starts = range(0, len(rows), BATCH)
        engine = self.predictor.engine
        return np.concatenate([engine.run({k: v[start : start + BATCH] for k, v in given.items()}) for start in starts])

    def with_weights(self, weights: Mapping[str, np.ndarray]) -> "TabularAnswers":
        """Return the same of a network with other weights, computed in numpy."""
        from danlu.models.engines.numpy_engine import NumpyEngine, network_spec
        from danlu.models.engines.numpy_networks import build_network

        predictor = self.predictor
        spec = network_spec(predictor.options, self.preprocessor.inputs, predictor.target.outputs)
        other = copy(predictor)
        other.engine = NumpyEngine(build_network(spec, weights))
        found = TabularAnswers(other)
        found.weights = weights
        return found

    def mixed(
        self, row: pl.DataFrame, background: pl.DataFrame, answer: Answer, *, of_scores: bool = False
    ) -> MixedAnswers:
        """Return answers to mixtures of a row and background rows, or their scores."""
        if self.owners is None:
            return self._mixed_frames(row, background, answer)
        own, others = self.prepare(row), self.prepare_once(background)
        numeric_owners, code_owners = self.owners[: self.num_numbers], self.owners[self.num_numbers :]
        target, step = self.target, max(1, BATCH // len(others))

        def block(kept: np.ndarray) -> np.ndarray:
            rows = len(kept) * len(others)
            numeric = np.where(kept[:, None, numeric_owners], own.numeric, others.numeric[None])
            codes = np.where(kept[:, None, code_owners], own.codes, others.codes[None])
            return self.scores(
                PreparedRows(numeric.reshape(rows, self.num_numbers), codes.reshape(rows, len(code_owners)))
            )

        def answers(coalitions: np.ndarray) -> np.ndarray:
            # Mixed and answered block by block, so that what is mixed never leaves the processor's cache.
            starts = range(0, len(coalitions), step)
            scores = np.concatenate([block(coalitions[start : start + step]) for start in starts])
            if of_scores:
                found = answer.score_of(target, scores.astype(np.float64))
                assert found is not None, "only tasks with scores are explained by them"
            else:
                found = answer.of(target, self.calibrated(scores))
            return found.reshape(len(coalitions), len(others))

        return answers

    def _mixed_frames(self, row: pl.DataFrame, background: pl.DataFrame, answer: Answer) -> MixedAnswers:
        together = pl.concat([row.select(self.columns), background.select(self.columns)], how="vertical_relaxed")
        numbers = np.arange(1, background.height + 1)

        def answers(coalitions: np.ndarray) -> np.ndarray:
            columns = []
            for place, name in enumerate(self.columns):
                sources = np.where(coalitions[:, place][:, None], 0, numbers)
                columns.append(together[name].gather(sources.ravel()))
            found = answer.of(self.target, self.outputs(pl.DataFrame(columns)))
            return found.reshape(len(coalitions), background.height)

        return answers
