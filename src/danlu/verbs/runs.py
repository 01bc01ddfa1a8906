"""`danlu runs`: the runs below a folder, newest first, with what sums each up; or two of them side by side."""

from pathlib import Path
from typing import Any

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.run import RECIPE, RunDirectory, find_runs
from danlu.artifacts.trials import is_search, kept_trials
from danlu.core.console import say
from danlu.core.errors import DanluError
from danlu.recipe.load import load_recipe


def runs(output: str | Path = "runs") -> list[dict[str, Any]]:
    """One row a run: its folder, model, seed, state and main test metric beside the best baseline's.

    A damaged run hides none of the others; what is wrong with it is said.
    """
    rows: list[dict[str, Any]] = []
    for run in find_runs(Path(output)):
        try:
            rows.append(_row(run))
        except DanluError as error:
            say(f"{run.path.name} is left out: {error}")
    return rows


def compare(paths: list[str | Path]) -> list[dict[str, Any]]:
    """What differs between runs: one row a recipe key or test metric, one column a run's folder."""
    directories = [RunDirectory.open(path) for path in paths]
    tables = [{**_flat(run), **_test_metrics(run)} for run in directories]
    return _rows(tables, [run.path.name for run in directories])


def differing_keys(directories: list[RunDirectory], names: list[str]) -> list[dict[str, Any]]:
    """The recipe's keys that differ between runs, one column a run by the name given."""
    return _rows([_flat(run) for run in directories], names)


def _rows(tables: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    """One row for each key that differs; every one of the test metrics."""
    rows: list[dict[str, Any]] = []
    for key in dict.fromkeys(key for table in tables for key in table):
        values = [table.get(key) for table in tables]
        if key.startswith("test/") or any(value != values[0] for value in values):
            rows.append({"key": key, **dict(zip(names, values, strict=True))})
    return rows


def _row(run: RunDirectory) -> dict[str, Any]:
    recipe = load_recipe(run.path / RECIPE)
    evaluation = run.evaluation()
    row: dict[str, Any] = {
        "run": run.path.name,
        "model": recipe.model.name if recipe.model else "",
        "seed": recipe.seed,
        "state": state_of(run),
    }
    if not evaluation:
        return {**row, "metric": "", "test": None, "best_baseline": None}
    metric = evaluation["main"]["metric"]
    best = max if evaluation["main"]["higher_is_better"] else min
    baselines = (figures["test"].get(metric) for figures in evaluation["baselines"].values())
    others = [figure["value"] for figure in baselines if figure is not None]
    value = evaluation["test"].get(metric, {}).get("value")
    return {**row, "metric": metric, "test": value, "best_baseline": best(others) if others else None}


def state_of(run: RunDirectory) -> str:
    """How far a run has come: `evaluated`, `trained`, the step at which it can go on, or a search's trials."""
    if run.evaluation():
        return "evaluated"
    if (run.model / MANIFEST).is_file():
        return "trained"
    if is_search(run.path):
        return f"{len(kept_trials(run.path)):,} trials"
    kept = run.checkpoints()
    return f"kept at step {int(kept[-1].name.removeprefix('step-')):,}" if kept else "begun"


def _test_metrics(run: RunDirectory) -> dict[str, float]:
    figures = run.evaluation().get("test", {})
    return {f"test/{name}": value["value"] for name, value in figures.items() if "value" in value}


def _flat(run: RunDirectory) -> dict[str, Any]:
    """The recipe as `section.key -> value`."""
    flat: dict[str, Any] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(inner, f"{key}.{name}" if key else str(name))
        else:
            flat[key] = value

    walk(load_recipe(run.path / RECIPE).model_dump(mode="json"), "")
    return flat
