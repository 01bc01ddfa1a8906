"""`check_task`: a target, a head and predictions that agree with one another."""

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from danlu.data.splits import Split
from danlu.errors import DanluError
from danlu.evaluation.predictions import build_predictions, predictions_frame, read_predictions
from danlu.metrics.base import Metric, Predictions, compute_values
from danlu.tasks.base import FitInputs, Target, Task
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.metric_table import all_metrics
from danlu.testing.options import options_of, require

if TYPE_CHECKING:
    from torch import Tensor

COLUMN = "answer"
LANGUAGES = ("en", "zh")
STEPS, RATE = 200, 0.05  # to lower the loss of free logits in
FALLS_TO = 0.9  # share of the first loss that is left after them, at most
NEAR = 1e-6  # relative, between figures of predictions and of the table they were written to


def check_task(task: Task | type[Task], values: pl.Series, *, seed: int = 0) -> None:
    """Check a task with a target column as danlu uses it.

    Its words and metrics exist; its target fits on the values, is the same after being written as JSON, and encodes
    every row; the loss is finite, additive over rows and falls when logits are free; predictions have a row per sample,
    keep their figures in the table of a run, and their errors can be ranked and described.

    Args:
        task: a class derived from `danlu.Task`, or options made from it.
        values: some answers as a column of data has them, 20 rows at least.
        seed: of the first logits.

    Raises:
        CheckFailed: with the first thing that is wrong.

    Example:
        >>> import polars as pl
        >>> from danlu.tasks.ordinal import Ordinal
        >>> from danlu.testing import check_task
        >>> check_task(Ordinal(order=("low", "middle", "high")), pl.Series(["low", "high", "middle", "low"] * 10))
    """
    options = Task.of(options_of(task, Task))
    label = type(options).__name__
    _check_words(options, label)
    split = Split.of(values.alias(COLUMN).to_frame())
    target = _fit(options, label, values)
    logits, encoded = _check_head(options, label, target, split.frame, seed)
    outputs = options.head(target).predict(logits, encoded).detach().numpy()
    _check_predictions(options, label, target, split, outputs)


def _check_words(task: Task, label: str) -> None:
    missing = [language for language in LANGUAGES if not task.words.get(language, {}).get("name")]
    require(not missing, f"{label}: words has no name for {' and '.join(missing)}")
    unknown = [name for name in task.default_metrics if name not in _known_metrics(task)]
    require(not unknown, f"{label}: default_metrics names {', '.join(unknown)}, which is no metric")
    require(task.main_metric in task.default_metrics, f"{label}: main_metric is not among default_metrics")


def _fit(task: Task, label: str, values: pl.Series) -> Target:
    """Fit the target, and require that it survives a bundle."""
    try:
        target = task.fit_target(FitInputs(values, COLUMN, "the values given"))
    except DanluError as error:
        require(False, f"{label}: fit_target refuses the values: {error}")
        raise
    require(target.task == task.name, f"{label}: its target says task {target.task!r}, not {task.name!r}")
    again = task.target_class.model_validate_json(target.model_dump_json())
    require(again == target, f"{label}: its target is another one after being written as JSON")
    require(target.columns == (COLUMN,), f"{label}: its target reads {target.columns}; expected its one column")
    return target


def _check_head(task: Task, label: str, target: Target, frame: pl.DataFrame, seed: int) -> "tuple[Tensor, Tensor]":
    """Require a loss that adds up and falls; return lowered logits and the target."""
    import torch

    head, encoded = task.head(target), target.encode(frame)
    require(len(encoded) == frame.height, f"{label}: encode gives {len(encoded)} rows for {frame.height}")
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(frame.height, target.outputs, generator=generator).requires_grad_()
    first, count = head.loss(logits, encoded, LossWeighting())
    require(bool(torch.isfinite(first)), f"{label}: the loss of random logits is {float(first.detach())}")
    require(count == head.num_targets(encoded), f"{label}: the loss counts {count} targets, num_targets {len(encoded)}")
    half = frame.height // 2
    parts = sum(float(head.loss(logits[rows], encoded[rows], LossWeighting())[0]) for rows in _halves(half))
    require(bool(np.isclose(parts, float(first), rtol=1e-4)), f"{label}: the loss is no sum over rows")
    optimizer = torch.optim.Adam([logits], lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        head.loss(logits, encoded, LossWeighting())[0].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    last = float(head.loss(logits, encoded, LossWeighting())[0])
    require(
        last <= FALLS_TO * float(first),
        f"{label}: free logits lower the loss from {float(first):.4g} to {last:.4g} only",
    )
    return logits.detach(), encoded


def _halves(half: int) -> tuple[slice, slice]:
    return slice(None, half), slice(half, None)


def _check_predictions(task: Task, label: str, target: Target, split: Split, outputs: np.ndarray) -> None:
    """Require predictions that survive a run's table, and errors with a description."""
    decoded = target.decode(outputs)
    require(decoded.height == len(split), f"{label}: decode gives {decoded.height} rows for {len(split)}")
    built = build_predictions(split, target, outputs, None)
    table = predictions_frame(split, built, decoded, target)
    read = read_predictions(task, table, task.labels_of_parts(target))
    first, again = _figures(task, built), _figures(task, read)
    require(bool(first), f"{label}: none of its metrics has a value for learned predictions")
    off = [name for name, value in first.items() if not np.isclose(value, again.get(name, np.nan), rtol=NEAR)]
    require(not off, f"{label}: {', '.join(off)} differs after the predictions were written to a table and read back")
    blank = task.blank_predictions(target)
    shapes = blank.y_true.shape, blank.y_pred.shape
    expected = (1, *built.y_true.shape[1:]), (1, *built.y_pred.shape[1:])
    require(shapes == expected, f"{label}: blank_predictions has the shapes {shapes}; expected {expected}")
    scores = task.score_errors(table)
    require(
        len(scores.severity) == len(split), f"{label}: score_errors scores {len(scores.severity)} of {len(split)} rows"
    )
    told = task.describe_error(table, 0)
    require({"truth", "answer"} <= set(told), f"{label}: describe_error lacks truth or answer")


def _known_metrics(task: Task) -> dict[str, Metric]:
    """Return the metrics of the task, which no table may list yet, and all others."""
    return {**task.own_metrics, **all_metrics()}


def _figures(task: Task, predictions: Predictions) -> dict[str, Any]:
    known = _known_metrics(task)
    found = compute_values({name: known[name] for name in task.default_metrics}, predictions)
    return {name: value for name, value in found.items() if np.isfinite(value)}
