"""Each accepted key of a column changes what is made of it, or is refused: for every role and type."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.errors import RecipeError
from danlu.experiment.data_context import fit_preprocessing, load_input

ROWS = 120
COLUMNS = ("number", "category", "datetime", "text", "identifier", "y")
VALUES: dict[str, Any] = {
    "scale": "minmax",
    "encode": "one-hot",
    "missing": 7.0,
    "format": "%d/%m/%Y",
    "decimal": ",",
    "grouping": ".",
}


def rows() -> pl.DataFrame:
    generator = np.random.default_rng(0)
    numbers = generator.integers(1, 900, ROWS)
    words = generator.choice(["red", "blue", "green", "black", "white"], (ROWS, 12))
    return pl.DataFrame(
        {
            "number": [None if place % 9 == 0 else f"{value}.{value:03}" for place, value in enumerate(numbers)],
            "category": generator.choice(["a", "b", "c"], ROWS),
            "datetime": [f"{1 + value % 12:02}/{1 + value % 11:02}/20{10 + value % 12}" for value in numbers],
            "text": [f"{' '.join(row)} {place}" for place, row in enumerate(words)],
            "identifier": [f"id-{place}" for place in range(ROWS)],
            "y": [f"{value}.{value:03}" for value in generator.integers(1, 900, ROWS)],
        }
    )


def prepared(column: str, options: dict[str, Any]) -> str:
    """Return all that a recipe makes of the data: readings, the fitted preparation and target, as JSON."""
    said: dict[str, Any] = {
        "number": {"type": "number"},
        "datetime": {"type": "datetime", "format": "%m/%d/%Y"},
    }
    data = {"target": "y", "task": "regression", "columns": {**said, column: said.get(column, {}) | options}}
    context = load_input({"data": data, "model": "linear"}, rows())
    fitted = fit_preprocessing(context)
    readings = [column.model_dump_json() for column in context.dataset.columns]
    target = [str(context.dataset.target_readings), fitted.target.model_dump_json()]
    return "\n".join([*readings, *target, fitted.preprocessor.model_dump_json()])


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("key", VALUES)
def test_an_accepted_key_changes_what_is_made_or_is_refused(column: str, key: str) -> None:
    before = prepared(column, {})
    try:
        after = prepared(column, {key: VALUES[key]})
    except RecipeError as error:
        after = str(error)
        assert f"data.columns.{column}.{key}: " in after
    assert after != before, f"{key} of {column} is accepted and changes nothing"


def test_what_each_type_reads_is_accepted() -> None:
    for column, key in (("number", "scale"), ("number", "missing"), ("category", "encode"), ("datetime", "scale")):
        prepared(column, {key: VALUES[key]})
    with pytest.raises(RecipeError, match=r"data.columns.y.scale: 'y' is the target.* set data.target_transform"):
        prepared("y", {"scale": "minmax"})
