"""`danlu schema`: the recipe's JSON Schema."""

from typing import Any

from danlu.recipe.schema import json_schema


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe, which editors use to complete and check recipe files."""
    return json_schema()
