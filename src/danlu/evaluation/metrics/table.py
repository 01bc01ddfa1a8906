"""The registry of metrics, with scikit-learn's definitions, and how metrics are found by name.

Other packages add metrics by the entry-point group `danlu.metric`; a user's own are given as `package.module:function`.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points

import numpy as np

from danlu.core.imports import load_dotted
from danlu.core.text import suggestion
from danlu.data.targets import ClassTarget, NumericTarget, Supervised
from danlu.errors import Problem, RecipeError
from danlu.evaluation.metrics.base import Metric, Predictions, Statistic, StatisticFn, compute_values
from danlu.evaluation.metrics.classification import COUNT_METRICS, PROBABILITY_METRICS
from danlu.evaluation.metrics.language import LANGUAGE_METRICS, PREFERENCE_METRICS
from danlu.evaluation.metrics.multilabel import MULTILABEL_METRICS
from danlu.evaluation.metrics.ranking import RANKING_METRICS
from danlu.evaluation.metrics.regression import REGRESSION_METRICS
from danlu.evaluation.metrics.tags import TAG_METRICS
from danlu.evaluation.metrics.texts import TEXT_METRICS

METRICS: dict[str, Metric] = {
    **COUNT_METRICS,
    **RANKING_METRICS,
    **PROBABILITY_METRICS,
    **REGRESSION_METRICS,
    **LANGUAGE_METRICS,
    **MULTILABEL_METRICS,
    **TAG_METRICS,
    **TEXT_METRICS,
    **PREFERENCE_METRICS,
}

# The metric that sums up a task, in the report and in `danlu runs`.
MAIN_METRIC = {
    "classification": "accuracy",
    "regression": "rmse",
    "language-modelling": "perplexity",
    "multi-label": "label-f1",
    "token-classification": "tag-f1",
    "text-generation": "rouge-l",
    "preference": "preference-accuracy",
}

# The metrics computed if the recipe names none: few enough to be read.
DEFAULT_METRICS: dict[str, tuple[str, ...]] = {
    "classification": (
        *("accuracy", "balanced-accuracy", "precision", "recall", "f1", "auroc", "average-precision"),
        *("log-loss", "brier", "mcc", "calibration-error"),
    ),
    "regression": ("rmse", "mae", "median-absolute-error", "r2"),
    "language-modelling": ("perplexity", "bits-per-byte", "token-accuracy"),
    "multi-label": (
        *("subset-accuracy", "hamming-loss", "label-f1", "label-f1-micro"),
        *("label-auroc", "mean-average-precision"),
    ),
    "token-classification": ("tag-accuracy", "tag-f1", "entity-f1", "entity-precision", "entity-recall"),
    "preference": ("preference-accuracy", "reward-margin", "preference-loss"),
    "text-generation": ("exact-match", "rouge-1", "rouge-2", "rouge-l", "bleu", "chrf"),
}

# The range of each metric that is not a share from 0 to 1.
_NO_BOUNDS, _FROM_ZERO, _TO_ONE = (-np.inf, np.inf), (0.0, np.inf), (-np.inf, 1.0)
_BOUNDS = {
    **dict.fromkeys(("mcc", "kappa"), (-1.0, 1.0)),
    **dict.fromkeys(("r2", "explained-variance"), _TO_ONE),
    **dict.fromkeys(
        ("log-loss", "brier", "preference-loss", "bleu", "chrf", "perplexity", "bits-per-byte"), _FROM_ZERO
    ),
    **{name: _FROM_ZERO for name in REGRESSION_METRICS if name not in ("r2", "explained-variance")},
    "reward-margin": _NO_BOUNDS,
}


def metric_bounds(name: str) -> tuple[float, float]:
    """Return the smallest and largest value a metric can take; infinite if unbounded or unknown."""
    return _BOUNDS.get(name, (0.0, 1.0)) if name in METRICS else _NO_BOUNDS


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
    return {**METRICS, **{point.name: _to_metric(point.load()) for point in points}}


def get_metric(name: str) -> Metric:
    """Return a metric by name, or a user's own by `package.module:function`."""
    return _custom_metric(name) if ":" in name else all_metrics()[name]


@cache
def _custom_metric(name: str) -> Metric:
    return _to_metric(load_dotted(name, "evaluation.metrics"))


def _to_metric(found: Metric | Callable[..., float]) -> Metric:
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


def resolve_metrics(task: str, asked: tuple[str, ...] | None, key: str = "evaluation.metrics") -> tuple[str, ...]:
    """Return the requested metrics, or the default ones of the task.

    Args:
        key: the recipe key that requests them.

    Raises:
        RecipeError: one is unknown or does not fit the task.
        ArgumentError: a user's own function cannot be loaded.
    """
    if asked is None:
        return DEFAULT_METRICS[task]
    fitting = [name for name, metric in all_metrics().items() if metric.task in (task, "")]
    for name in asked:
        if ":" in name:
            get_metric(name)
        elif name not in fitting:
            message = f"no metric {name!r} for {task}{suggestion(name, fitting)}"
            raise RecipeError(Problem("", key, message))
    return asked


def confusion_matrix(target: ClassTarget, predictions: Predictions) -> list[list[int]]:
    """Count the samples of each class (row) predicted as each class (column)."""
    size = len(target.labels)
    counts = np.bincount(predictions.y_true * size + predictions.predicted_classes, minlength=size * size).reshape(
        size, size
    )
    return [[int(count) for count in row] for row in counts]


def to_target_units(target: Supervised, outputs: np.ndarray) -> np.ndarray:
    """Convert a head's outputs to `Predictions.y_pred`: numbers to the target's units.

    Probabilities stay as they are.
    """
    if isinstance(target, NumericTarget):
        return outputs[:, 0].astype(np.float64) * target.std + target.mean
    return outputs
