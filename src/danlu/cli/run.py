"""danlu run RECIPE"""

from pathlib import Path

from danlu.cli.options import DryRun, Json, Name, Output, Overrides, Overwrite, RecipeArgument
from danlu.cli.show import metric_rows, print_json, print_table
from danlu.core.console import say


def run(
    recipe: RecipeArgument,
    *,
    overrides: Overrides = (),
    output: Output = Path("runs"),
    name: Name = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Every stage that a recipe names: data, model, training, evaluation, report."""
    from danlu.recipe.load import load_recipe
    from danlu.verbs.run import dry_run as dry
    from danlu.verbs.run import run as run_verb

    loaded = load_recipe(recipe, overrides)
    if dry_run:
        dry(loaded)
        say("dry run: every stage works; nothing was kept")
        return
    directory = run_verb(loaded, output, name, overwrite)
    evaluation = directory.evaluation()
    if json:
        print_json({"run": str(directory.path), "evaluation": evaluation})
        return
    print_table(metric_rows(evaluation))
    print(f"\nreport  {directory.path / 'report.html'}\nmodel   {directory.model}")
