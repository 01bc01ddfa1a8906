"""The estimators: a recipe's sections as parameters, one training per fit, the bundle as the fitted state."""

import math
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from danlu.api.train import train
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.console import silenced
from danlu.experiment.run_data import load_run_data
from danlu.recipe.sections.evaluation import Evaluation
from danlu.recipe.sections.training import Training
from danlu.search.study import train_or_search
from danlu.sklearn.samples import Answers, as_value_errors, read_classes, read_features, read_numbers
from danlu.sklearn.sections import SECTIONS, nested, predicts_several_labels, recipe_of, with_key
from danlu.sklearn.stored_bundle import open_files, read_files
from danlu.tasks.classification import ClassTarget
from danlu.tasks.multi_label import MultiLabelTarget

if TYPE_CHECKING:
    from numpy.random import RandomState

    from danlu.models.base import Model
    from danlu.models.predictor import Predictor

ORIGIN = "X"  # how errors name the rows to predict


class DanluEstimator(BaseEstimator):  # type: ignore[misc]
    """Train a recipe on X and y; the base of classifier and regressor.

    The parameters are the recipe's sections, as mappings or typed values, with the keys that a recipe file has. Keys
    inside a section are set and searched as `training__optimizer__lr`. What is wrong in them is said by `fit`.

    Args:
        data: how columns are read, cleaned, split and prepared: `{"scale": "robust", "split": {"validation": 0.2}}`.
            `source`, `target` and `task` follow from X and y. A share of the rows given to `fit` validates (0.15);
            none tests, unless `split` has a `test`.
        model: the model's name, or its name and options: `{"name": "mlp", "hidden": [64]}`; by default the one that
            danlu takes for the kind of data.
        training: epochs, optimizer, early stopping …
        evaluation: calibration, threshold and conformal intervals, fitted on the validation rows; with test rows all
            of the section.
        name: names the runs in `output`.
        seed: every random choice is derived from it, so equal seeds give equal models.
        random_state: takes the place of `seed`, under the name that scikit-learn's tools set; a RandomState gives
            another seed with every fit.
        output: folder in which each fit keeps its run, with log and checkpoints; by default only the model is kept.
        verbose: show messages and progress.

    Attributes:
        n_features_in_: number of features.
        feature_names_in_: their names, if X was a frame whose columns have names, [features].
        n_iter_: epochs (or rounds) that were trained, early stopping included.
        history_: the log: a mapping of figures for each logged step.
        run_: the run's folder; None without `output`.
        evaluation_: what `danlu.evaluate` returns; None without test rows.
        predictor_: the fitted model as `danlu.load` gives it.
    """

    task: ClassVar[str]

    def __init__(
        self,
        *,
        data: Mapping[str, Any] | None = None,
        model: "str | Mapping[str, Any] | Model | None" = None,
        training: Mapping[str, Any] | Training | None = None,
        evaluation: Mapping[str, Any] | Evaluation | None = None,
        name: str = "model",
        seed: int = 0,
        random_state: "int | RandomState | None" = None,
        output: str | Path | None = None,
        verbose: bool = False,
    ) -> None:
        self.data, self.model, self.training, self.evaluation = data, model, training, evaluation
        self.name, self.seed, self.random_state = name, seed, random_state
        self.output, self.verbose = output, verbose

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; with `deep` also the keys inside their mappings, as `training__epochs`."""
        found: dict[str, Any] = super().get_params(deep=False)
        inner = [pair for name in SECTIONS for pair in nested(name, found[name])] if deep else []
        return found | dict(inner)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, and keys inside the recipe's sections as `training__optimizer__lr`.

        Raises:
            ValueError: there is no such parameter.
        """
        ours = {key: value for key, value in params.items() if key.partition("__")[0] in SECTIONS}
        others = {key: value for key, value in params.items() if key not in ours}
        if wrong := [key for key in others if "__" in key]:
            message = f"only {', '.join(SECTIONS)} have keys inside"
            raise ValueError(f"Invalid parameter {wrong[0]!r} for estimator {type(self).__name__}: {message}")
        super().set_params(**others)
        for key in sorted(ours, key=lambda key: (key.count("__"), not key.endswith("__name"))):
            section, *path = key.split("__")
            with as_value_errors():
                value = with_key(section, getattr(self, section), path, ours[key]) if path else ours[key]
            setattr(self, section, value)
        return self

    def fit(self, X: Any, y: Any) -> Self:
        """Train the recipe on some samples.

        Args:
            X: a frame of pandas or polars, or an array [samples, features]; missing values may be None or NaN.
            y: the answers, [samples]; of a classifier also 0 and 1 for each label, [samples, labels].

        Returns:
            the estimator itself.

        Raises:
            ValueError: X, y or the recipe are wrong.
            TypeError: X is sparse.
            MissingExtra: the model needs packages that are not installed.
        """
        if y is None:
            message = "requires y to be passed, but the target y is None"
            raise ValueError(f"This {type(self).__name__} estimator {message}.")
        features = read_features(self, X)
        names = features.frame.columns
        answers = self._read_answers(y, names)
        check_consistent_length(features.frame, answers.columns)
        target = answers.target
        task = "multi-label" if isinstance(target, list) else self.task
        recipe = recipe_of(self.get_params(deep=False), task, target, names if features.are_numbers else ())
        frame = features.frame.hstack(answers.columns)
        with as_value_errors(), nullcontext() if self.verbose else silenced(), self._folder() as folder:
            self._train(recipe, frame, folder)
        self._columns = names
        self._set_answers(answers)
        return self

    @abstractmethod
    def _read_answers(self, y: Any, taken: Sequence[str]) -> Answers:
        """Convert y to columns with names that are not taken."""

    def _set_answers(self, answers: Answers) -> None:
        """Keep what `predict` needs to know of the answers."""

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """Give the folder for the run; a temporary one without `output`."""
        if self.output is not None:
            yield Path(self.output)
            return
        with tempfile.TemporaryDirectory(prefix="danlu-fit-") as folder:
            yield Path(folder)

    def _train(self, recipe: dict[str, Any], frame: pl.DataFrame, folder: Path) -> None:
        """Train a run in a folder and keep its bundle and log."""
        from danlu.experiment.run_evaluation import decide_on_validation, evaluate_run

        run: RunDirectory = train(recipe, data=frame, output=folder)
        context = load_run_data(load_run_recipe(run.path / RECIPE), run)
        if len(context.splits.test):
            self.evaluation_: dict[str, Any] | None = evaluate_run(context, run, learn=train_or_search)
        else:
            decide_on_validation(context, run)
            self.evaluation_ = None
        self.history_ = run.metrics()
        self.n_iter_ = max(1, math.ceil(self.history_[-1]["epoch"]))
        self.run_ = run.path if self.output is not None else None
        self._bundle = read_files(run.model)
        self._predictor = open_files(self._bundle)

    @property
    def predictor_(self) -> "Predictor":
        """The fitted model; opened again from its bytes after the estimator was unpickled."""
        check_is_fitted(self, "_bundle")
        if "_predictor" not in vars(self):
            self._predictor = open_files(self._bundle)
        return self._predictor

    def _outputs(self, X: Any) -> np.ndarray:
        """Return the calibrated outputs of the model for X, [samples, ...] float32."""
        predictor = self.predictor_
        features = read_features(self, X, self._columns)
        with as_value_errors():
            return predictor.outputs_of(features.frame, origin=ORIGIN)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the opened model out: the bytes of its bundle stand for it."""
        state: dict[str, Any] = super().__getstate__()
        return {key: value for key, value in state.items() if key != "_predictor"}

    def __sklearn_tags__(self) -> Any:
        """Say that missing values, strings and categories are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags


