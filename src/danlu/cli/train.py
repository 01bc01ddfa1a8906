"""danlu train RECIPE"""

from pathlib import Path

from danlu.cli.options import Json, Name, Output, Overrides, Overwrite, RecipeArgument
from danlu.cli.show import print_json


def train(
    recipe: RecipeArgument,
    *,
    overrides: Overrides = (),
    output: Output = Path("runs"),
    name: Name = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Train a model into a run directory; judge it later."""
    from danlu.recipe.load import load_recipe
    from danlu.verbs.train import train as train_verb

    directory = train_verb(load_recipe(recipe, overrides), output, name, overwrite)
    if json:
        print_json({"run": str(directory.path)})
        return
    print(f"run     {directory.path}\nmodel   {directory.model}\nnext    danlu evaluate {directory.path}")
