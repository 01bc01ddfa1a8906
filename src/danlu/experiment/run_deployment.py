"""The stage of a run that writes what serves its bundle, where the recipe asks for it.

In: a run whose bundle was evaluated. Out: the run's folder `deployment`.
"""

from danlu.artifacts.run import RunDirectory
from danlu.recipe.schema import Recipe

FOLDER = "deployment"


def deploy_run(recipe: Recipe, run: RunDirectory) -> None:
    """Write the files that the recipe asks for.

    Raises:
        ArgumentError, ArtifactError, MissingExtra: the bundle cannot be deployed so.
    """
    if recipe.deployment is None:
        return
    from danlu.deployment.write import Places, write_deployment

    write_deployment(run.path, recipe.deployment, run.path / FOLDER, Places())