class DanluClassifier(ClassifierMixin, DanluEstimator):  # type: ignore[misc]
    """Classify with a model that danlu trains.

    A sample may have several labels, if y is a matrix of 0 and 1.

    Attributes:
        classes_: the classes in order; of several labels their positions, [classes].
    """

    task = "classification"

    def _read_answers(self, y: Any, taken: Sequence[str]) -> Answers:
        return read_classes(y, taken)

    def _set_answers(self, answers: Answers) -> None:
        self.classes_ = answers.classes
        target = self.predictor_.target
        assert isinstance(target, ClassTarget | MultiLabelTarget)
        columns = answers.columns.columns if isinstance(target, MultiLabelTarget) else answers.classes.tolist()
        places = {value: place for place, value in enumerate(columns)}
        self._places = np.array([places[label] for label in target.labels], dtype=np.int64)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each sample, [samples].

        Of several labels 0 and 1 for each, [samples, labels].

        Raises:
            NotFittedError: `fit` comes first.
            ValueError: X has other columns than in `fit`.
        """
        outputs, target = self._outputs(X), self.predictor_.target
        answers = target.decode(outputs)["prediction"].to_list()
        assert isinstance(target, ClassTarget | MultiLabelTarget)
        places: dict[Any, int] = dict(zip(target.labels, self._places.tolist(), strict=True))
        if isinstance(target, ClassTarget):
            return np.asarray(self.classes_[[places[label] for label in answers]])
        found = np.zeros((len(answers), len(self.classes_)), dtype=np.int64)
        for row, labels in enumerate(answers):
            found[row, [places[label] for label in labels]] = 1
        return found

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, or of each label, [samples, classes] float32.

        A class that no training row has gets 0. Raises like `predict`.
        """
        outputs = self._outputs(X)
        found = np.zeros((len(outputs), len(self.classes_)), dtype=outputs.dtype)
        found[:, self._places] = outputs
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = predicts_several_labels(self.model)
        return tags


class DanluRegressor(RegressorMixin, DanluEstimator):  # type: ignore[misc]
    """Predict a number with a model that danlu trains."""

    task = "regression"

    def _read_answers(self, y: Any, taken: Sequence[str]) -> Answers:
        return read_numbers(y, taken)

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted number of each sample, [samples] float64.

        Raises:
            NotFittedError: `fit` comes first.
            ValueError: X has other columns than in `fit`.
        """
        return self.predictor_.target.decode(self._outputs(X))["prediction"].to_numpy()
