"""danlu visualize RECIPE --only augment"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from danlu.cli.options import Overrides, Overwrite, RecipeArgument
from danlu.core.console import info


def visualize(
    recipe: RecipeArgument,
    *,
    only: Annotated[
        Literal["augment"],
        Parameter(help="augment: training samples next to their augmented versions in the first epochs."),
    ] = "augment",
    output: Annotated[
        Path | None,
        Parameter(name=["--output", "-o"], help="The file: .png for images, .html for texts and tables."),
    ] = None,
    samples: Annotated[int, Parameter(help="Number of training samples.")] = 6,
    epochs: Annotated[int, Parameter(help="Number of epochs.")] = 6,
    overrides: Overrides = (),
    overwrite: Overwrite = False,
) -> None:
    """Show what a recipe does to its data, as a file to look at."""
    from danlu.api.visualize import visualize as visualize_verb
    from danlu.recipe.load import load_recipe

    path = visualize_verb(
        load_recipe(recipe, overrides=overrides),
        only=only,
        output=output,
        samples=samples,
        epochs=epochs,
        overwrite=overwrite,
    )
    info(f"wrote {path}")
