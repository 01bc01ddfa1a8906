"""A recipe's sections as parameters: nested keys, clones, what a fit's recipe says and refuses."""

import numpy as np
import pytest
from sklearn.base import clone

from danlu.recipe.load import as_recipe
from danlu.recipe.sections.training import EarlyStopping, Training
from danlu.sklearn import DanluClassifier, DanluRegressor
from danlu.sklearn.sections import recipe_of, seed_of


def recipe(estimator: DanluClassifier, numbers: tuple[str, ...] = ()) -> dict:
    return recipe_of(estimator.get_params(deep=False), "classification", "y", numbers)


def test_a_nested_key_changes_its_section_and_nothing_else() -> None:
    section = {"epochs": 5, "optimizer": "sgd"}
    estimator = DanluClassifier(training=section).set_params(training__optimizer__lr=0.1, training__epochs=7)
    assert estimator.training == {"epochs": 7, "optimizer": {"name": "sgd", "lr": 0.1}}
    assert section == {"epochs": 5, "optimizer": "sgd"}, "the mapping that was handed over is the user's"


def test_a_key_below_a_section_that_was_left_out_makes_it() -> None:
    estimator = DanluRegressor().set_params(model__name="mlp", model__dropout=0.2, data__split__validation=0.3)
    assert estimator.model == {"name": "mlp", "dropout": 0.2}
    assert estimator.data == {"split": {"validation": 0.3}}


def test_a_model_by_its_name_takes_options() -> None:
    assert DanluClassifier(model="mlp").set_params(model__dropout=0.2).model == {"name": "mlp", "dropout": 0.2}


def test_another_model_drops_the_options_of_the_old_one() -> None:
    estimator = DanluClassifier(model={"name": "mlp", "dropout": 0.2}).set_params(model__name="tree")
    assert estimator.model == {"name": "tree"}


def test_a_section_and_a_key_in_it_may_be_set_together() -> None:
    estimator = DanluClassifier().set_params(training__epochs=3, training={"batch_size": 16})
    assert estimator.training == {"batch_size": 16, "epochs": 3}


def test_typed_sections_keep_what_was_set() -> None:
    typed = Training(epochs=4, early_stopping=EarlyStopping(patience=2))
    assert recipe(DanluClassifier(training=typed))["training"] == {"epochs": 4, "early_stopping": {"patience": 2}}
    assert DanluClassifier(training=typed).set_params(training__epochs=9).training["epochs"] == 9


def test_deep_parameters_name_every_key_and_can_be_set_again() -> None:
    estimator = DanluClassifier(training={"epochs": 5, "optimizer": {"name": "sgd", "lr": 0.1}}, seed=3)
    deep = estimator.get_params()
    assert deep["training__optimizer__lr"] == 0.1 and deep["seed"] == 3
    assert DanluClassifier().set_params(**deep).get_params() == deep


def test_a_clone_has_the_same_parameters_and_no_state() -> None:
    estimator = DanluClassifier(data={"scale": "robust"}, training={"epochs": 5})
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params()
    assert copy.training is not estimator.training
    assert not [name for name in vars(copy) if name.endswith("_")]


@pytest.mark.parametrize("key", ["epochs", "optimizer__lr", "seed__x"])
def test_an_unknown_parameter_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=f"Invalid parameter '{key}'"):
        DanluClassifier().set_params(**{key: 1})


def test_no_row_tests_unless_it_is_asked_for() -> None:
    assert recipe(DanluClassifier())["data"]["split"] == {"test": 0.0}
    asked = DanluClassifier(data={"split": {"test": 0.2, "by": "random"}})
    assert recipe(asked)["data"]["split"] == {"test": 0.2, "by": "random"}


def test_the_recipe_of_a_fit_is_valid_and_says_that_an_arrays_columns_are_numbers() -> None:
    estimator = DanluClassifier(data={"columns": {"x1": "category"}}, model="mlp", training={"epochs": 2})
    made = as_recipe(recipe(estimator, ("x0", "x1")), source="rows.csv")
    assert made.data.columns == {"x0": "number", "x1": "category"}
    assert made.data.split.test == 0 and made.training.epochs == 2


@pytest.mark.parametrize("key", ["source", "target", "task"])
def test_what_x_and_y_decide_cannot_be_said_again(key: str) -> None:
    with pytest.raises(ValueError, match=rf"data\.{key}: X and y decide it"):
        recipe(DanluClassifier(data={key: "regression"}))


def test_folds_are_left_to_scikit_learn() -> None:
    with pytest.raises(ValueError, match="cross_val_score"):
        recipe(DanluClassifier(evaluation={"folds": 5}))


def test_the_random_state_takes_the_place_of_the_seed() -> None:
    assert seed_of(7, None) == 7
    assert seed_of(7, 3) == 3
    assert seed_of(7, np.int64(3)) == 3
    state = np.random.RandomState(1)
    assert seed_of(7, np.random.RandomState(1)) == seed_of(7, state) != seed_of(7, state)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"training": 3}, "training: takes keys with values, as a mapping, got 3"),
        ({"data": {"split": 0.2}}, r"data.split: takes keys with values, as a mapping, got 0\.2"),
    ],
)
def test_a_section_that_is_no_mapping_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe_of(DanluRegressor(**given).get_params(deep=False), "regression", "y", ())  # type: ignore[arg-type]


def test_an_option_of_a_model_without_a_name_asks_for_the_name() -> None:
    with pytest.raises(ValueError, match="model__hidden: no model is named"):
        DanluRegressor().set_params(model__hidden=[4])
    assert DanluRegressor().set_params(model__hidden=[4], model="mlp").model == {"name": "mlp", "hidden": [4]}
    assert DanluRegressor().set_params(model__mlp={"hidden": [4]}).model == {"mlp": {"hidden": [4]}}
