"""The estimators with scikit-learn's own tools, on its own data."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import get_tags

import danlu
from danlu.sklearn import DanluClassifier, DanluRegressor
from tests.sklearn.conftest import SHORT

Table = tuple[pd.DataFrame, pd.Series]
pytestmark = pytest.mark.training


def test_a_classifier_learns_words_and_gives_them_back(species_model: DanluClassifier, iris: Table) -> None:
    features, species = iris
    assert species_model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert species_model.score(features, species) > 0.9
    chances = species_model.predict_proba(features)
    assert chances.shape == (150, 3) and np.allclose(chances.sum(axis=1), 1, atol=1e-5)
    assert (species_model.classes_[chances.argmax(axis=1)] == species_model.predict(features)).all()


def test_a_regressor_beats_the_mean(progression_model: DanluRegressor, diabetes: Table) -> None:
    assert progression_model.score(*diabetes) > 0.3
    assert progression_model.predict(diabetes[0]).dtype == np.float64


def test_what_it_answers_is_what_its_bundle_answers(species_model: DanluClassifier, iris: Table) -> None:
    answers = species_model.predictor_.predict(iris[0])
    assert answers["prediction"].to_list() == species_model.predict(iris[0]).tolist()
    assert np.array_equal(answers["probability_setosa"].to_numpy(), species_model.predict_proba(iris[0])[:, 0])


def test_every_row_trains_or_validates(iris: Table, tmp_path: Path) -> None:
    fitted = DanluClassifier(training=SHORT, output=tmp_path, name="iris").fit(*iris)
    split = pl.read_parquet(fitted.run_ / "data" / "split.parquet")["part"].value_counts()
    assert dict(split.rows()) == {"train": 126, "validation": 24}
    assert fitted.evaluation_ is None
    assert danlu.RunDirectory.open(fitted.run_).metrics() == fitted.history_
    assert danlu.load(fitted.run_).predict(iris[0])["prediction"].to_list() == fitted.predict(iris[0]).tolist()


def test_a_run_without_test_rows_is_evaluated_on_validation(iris: Table, tmp_path: Path) -> None:
    fitted = DanluClassifier(training=SHORT, evaluation={"resamples": 0}, output=tmp_path).fit(*iris)
    figures = danlu.evaluate(fitted.run_)
    assert figures["final"] == "validation" and "test" not in figures


def test_test_rows_that_were_asked_for_are_evaluated(iris: Table) -> None:
    fitted = DanluClassifier(data={"split": {"test": 0.2}}, training=SHORT, evaluation={"resamples": 50}).fit(*iris)
    assert 0 < fitted.evaluation_["test"]["accuracy"]["value"] <= 1
    assert fitted.run_ is None


def test_file_memory_and_estimator_learn_the_same_bytes(iris: Table, tmp_path: Path) -> None:
    features, species = iris
    frame = features.assign(species=species)
    frame.to_csv(tmp_path / "iris.csv", index=False)
    split = {"validation": 0.2, "test": 0.1}
    recipe = {"seed": 3, "data": {"target": "species", "split": split}, "training": SHORT}
    from_file = {**recipe, "data": {**recipe["data"], "source": str(tmp_path / "iris.csv")}}
    runs = [
        danlu.train(from_file, output=tmp_path, name="file").path,
        danlu.train(recipe, data=frame, output=tmp_path, name="memory").path,
        DanluClassifier(data={"split": split}, training=SHORT, seed=3, output=tmp_path, evaluation={"resamples": 0})
        .fit(features, species)
        .run_,
    ]
    first, *others = [(run / "model" / "weights.safetensors").read_bytes() for run in runs]
    assert others == [first, first]


def test_file_and_estimator_agree_without_test_rows_too(diabetes: Table, tmp_path: Path) -> None:
    features, progression = diabetes
    features.assign(target=progression).to_csv(tmp_path / "diabetes.csv", index=False)
    data = {"source": str(tmp_path / "diabetes.csv"), "target": "target", "task": "regression", "split": {"test": 0}}
    run = danlu.train({"data": data, "training": SHORT}, output=tmp_path, name="file")
    fitted = DanluRegressor(training=SHORT, output=tmp_path).fit(features, progression)
    weights = "weights.safetensors"
    assert (run.model / weights).read_bytes() == (fitted.run_ / "model" / weights).read_bytes()


def test_it_stops_early_on_its_own_rows(iris: Table) -> None:
    training = {"epochs": 200, "batch_size": 16, "early_stopping": {"patience": 1}, "optimizer": {"lr": 0.1}}
    fitted = DanluClassifier(training=training).fit(*iris)
    assert fitted.n_iter_ < 200
    assert fitted.n_iter_ == round(fitted.history_[-1]["epoch"])


def test_calibration_and_threshold_are_fitted_on_validation(cancer: tuple[np.ndarray, np.ndarray]) -> None:
    evaluation = {"calibration": "temperature", "threshold": {"costs": {"false_negative": 20}}}
    fitted = DanluClassifier(training=SHORT, evaluation=evaluation).fit(*cancer)
    target = fitted.predictor_.target
    assert target.calibration.temperature != 1 and target.threshold != 0.5
    found = fitted.predict(cancer[0])
    assert (found == (fitted.predict_proba(cancer[0])[:, 1] >= target.threshold)).all()


def test_several_labels_are_learned_from_a_matrix() -> None:
    features, labels = make_multilabel_classification(200, n_features=6, n_classes=3, random_state=0)
    fitted = DanluClassifier(training={"epochs": 30}).fit(features, labels)
    assert fitted.predict(features).shape == labels.shape == fitted.predict_proba(features).shape
    assert (fitted.predict(features) == (fitted.predict_proba(features) >= 0.5)).all()
    assert (fitted.predict(features) == labels).mean() > 0.75


def test_a_stored_estimator_answers_the_same(species_model: DanluClassifier, iris: Table) -> None:
    stored = pickle.dumps(species_model)
    again = pickle.loads(stored)
    assert np.array_equal(again.predict_proba(iris[0]), species_model.predict_proba(iris[0]))
    assert np.array_equal(copy.deepcopy(species_model).predict(iris[0]), species_model.predict(iris[0]))
    state = species_model.__getstate__()
    assert "_predictor" not in state and b"torch" not in pickle.dumps(state["_bundle"]["weights.safetensors"])
    files = ["bundle.json", "config.json", "golden.parquet", "reference.json", "weights.safetensors"]
    assert sorted(state["_bundle"]) == files


def test_a_damaged_store_is_noticed(species_model: DanluClassifier, iris: Table) -> None:
    again = pickle.loads(pickle.dumps(species_model))
    again._bundle["weights.safetensors"] = again._bundle["weights.safetensors"][:-1] + b"\0"
    with pytest.raises(danlu.DanluError, match="SHA-256"):
        again.predict(iris[0])


def test_seeds_decide_and_random_state_is_a_seed(iris: Table) -> None:
    one, same, other = (
        DanluClassifier(training=SHORT, **said).fit(*iris).predict_proba(iris[0])
        for said in ({"seed": 4}, {"random_state": 4}, {"seed": 5})
    )
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.mark.slow
def test_grid_search_sets_keys_of_the_recipe_in_processes(iris: Table) -> None:
    grid = {"training__optimizer__lr": [1e-5, 1e-2], "model__dropout": [0.0]}
    estimator = DanluClassifier(model="mlp", training=SHORT)
    found = GridSearchCV(estimator, grid, cv=3, n_jobs=2, error_score="raise").fit(*iris)
    assert found.best_params_ == {"training__optimizer__lr": 1e-2, "model__dropout": 0.0}
    assert found.best_estimator_.training["optimizer"] == {"lr": 1e-2}
    assert found.predict(iris[0].head(3)).shape == (3,)


@pytest.mark.parametrize("form", ["pandas", "polars"])
def test_it_stands_in_a_pipeline_after_frames(form: str, table_file: Path) -> None:
    frame = pd.read_csv(table_file)
    numbers = ["alcohol", "ash", "hue"]
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), numbers), ("words", OneHotEncoder(sparse_output=False), ["shelf"])]
    )
    pipeline = make_pipeline(columns, DanluClassifier(training={"epochs": 30})).set_output(transform=form)
    pipeline.fit(frame, frame["cultivar"])
    assert pipeline[-1].feature_names_in_.tolist()[:4] == [
        *(f"numbers__{name}" for name in numbers),
        "words__shelf_red",
    ]
    assert pipeline.score(frame, frame["cultivar"]) > 0.7


def test_it_takes_categories_dates_and_gaps_itself(table_file: Path) -> None:
    frame = pd.read_csv(table_file)
    fitted = DanluClassifier(data={"columns": {"id": "drop"}}, training={"epochs": 30})
    fitted.fit(frame.drop(columns="cultivar"), frame["cultivar"])
    assert fitted.score(frame.drop(columns="cultivar"), frame["cultivar"]) > 0.9


@pytest.mark.slow
def test_folds_scores_and_importances_are_scikit_learns(cancer: tuple[np.ndarray, np.ndarray]) -> None:
    features, malignant = cancer[0][:, :6], cancer[1]
    scores = cross_val_score(DanluClassifier(training=SHORT), features, malignant, cv=3, error_score="raise")
    assert scores.mean() > 0.8
    noise = np.random.default_rng(0).normal(size=(len(features), 1))
    features = np.hstack([features, noise])
    fitted = DanluClassifier(training={"epochs": 20}).fit(features, malignant)
    found = permutation_importance(fitted, features, malignant, n_repeats=3, random_state=0, n_jobs=2)
    assert found.importances_mean.argmax() != 6
    assert abs(found.importances_mean[6]) < 0.05


def test_probabilities_can_be_calibrated_by_scikit_learn(cancer: tuple[np.ndarray, np.ndarray]) -> None:
    train, test, known, asked = train_test_split(*cancer, random_state=0)
    found = CalibratedClassifierCV(DanluClassifier(training=SHORT), cv=2).fit(train, known)
    assert found.score(test, asked) > 0.85


def test_columns_are_checked_when_predicting(species_model: DanluClassifier, iris: Table) -> None:
    with pytest.raises(ValueError, match="feature names should match"):
        species_model.predict(iris[0].rename(columns=str.upper))
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        species_model.predict(iris[0].iloc[:, ::-1])
    with pytest.raises(ValueError, match="X has 2 features, but DanluClassifier is expecting 4"):
        species_model.predict(iris[0].to_numpy()[:, :2])


def test_errors_of_the_recipe_come_from_fit_and_name_the_key(iris: Table) -> None:
    with pytest.raises(ValueError, match=r"training\.epoch: .*epochs"):
        DanluClassifier(training={"epoch": 3}).fit(*iris)


def test_a_class_of_one_row_is_learned_and_known(iris: Table) -> None:
    fitted = DanluClassifier(training=SHORT).fit(iris[0], ["a"] * 100 + ["b"] * 49 + ["c"])
    assert fitted.classes_.tolist() == ["a", "b", "c"] and fitted.predict_proba(iris[0]).shape == (150, 3)


def test_answers_that_cannot_be_learned_are_value_errors(iris: Table) -> None:
    with pytest.raises(ValueError, match="continuous"):
        DanluClassifier(training=SHORT).fit(iris[0], np.linspace(0, 1, 150))
    with pytest.raises(ValueError, match="leaves no rows for validation"):
        DanluClassifier(training=SHORT).fit(iris[0].head(3), ["a", "b", "c"])


def test_a_column_of_answers_is_flattened_with_a_warning(iris: Table) -> None:
    with pytest.warns(DataConversionWarning):
        fitted = DanluClassifier(training=SHORT).fit(iris[0], iris[1].to_numpy()[:, None])
    assert fitted.predict(iris[0]).shape == (150,)


def test_weights_of_samples_are_refused_by_the_signature(iris: Table) -> None:
    with pytest.raises(TypeError, match="sample_weight"):
        DanluClassifier().fit(*iris, sample_weight=np.ones(150))  # type: ignore[call-arg]


def test_nothing_is_shown_unless_it_is_asked_for(iris: Table, capsys: pytest.CaptureFixture[str]) -> None:
    DanluClassifier(training=SHORT).fit(*iris)
    assert capsys.readouterr() == ("", "")
    DanluClassifier(training=SHORT, verbose=True).fit(*iris)
    assert "trained" in capsys.readouterr().err


def test_a_model_that_fits_itself_is_an_estimator_too(iris: Table) -> None:
    fitted = DanluClassifier(model="tree").fit(*iris)
    assert fitted.score(*iris) > 0.9
    assert fitted.n_iter_ >= 1


def test_an_unfitted_estimator_says_so() -> None:
    with pytest.raises(NotFittedError):
        DanluClassifier().predict(np.ones((2, 2)))
    assert not hasattr(DanluRegressor(), "predictor_")


def test_tags_say_what_it_takes() -> None:
    tags = get_tags(DanluClassifier())
    assert tags.input_tags.allow_nan and tags.input_tags.string and not tags.input_tags.sparse
    assert tags.classifier_tags.multi_label and tags.target_tags.required
    assert get_tags(DanluRegressor()).estimator_type == "regressor"
    for model in ("tree", {"name": "boosting"}, {"tree": {"depth": 3}}):
        assert not get_tags(DanluClassifier(model=model)).classifier_tags.multi_label, "it gives a row one class"


def test_a_failed_fit_leaves_no_run(iris: Table, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to learn"):
        DanluRegressor(output=tmp_path).fit(iris[0], np.ones(150))
    assert list(tmp_path.iterdir()) == []


def test_words_are_read_at_predict_as_in_fit() -> None:
    rows = range(120)
    frame = pl.DataFrame(
        {
            "price": [f"{row % 9},{row % 10}" for row in rows],
            "day": [f"{1 + row % 28:02}.0{1 + row % 9}.2021" for row in rows],
        }
    )
    answers = ["high" if row % 9 > 4 else "low" for row in rows]
    model = DanluClassifier(model="tree").fit(frame, answers)
    assert model.score(frame, answers) == 1.0
    plain = pl.DataFrame({"price": ["7.5", "1.5"], "day": ["2021-01-04", "2021-01-05"]})
    assert model.predict(plain).tolist() == ["high", "low"]
    with pytest.raises(ValueError, match=r"X, row 2: column 'price': much is not a number like 1234,5"):
        model.predict(plain.with_columns(price=pl.Series(["7,5", "much"])))
