"""X and y as scikit-learn hands them over -> the columns of a frame, checked as scikit-learn checks them.

Features keep their names where they have some, else they are x0, x1 … A numeric array means numbers in every column;
the columns of a frame and of an array of objects are inferred, as everywhere in danlu.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import validate_data

from danlu.data.sources.in_memory import as_frame, is_missing
from danlu.errors import DataError, RecipeError

MIN_ROWS = 2  # one to train, one to validate
TARGET, LABEL = "target", "label_"  # names of answers that come without


@dataclass(frozen=True)
class Features:
    """Hold the features of some samples.

    Attributes:
        frame: one row per sample.
        are_numbers: whether they came as an array of numbers, so that no column's type is inferred.
    """

    frame: pl.DataFrame
    are_numbers: bool


@dataclass(frozen=True)
class Answers:
    """Hold the answers to learn.

    Attributes:
        columns: one column of answers, or a column of 0 and 1 for each label.
        values: the same as an array, [samples] or [samples, labels].
        classes: the classes in order; of several labels their positions; empty for numbers.
    """

    columns: pl.DataFrame
    values: np.ndarray
    classes: np.ndarray

    @property
    def target(self) -> str | list[str]:
        """The recipe's `data.target`."""
        return self.columns.columns if self.values.ndim == 2 else self.columns.columns[0]


@contextmanager
def as_value_errors() -> Iterator[None]:
    """Raise what danlu refuses in data and recipe as ValueError, which scikit-learn's tools expect."""
    try:
        yield
    except (DataError, RecipeError) as error:
        raise ValueError(str(error)) from error


def read_features(estimator: Any, X: Any, fitted: Sequence[str] | None = None) -> Features:
    """Convert X to a frame; check its columns against the fitted ones.

    Args:
        estimator: gets `n_features_in_` and `feature_names_in_` while it is fitted.
        X: a frame, or an array or list of lists, [samples, features].
        fitted: the names of the columns that the estimator was fitted with; None while it is.

    Raises:
        ValueError: it has other columns than the estimator was fitted with, too few rows, or cannot be read.
        TypeError: it is sparse.
    """
    resets, least = fitted is None, MIN_ROWS if fitted is None else 1
    if _has_columns(X):
        _refuse_repeated_names(X)
        validate_data(estimator, X, reset=resets, skip_check_array=True)
        with as_value_errors():
            frame = as_frame(X)
        assert frame is not None
        if frame.width == 0:
            raise ValueError(f"X has 0 feature(s) (shape={X.shape}) while a minimum of 1 is required.")
        if frame.height < least:
            raise ValueError(f"X has {frame.height} sample(s) while a minimum of {least} is required.")
        return Features(_renamed(frame, fitted), are_numbers=False)
    values = validate_data(
        estimator, X, reset=resets, dtype=None, ensure_all_finite="allow-nan", ensure_min_samples=least
    )
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    with as_value_errors():
        frame = as_frame({f"x{place}": values[:, place] for place in range(values.shape[1])})
    assert frame is not None
    return Features(_renamed(frame, fitted), are_numbers=values.dtype.kind in "iuf")


def _has_columns(X: Any) -> bool:
    """Return whether X is a frame: of pandas, of polars, or a table of Arrow."""
    return hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "schema"))


def _refuse_repeated_names(X: Any) -> None:
    """Raise ValueError if two columns have the same name."""
    names = [str(name) for name in X.columns] if hasattr(X, "iloc") else []  # other frames cannot have such
    if twice := next((name for at, name in enumerate(names) if name in names[:at]), None):
        raise ValueError(f"X has two columns of the name {twice!r}; rename one of them")


def _renamed(frame: pl.DataFrame, names: Sequence[str] | None) -> pl.DataFrame:
    """Name the columns as in the fit; their order is the same."""
    return frame if names is None else frame.rename(dict(zip(frame.columns, names, strict=True)))


def read_classes(y: Any, taken: Sequence[str]) -> Answers:
    """Convert classes, or a 0/1 matrix of labels, to columns of answers.

    Args:
        y: [samples] of any class labels, or [samples, labels] of 0 and 1.
        taken: names of the features, which the answers may not have.

    Raises:
        ValueError: y holds numbers that are no classes, a missing value, or a single class.
    """
    _refuse_missing(y)
    check_classification_targets(y)
    form = type_of_target(y, input_name="y", raise_unknown=True)
    if form == "multilabel-indicator":
        matrix = check_array(y, dtype=None, input_name="y").astype(np.uint8)
        given = [str(name) for name in y.columns] if _has_columns(y) else []
        names = given or [f"{LABEL}{place}" for place in range(matrix.shape[1])]
        columns = {_unused(name, taken): matrix[:, place] for place, name in enumerate(names)}
        return Answers(_frame(columns), matrix, np.arange(matrix.shape[1]))
    if form == "multiclass-multioutput":
        raise ValueError(
            "y has several columns of classes; give one column, or a column of 0 and 1 for each label of a row"
        )
    values = column_or_1d(y, warn=True)
    classes = np.unique(values)
    if len(classes) == 1:
        raise ValueError(f"y holds one class alone ({classes[0]!r}); a classifier learns from two classes or more")
    return Answers(_frame({_name_of(y, taken): values}), values, classes)


def _refuse_missing(y: Any) -> None:
    """Raise ValueError if words or booleans lack some; of numbers scikit-learn says it."""
    values = np.asarray(y)
    if values.dtype != object:
        return
    absent = sum(is_missing(value) for value in values.ravel())
    if absent:
        raise ValueError(f"y contains NaN or None in {absent} of {len(values)} samples; leave these samples out")


def read_numbers(y: Any, taken: Sequence[str]) -> Answers:
    """Convert numbers to a column of answers; `taken` are names that it may not have.

    Raises:
        ValueError: y is not one finite number per sample.
    """
    values = check_array(y, ensure_2d=False, dtype="numeric", input_name="y")
    if values.ndim == 2 and values.shape[1] > 1:
        raise ValueError(
            f"y has {values.shape[1]} columns of numbers, and this estimator predicts one; wrap it in scikit-learn's "
            "MultiOutputRegressor, or give danlu.run the columns' names as data.target"
        )
    values = column_or_1d(values, warn=True)
    if values.dtype == np.bool_:
        values = values.astype(np.float64)
    return Answers(_frame({_name_of(y, taken): values}), values, np.empty(0))


def _frame(columns: dict[str, np.ndarray]) -> pl.DataFrame:
    with as_value_errors():
        frame = as_frame(columns)
    assert frame is not None
    return frame


def _name_of(y: Any, taken: Sequence[str]) -> str:
    """Return the name that y has as a Series, or the usual one."""
    name = getattr(y, "name", None)
    return _unused(name if isinstance(name, str) and name else TARGET, taken)


def _unused(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name
