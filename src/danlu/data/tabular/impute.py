"""Missing values: the recipe's options, and the two imputations that use the whole row.

Filling with one number per column (median, mean …) is part of `NumberState`; removing rows is part of `clean`.
"""

import warnings
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, PositiveInt

from danlu.core.component import Frozen
from danlu.core.seeds import Seed
from danlu.data.tabular.json_array import JsonArray
from danlu.recipe.components import ImputationOptions

REFERENCE_ROWS = 2_000  # training rows to search for neighbours; they are stored in the bundle
MAX_PREDICTORS = 20  # maximum columns that a missing one is predicted from


class Imputation(ImputationOptions):
    """Handle missing values among the inputs."""


class DropMissing(Imputation):
    """Drop rows with a missing value before the split.

    When predicting, the median stands in.
    """

    name: Literal["drop"] = "drop"


class Impute(Imputation):
    """Fill in missing numbers; a missing category is a value of its own.

    Attributes:
        strategy: one number per column (median, mean, most-frequent, constant), the mean of the most similar training
            rows (knn; Troyanskaya et al. 2001, https://doi.org/10.1093/bioinformatics/17.6.520), or a regression on
            the other columns, in rounds (iterative; van Buuren & Groothuis-Oudshoorn 2011,
            https://doi.org/10.18637/jss.v045.i03).
        constant: the value of `strategy: constant`.
        neighbors: rows that are averaged by knn.
        rounds: maximum passes over the columns by iterative.
        indicators: add an indicator feature for each column with missing values in the training split.
    """

    name: Literal["impute"] = "impute"
    strategy: Literal["median", "mean", "most-frequent", "constant", "knn", "iterative"] = "median"
    constant: float = 0.0
    neighbors: PositiveInt = 5
    rounds: PositiveInt = 10
    indicators: bool = False


class KeepMissing(Imputation):
    """Leave missing numbers as they are, for models that handle them: boosting."""

    name: Literal["keep"] = "keep"


GAPS: dict[str, type[Imputation]] = {"impute": Impute, "drop": DropMissing, "keep": KeepMissing}


class KNNFiller(Frozen):
    """Fill missing values with the mean of the most similar training rows.

    Attributes:
        reference: scaled training rows, [rows, columns], NaN where missing.
    """

    kind: Literal["knn"] = "knn"
    reference: JsonArray
    neighbors: int

    @classmethod
    def fit(cls, matrix: np.ndarray, options: Impute, seed: Seed) -> Self:
        """Keep training rows to compare with, a sample where there are very many."""
        rows = np.random.default_rng(seed.derive("neighbours").value).permutation(len(matrix))[:REFERENCE_ROWS]
        return cls(reference=JsonArray.from_numpy(matrix[np.sort(rows)]), neighbors=options.neighbors)

    def fill(self, matrix: np.ndarray) -> np.ndarray:
        """Fill the missing values of scaled rows, [rows, columns]."""
        from sklearn.impute import KNNImputer

        gaps = np.isnan(matrix).any(axis=1)
        if not gaps.any():
            return matrix
        imputer = KNNImputer(n_neighbors=self.neighbors, keep_empty_features=True).fit(self.reference.array)
        filled = matrix.copy()
        filled[gaps] = imputer.transform(matrix[gaps])
        return filled


class RegressionStep(Frozen):
    """Predict one column from others, as one step of the rounds."""

    column: int
    others: tuple[int, ...]
    weights: tuple[float, ...]
    intercept: float


class IterativeFiller(Frozen):
    """Fill missing values by regressions on the other columns, one after the other.

    Attributes:
        start: initial fill value of each column before the first regression.
        steps: in the order in which they were fitted.
    """

    kind: Literal["iterative"] = "iterative"
    start: tuple[float, ...]
    steps: tuple[RegressionStep, ...]

    @classmethod
    def fit(cls, matrix: np.ndarray, options: Impute, seed: Seed) -> Self:
        """Fit the rounds on scaled training rows, [rows, columns], NaN where missing."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401
        from sklearn.impute import IterativeImputer

        columns = matrix.shape[1]
        imputer = IterativeImputer(
            max_iter=options.rounds,
            n_nearest_features=MAX_PREDICTORS if columns > MAX_PREDICTORS else None,
            keep_empty_features=True,
            random_state=seed.derive("iterative").value % 2**32,
        )
        with warnings.catch_warnings():  # the recipe says how many rounds are enough
            warnings.simplefilter("ignore", ConvergenceWarning)
            imputer.fit(matrix)
        steps = [
            RegressionStep(
                column=int(step.feat_idx),
                others=tuple(map(int, step.neighbor_feat_idx)),
                weights=tuple(map(float, step.estimator.coef_)),
                intercept=float(step.estimator.intercept_),
            )
            for step in imputer.imputation_sequence_
        ]
        return cls(start=tuple(map(float, imputer.initial_imputer_.statistics_)), steps=tuple(steps))

    def fill(self, matrix: np.ndarray) -> np.ndarray:
        """Fill the missing values of scaled rows, [rows, columns]."""
        gaps = np.isnan(matrix)
        filled = np.where(gaps, np.array(self.start), matrix)
        for step in self.steps:
            rows = gaps[:, step.column]
            if rows.any():
                filled[rows, step.column] = filled[np.ix_(rows, step.others)] @ np.array(step.weights) + step.intercept
        return filled


Filler = Annotated[KNNFiller | IterativeFiller, Field(discriminator="kind")]
FILLERS: dict[str, type[KNNFiller | IterativeFiller]] = {"knn": KNNFiller, "iterative": IterativeFiller}
