"""danlu schema"""

from danlu.cli.show import print_json


def schema() -> None:
    """Print the recipe's JSON Schema, for editors."""
    from danlu.api.schema import schema as schema_verb

    print_json(schema_verb())
