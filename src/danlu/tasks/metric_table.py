"""The registry of metrics, with scikit-learn's definitions, and how metrics are found by name.

Other packages add metrics by the entry-point group `danlu.metric`; a user's own are given as `package.module:function`.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points

import numpy as np

from danlu.core.component import components
from danlu.core.imports import load_dotted
from danlu.core.text import suggestion
from danlu.errors import Problem, RecipeError
from danlu.metrics.base import UNBOUNDED, Metric, Predictions, Statistic, StatisticFn, compute_values
from danlu.metrics.texts import TEXT_METRICS
from danlu.tasks.base import Task
from danlu.tasks.table import TASKS

METRICS: dict[str, Metric] = {
    **{name: metric for task in TASKS.values() for name, metric in task.own_metrics.items()},
    **TEXT_METRICS,
}


def metric_bounds(name: str) -> tuple[float, float]:
    """Return the smallest and largest value a metric can take; infinite if unbounded or unknown."""
    return METRICS[name].bounds if name in METRICS else UNBOUNDED


def metrics_of(task: Task) -> dict[str, Metric]:
    """Return the metrics that fit a task's predictions, also of other packages."""
    fitting = (task.name, *task.metrics_of, "")
    return {name: metric for name, metric in all_metrics().items() if metric.task in fitting}


def is_higher_better(watched: str) -> bool:
    """Return whether a watched value, such as `validation/auroc`, is better when higher.

    A loss is not.
    """
    name = watched.removeprefix("validation/")
    return name in METRICS and METRICS[name].higher_is_better


@cache
def all_metrics() -> Mapping[str, Metric]:
    """Return danlu's metrics and those of installed packages; danlu's names cannot be overridden."""
    points = [point for point in entry_points(group="danlu.metric") if point.name not in METRICS]
    added = {name: metric for task in _added_tasks() for name, metric in task.own_metrics.items()}
    return {**added, **METRICS, **{point.name: to_metric(point.load()) for point in points}}


def _added_tasks() -> list[type[Task]]:
    """Return the tasks of other packages."""
    return [task for name, task in components("task").items() if name not in TASKS and issubclass(task, Task)]


def get_metric(name: str) -> Metric:
    """Return a metric by name, or a user's own by `package.module:function`."""
    return _custom_metric(name) if ":" in name else all_metrics()[name]


@cache
def _custom_metric(name: str) -> Metric:
    return to_metric(load_dotted(name, "evaluation.metrics"))


def to_metric(found: Metric | Callable[..., float]) -> Metric:
    """Wrap a function of (true values, predictions) as a metric.

    Its attributes `task` and `higher_is_better` are read. It is called once per resample, with rows repeated as drawn.
    """
    if isinstance(found, Metric):
        return found
    compute: Callable[..., float] = found

    def prepare(predictions: Predictions) -> StatisticFn:
        def one(weights: np.ndarray) -> float:
            rows = np.repeat(np.arange(len(predictions)), weights.astype(np.int64))
            return float(compute(predictions.y_true[rows], predictions.y_pred[rows]))

        return lambda weights: np.array([one(row) for row in weights])

    said = (compute.__doc__ or compute.__name__).strip().splitlines()[0].rstrip(".")
    higher = bool(getattr(compute, "higher_is_better", True))
    task = str(getattr(compute, "task", ""))
    return Metric(task, Statistic(prepare), lambda figures: figures, higher, said, is_fast=False)


def compute_metrics(names: Iterable[str], predictions: Predictions) -> dict[str, float]:
    """Compute metrics by name; undefined ones (a class is absent) are left out."""
    found = compute_values({name: get_metric(name) for name in names}, predictions)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def resolve_metrics(task: Task, asked: tuple[str, ...] | None, key: str = "evaluation.metrics") -> tuple[str, ...]:
    """Return the requested metrics, or the default ones of the task.

    Args:
        key: the recipe key that requests them.

    Raises:
        RecipeError: one is unknown or does not fit the task.
        ArgumentError: a user's own function cannot be loaded.
    """
    if asked is None:
        return task.default_metrics
    fitting = metrics_of(task)
    for name in asked:
        if ":" in name:
            get_metric(name)
        elif name not in fitting:
            message = f"no metric {name!r} for {task}{suggestion(name, fitting)}"
            raise RecipeError(Problem("", key, message, code="DL117"))
    return asked
