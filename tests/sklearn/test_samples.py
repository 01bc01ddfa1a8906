"""X and y in the forms that scikit-learn takes, as columns; what cannot be learned from is refused as it expects."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_array

from danlu.sklearn import DanluClassifier, DanluRegressor
from danlu.sklearn.samples import read_classes, read_features, read_numbers


def test_a_numeric_array_gives_columns_of_numbers() -> None:
    estimator = DanluClassifier()
    features = read_features(estimator, np.array([[1, 2], [3, 4]]))
    assert features.are_numbers and features.frame.columns == ["x0", "x1"]
    assert estimator.n_features_in_ == 2 and not hasattr(estimator, "feature_names_in_")


def test_nan_is_missing_and_infinity_is_refused() -> None:
    features = read_features(DanluClassifier(), np.array([[1.0, np.nan], [3.0, 4.0]]))
    assert features.frame["x1"].to_list() == [None, 4.0]
    with pytest.raises(ValueError, match="infinity"):
        read_features(DanluClassifier(), np.array([[1.0, np.inf], [3.0, 4.0]]))


def test_an_array_of_objects_keeps_words_and_numbers_apart() -> None:
    """As ColumnTransformer stacks them."""
    features = read_features(DanluClassifier(), np.array([["a", 1.5], ["b", None]], dtype=object))
    assert not features.are_numbers
    assert features.frame.to_dict(as_series=False) == {"x0": ["a", "b"], "x1": [1.5, None]}


@pytest.mark.parametrize("library", [pd, pl])
def test_frames_keep_their_names_and_types(library: object) -> None:
    estimator = DanluClassifier()
    frame = library.DataFrame({"plan": ["a", "b"], "age": [30, 40]})  # type: ignore[attr-defined]
    features = read_features(estimator, frame)
    assert features.frame.schema == {"plan": pl.String, "age": pl.Int64}
    assert estimator.feature_names_in_.tolist() == ["plan", "age"]
    renamed = library.DataFrame({"plan": ["a"], "height": [1]})  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"(?s)feature names.*height"):
        read_features(estimator, renamed, ["plan", "age"])


def test_columns_are_named_as_in_the_fit_whatever_form_comes_later() -> None:
    estimator = DanluClassifier()
    read_features(estimator, pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}))
    with pytest.warns(UserWarning, match="feature names"):
        assert read_features(estimator, np.ones((1, 2)), ["a", "b"]).frame.columns == ["a", "b"]


def test_sparse_input_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Sparse data.*toarray"):
        read_features(DanluClassifier(), csr_array(np.eye(3)))


def test_memory_that_may_not_be_written_is_read() -> None:
    values = np.arange(6.0).reshape(3, 2)
    values.setflags(write=False)
    assert read_features(DanluClassifier(), values).frame.height == 3


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (["b", "a", "b"], ["a", "b"]),
        ([3, 10, 3], [3, 10]),
        ([True, False, True], [False, True]),
        ([1.0, 2.0, 1.0], [1.0, 2.0]),
        (pd.Series(["x", "y", "x"], dtype="category"), ["x", "y"]),
        (pl.Series("kind", ["x", "y", "x"]), ["x", "y"]),
    ],
)
def test_classes_of_any_type_stand_in_order(y: object, classes: list[object]) -> None:
    answers = read_classes(y, ["x0"])
    assert answers.classes.tolist() == classes
    assert sorted(answers.columns.to_series().unique().to_list()) == classes


def test_a_matrix_of_labels_becomes_a_column_for_each() -> None:
    answers = read_classes(np.array([[0, 1, 1], [1, 0, 1], [0, 0, 0]]), ["label_1"])
    assert answers.target == ["label_0", "label_1_", "label_2"]
    assert answers.classes.tolist() == [0, 1, 2]
    named = read_classes(pd.DataFrame({"red": [0, 1, 1], "big": [1, 0, 1]}), [])
    assert named.target == ["red", "big"]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.5, 1.5, 2.5], "Unknown label type: continuous"),
        (["a", "a", "a"], "one class alone"),
        ([[1, 2], [2, 3], [3, 1]], "several columns of classes"),
        ([1.0, np.nan, 2.0], "NaN"),
    ],
)
def test_answers_that_are_no_classes_are_refused(y: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_classes(np.asarray(y), [])


def test_numbers_keep_their_name_unless_a_feature_has_it() -> None:
    assert read_numbers(pd.Series([1.0, 2.0], name="price"), ["age"]).target == "price"
    assert read_numbers(pd.Series([1.0, 2.0], name="age"), ["age"]).target == "age_"
    assert read_numbers([1, 2], ["target"]).target == "target_"


@pytest.mark.parametrize("y", [[1.0, np.nan], [1.0, np.inf], ["a", "b"], [[1.0, 2.0], [3.0, 4.0]]])
def test_answers_that_are_no_numbers_are_refused(y: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are scikit-learn's
        read_numbers(np.asarray(y), [])


def test_several_numbers_as_an_answer_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"y has 2 columns of numbers.*MultiOutputRegressor"):
        read_numbers([[1.0, 2.0], [3.0, 4.0]], [])
    assert read_numbers([[1.0], [3.0]], []).values.tolist() == [1.0, 3.0]


@pytest.mark.parametrize("y", [[None, "a", "b"], pd.Series([None, True, False], dtype="boolean")])
def test_a_sample_without_a_class_is_refused_as_such(y: object) -> None:
    with pytest.raises(ValueError, match="contains NaN or None in 1 of 3 samples"):
        read_classes(y, [])


def test_two_columns_of_one_name_are_refused_by_it() -> None:
    frame = pd.DataFrame(np.eye(3)[:, :2], columns=["age", "age"])
    with pytest.raises(ValueError, match="two columns of the name 'age'; rename one"):
        read_features(DanluRegressor(), frame)
