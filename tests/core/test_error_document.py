"""Errors as JSON: what is known of each, and nothing that is not."""

import pytest

from danlu.core.error_document import error_document
from danlu.core.text import suggestion
from danlu.errors import ArgumentError, DataError, Problem, RecipeError
from danlu.recipe.load import check_recipe


def test_a_problem_of_a_recipe_names_place_key_and_nearest_name() -> None:
    with pytest.raises(RecipeError) as refused:
        check_recipe({"data": {"source": "builtin:wine"}, "trainin": {}})
    found = error_document(refused.value)
    assert found["format"] == 1
    assert {key: found["error"][key] for key in ("code", "kind", "place", "key", "nearest")} == {
        "code": "DL105",
        "kind": "recipe",
        "place": "recipe",
        "key": "trainin",
        "nearest": "training",
    }
    assert "problems" not in found["error"]


def test_all_problems_of_a_recipe_are_listed() -> None:
    error = RecipeError(Problem("r.yaml:3", "seed", "must be 0", "DL108"), Problem("", "", "is empty", "DL102"))
    found = error_document(error)["error"]
    assert found["code"] == "DL108" and found["problems"][1] == {"code": "DL102", "message": "is empty"}
    assert found["problems"][0]["place"] == "r.yaml:3"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"data": {}}, "DL106"),
        ({"data": {"source": "a"}, "training": {"optimizer": "adamv"}}, "DL107"),
        ({"data": {"source": "a", "task": "ranking-of"}}, "DL107"),
        ({"data": {"source": "a", "task": "segmentation"}}, "DL112"),
        ({"data": {"source": "a"}, "model": "yolov8"}, "DL112"),
        ({"data": {"source": "a"}, "training": {"epochs": -1}}, "DL108"),
        ({"data": {"source": "a", "split": {"validation": 0.5, "test": 0.5}}}, "DL110"),
        ({"data": {"source": "a"}, "training": {"batch_size": 2, "accumulate": 4}}, "DL110"),
        ({"data": {"source": "a"}, "tuning": {"space": {"training.epochs": [-3, 4]}}}, "DL113"),
    ],
)
def test_each_way_of_being_wrong_has_its_own_code(values: dict[str, object], code: str) -> None:
    with pytest.raises(RecipeError) as refused:
        check_recipe(values)
    assert refused.value.code == code


def test_an_error_outside_the_recipe_names_its_key_where_the_message_begins_with_one() -> None:
    found = error_document(ArgumentError("training.device: torch finds no cuda device here", code="DL501"))["error"]
    assert (found["key"], found["kind"]) == ("training.device", "argument")
    other = error_document(DataError(f"a.csv: no column 'agee'{suggestion('agee', ['age', 'plan'])}", code="DL210"))
    assert other["error"]["nearest"] == "age"
    assert set(other["error"]) == {"code", "kind", "message", "nearest"}


def test_an_unforeseen_error_has_a_code_too() -> None:
    found = error_document(ZeroDivisionError("division by zero"))["error"]
    assert found == {"code": "DL900", "kind": "unexpected", "message": "ZeroDivisionError: division by zero"}
