"""danlu tune RECIPE, danlu tune --resume RUN"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import Json, Name, OptionalRecipe, Output, Overrides, Overwrite, Resume, check_recipe_or_resume
from danlu.cli.show import print_document, print_table, say

MAX_SHOWN = 10  # trials, the best first

Trials = Annotated[int | None, Parameter(help="Maximum number of trials, instead of the recipe's.")]


def tune(
    recipe: OptionalRecipe = None,
    *,
    overrides: Overrides = (),
    output: Output = Path("runs"),
    name: Name = None,
    overwrite: Overwrite = False,
    trials: Trials = None,
    resume: Resume = None,
    json: Json = False,
) -> None:
    """Run the search of the recipe's `tuning` section, or resume a stopped search."""
    from danlu.api.tune import tune as tune_verb
    from danlu.artifacts.trials import read_trials
    from danlu.recipe.load import load_recipe
    from danlu.search.study import ranked_trials, resume_search

    check_recipe_or_resume(recipe, resume, overrides, name)
    if resume is not None:
        directory = resume_search(resume, trials=trials)
    else:
        directory = tune_verb(
            load_recipe(str(recipe), overrides=overrides), output=output, name=name, overwrite=overwrite, trials=trials
        )
    best = ranked_trials(directory)
    if json:
        kept = [asdict(trial) for trial in read_trials(directory.path)]
        print_document({"run": str(directory.path), "best": asdict(best[0]), "trials": kept})
        return
    rows = [{"trial": each.number + 1, each.metric: each.value, **each.values} for each in best[:MAX_SHOWN]]
    print_table(rows)
    say(f"\nrun     {directory.path}\nbest    {directory.path / 'best.yaml'}\nnext    danlu evaluate {directory.path}")
