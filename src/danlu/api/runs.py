"""`danlu runs`: list the runs in a folder, newest first, with a summary of each."""

from pathlib import Path
from typing import Any

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.final_figures import figures_of, final_figures, final_split
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import RunDirectory, find_runs
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.artifacts.trials import is_search, read_trials
from danlu.core.arguments import checked
from danlu.core.console import info
from danlu.errors import DanluError
from danlu.reporting.results import RunList


@checked
def runs(output: str | Path = "runs") -> list[dict[str, Any]]:
    """List runs: folder, model, seed, state, main test metric and the best baseline's.

    A damaged run is skipped with a message.

    Example:
        >>> import danlu
        >>> [row["state"] for row in danlu.runs() if row["run"] == "wine"]
        ['evaluated']
    """
    rows = RunList()
    for run in find_runs(Path(output)):
        try:
            rows.append(_summarize(run))
        except DanluError as error:
            info(f"{run.path.name}: skipped: {error}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # whole JSON of another form
            info(f"{run.path.name}: skipped: a file of it is damaged ({error!r}); `danlu doctor {run.path}` says which")
    return rows


def _summarize(run: RunDirectory) -> dict[str, Any]:
    recipe = load_run_recipe(run.path / RECIPE)
    evaluation = run.evaluation()
    row: dict[str, Any] = {
        "run": run.path.name,
        "model": recipe.model.name if recipe.model else "",
        "seed": recipe.seed,
        "state": run_state(run),
    }
    if not evaluation:
        return {**row, "metric": "", "test": None, "best_baseline": None}
    metric, final = evaluation["main"]["metric"], final_split(evaluation)
    best = max if evaluation["main"]["higher_is_better"] else min
    baselines = (figures_of(each, final).get(metric) for each in evaluation["baselines"].values())
    others = [figure["value"] for figure in baselines if figure is not None]
    value = final_figures(evaluation).get(metric, {}).get("value")
    return {**row, "metric": metric, "test": value, "best_baseline": best(others) if others else None}


def run_state(run: RunDirectory) -> str:
    """Return the state of a run: `evaluated`, `trained`, newest checkpoint or number of trials."""
    if run.evaluation():
        return "evaluated"
    if (run.model / MANIFEST).is_file():
        return "trained"
    if is_search(run.path):
        return f"{len(read_trials(run.path)):,} trials"
    kept = run.checkpoints()
    return f"kept at step {int(kept[-1].name.removeprefix('step-')):,}" if kept else "begun"
