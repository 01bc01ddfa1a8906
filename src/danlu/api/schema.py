"""`danlu schema`: the recipe's JSON Schema."""

from typing import Any

from danlu.recipe.schema import json_schema


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe, for editors that complete and check it."""
    return json_schema()
