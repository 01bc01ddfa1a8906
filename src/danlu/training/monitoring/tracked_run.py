"""The facts of a run that trackers show beside its metrics: the recipe in dotted keys, and where things lie."""

from collections.abc import Iterator, Mapping
from typing import Any

from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import REPORT, RunDirectory


def read_resolved_recipe(run: RunDirectory) -> Mapping[str, Any]:
    """Return the resolved recipe as plain values."""
    from ruamel.yaml import YAML

    values: Mapping[str, Any] = YAML(typ="safe", pure=True).load((run.path / RECIPE).read_text(encoding="utf-8"))
    return values


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values, as `training.optimizer.lr`; skip None and empty lists."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        elif value is not None and value != []:
            yield f"{prefix}{key}", value


def run_places(run: RunDirectory) -> dict[str, str]:
    """Return where the run, its report and its bundle lie, by names for trackers."""
    folder = run.path.resolve()
    return {
        "danlu.run": str(folder),
        "danlu.report": str(folder / REPORT),
        "danlu.bundle": str(run.model.resolve()),
    }
