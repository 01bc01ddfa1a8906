"""The tasks by name, and how a task and its target are found."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from danlu.core.component import components
from danlu.core.text import suggestion
from danlu.errors import ArtifactError
from danlu.tasks.base import Target, Task
from danlu.tasks.classification import Classification
from danlu.tasks.language_modelling import LanguageModelling
from danlu.tasks.multi_label import MultiLabel
from danlu.tasks.multi_output import MultiNumericTarget, MultiOutput
from danlu.tasks.ordinal import Ordinal
from danlu.tasks.poisson import PoissonRegression
from danlu.tasks.preference import Preference
from danlu.tasks.quantile import QuantileRegression
from danlu.tasks.regression import NumericTarget, Regression
from danlu.tasks.tagging import Tagging

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "ordinal": Ordinal,
    "multi-output-regression": MultiOutput,
    "multi-label": MultiLabel,
    "regression": Regression,
    "quantile-regression": QuantileRegression,
    "poisson-regression": PoissonRegression,
    "token-classification": Tagging,
    "language-modelling": LanguageModelling,
    "preference": Preference,
}


def all_tasks() -> list[Task]:
    """Return every task without options, those of other packages last."""
    return [get_task(name) for name in components("task")]


@cache
def get_task(name: str) -> Task:
    """Return a task without options by its name.

    Raises:
        ArtifactError: there is no such task; a package that adds it is not installed.
    """
    table = components("task")
    if name not in table:
        raise ArtifactError(
            f"the task {name!r} is unknown here{suggestion(name, table)}; install what brings it", code="DL310"
        )
    return Task.of(table[name](name=name))


def task_of(target: Target) -> Task:
    """Return the task of a target."""
    return get_task(target.task)


def number_columns(target: Target) -> tuple[str, ...]:
    """Return the columns of the numbers that a target predicts."""
    if isinstance(target, MultiNumericTarget):
        return target.names
    return tuple(target.columns) if isinstance(target, NumericTarget) else ()


def parse_target(values: Mapping[str, Any]) -> Target:
    """Parse a target as a bundle keeps it.

    Raises:
        ArtifactError: its task is unknown.
    """
    return get_task(str(values.get("task"))).target_class.model_validate(values)
