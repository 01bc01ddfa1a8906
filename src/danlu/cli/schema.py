"""danlu schema"""

from danlu.cli.show import print_json


def schema() -> None:
    """Print the recipe's JSON Schema, for editors."""
    from danlu.recipe.schema import json_schema

    print_json(json_schema())
