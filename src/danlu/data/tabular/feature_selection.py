"""Feature selection: the features most informative about the target, or the principal components.

In: the training split's features and targets. Out: a Selection, which is applied to any rows.
"""

import warnings
from collections.abc import Callable
from typing import Self

import numpy as np

from danlu.core.component import Frozen
from danlu.data.tabular.categories import TargetValues
from danlu.data.tabular.json_array import JsonArray
from danlu.recipe.sections.data import Select

MAX_FLOAT = float(np.finfo(np.float32).max)  # replaces an infinite score
SCORED_ROWS = 20_000  # scores are computed from; a sample gives the same result and saves minutes


class Selection(Frozen):
    """Hold which features are kept.

    Attributes:
        numeric: positions among the numeric features, ascending.
        categories: positions among the categories, ascending.
        scores: each feature's score, by name, best first; for pca the share of variance of each direction.
        centre: subtracted from the numeric features before the projection, [numeric].
        directions: of the projection, [kept, numeric]; None keeps the features themselves.
    """

    numeric: tuple[int, ...]
    categories: tuple[int, ...]
    scores: dict[str, float]
    centre: JsonArray | None = None
    directions: JsonArray | None = None

    @classmethod
    def fit(
        cls, options: Select, numeric: np.ndarray, codes: np.ndarray, names: tuple[str, ...], answers: TargetValues
    ) -> Self:
        """Choose among features, [rows, numeric] and [rows, categories].

        `names` has the numeric ones first.
        """
        if options.method == "pca":
            return cls._project(options.keep, numeric, codes.shape[1])
        rows = np.random.default_rng(answers.seed.derive("select").value).permutation(len(numeric))[:SCORED_ROWS]
        sample = TargetValues(answers.values[rows], answers.continuous, answers.seed)
        scores = SCORES[options.method](numeric[rows], codes[rows], sample)
        scores = np.nan_to_num(scores, nan=0.0, posinf=MAX_FLOAT)
        best = np.argsort(-scores, kind="stable")
        kept = np.sort(best[: options.keep])
        first_category = numeric.shape[1]
        return cls(
            numeric=tuple(kept[kept < first_category].tolist()),
            categories=tuple((kept[kept >= first_category] - first_category).tolist()),
            scores={names[position]: float(scores[position]) for position in best},
        )

    @classmethod
    def _project(cls, keep: int, numeric: np.ndarray, categories: int) -> Self:
        from sklearn.decomposition import PCA

        pca = PCA(n_components=min(keep, *numeric.shape), svd_solver="full").fit(numeric)
        return cls(
            numeric=tuple(range(numeric.shape[1])),
            categories=tuple(range(categories)),
            scores={f"direction {i + 1}": float(share) for i, share in enumerate(pca.explained_variance_ratio_)},
            centre=JsonArray.from_numpy(pca.mean_),
            directions=JsonArray.from_numpy(pca.components_),
        )

    @property
    def width(self) -> int:
        """The number of numeric features that are left."""
        return len(self.numeric) if self.directions is None else self.directions.shape[0]

    def apply(self, numeric: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Select or project, [rows, numeric] and [rows, categories]."""
        codes = np.ascontiguousarray(codes[:, list(self.categories)])
        if self.directions is None:
            return np.ascontiguousarray(numeric[:, list(self.numeric)]), codes
        assert self.centre is not None
        return (numeric - self.centre.array) @ self.directions.array.T, codes


def _variance(numeric: np.ndarray, codes: np.ndarray, answers: TargetValues) -> np.ndarray:
    """Score each number's variance, scaled to [0, 1]; a category's Gini impurity."""
    spread = np.ptp(numeric, axis=0)
    variances = numeric.var(axis=0) / np.where(spread > 0, spread, 1.0) ** 2
    differing = [1 - ((np.bincount(column) / len(column)) ** 2).sum() for column in codes.T]
    return np.concatenate([variances, differing])


def _anova(numeric: np.ndarray, codes: np.ndarray, answers: TargetValues) -> np.ndarray:
    """Score by the ANOVA F statistic; a category by that of its values' mean targets."""
    from sklearn.feature_selection import f_classif, f_regression

    score = f_regression if answers.continuous else f_classif
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Features .* are constant")  # they score 0, as they should
        return np.asarray(score(np.column_stack([numeric, codes]), answers.values)[0])


def _mutual_information(numeric: np.ndarray, codes: np.ndarray, answers: TargetValues) -> np.ndarray:
    """Score by mutual information with the target, in nats.

    Ross 2014, https://doi.org/10.1371/journal.pone.0087357.
    """
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

    score = mutual_info_regression if answers.continuous else mutual_info_classif
    discrete = np.arange(numeric.shape[1] + codes.shape[1]) >= numeric.shape[1]
    seed = answers.seed.derive("mutual-information").value % 2**32
    stacked = np.column_stack([numeric, codes])
    return np.asarray(score(stacked, answers.values, discrete_features=discrete, random_state=seed))


def _model(numeric: np.ndarray, codes: np.ndarray, answers: TargetValues) -> np.ndarray:
    """Score by impurity reduction in extremely randomised trees.

    Geurts et al. 2006, https://doi.org/10.1007/s10994-006-6226-1.
    """
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    family = ExtraTreesRegressor if answers.continuous else ExtraTreesClassifier
    forest = family(n_estimators=100, min_samples_leaf=3, random_state=answers.seed.derive("forest").value % 2**32)
    return np.asarray(forest.fit(np.column_stack([numeric, codes]), answers.values).feature_importances_)


SCORES: dict[str, Callable[[np.ndarray, np.ndarray, TargetValues], np.ndarray]] = {
    "variance": _variance,
    "anova": _anova,
    "mutual-information": _mutual_information,
    "model": _model,
}
