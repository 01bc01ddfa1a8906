"""`danlu schema`: the recipe's JSON Schema."""

from typing import Any

from danlu.recipe.schema import json_schema


def schema() -> dict[str, Any]:
    """Return a recipe's JSON Schema, by which editors complete and check recipe files.

    Example:
        >>> import danlu
        >>> "training" in danlu.schema()["properties"]
        True
    """
    return json_schema()
