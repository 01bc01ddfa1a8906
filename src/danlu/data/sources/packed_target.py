"""Targets in several columns or in lists -> one column, as the task that reads them asks."""

from dataclasses import dataclass, replace

import polars as pl

from danlu.data.descriptors import RawData
from danlu.data.frames import Table, collect_like
from danlu.data.messages import reason
from danlu.errors import DataError, Problem, RecipeError
from danlu.recipe.sections.data import Data
from danlu.tasks.base import TargetSource, Task
from danlu.tasks.table import all_tasks


@dataclass(frozen=True)
class PackedSource:
    """Hold raw data whose target has become one column.

    Attributes:
        target: the column.
        task: the task that packed it.
        reason: why the data is taken to be of this task.
    """

    source: RawData
    target: str
    task: Task
    reason: str


def pack_target(source: RawData, section: Data, *, learns: bool = True) -> PackedSource | None:
    """Combine the target columns into one; return None where the target is a plain column.

    Args:
        learns: whether a model is to learn from the rows; one that is judged by them needs no label in any.

    Raises:
        DataError: a column holds what its task cannot read.
        RecipeError: `data.task` takes no such target.
    """
    target, separator = section.target, section.target_separator
    if target is None:
        if separator is not None:
            raise DataError(
                f"{source.origin}: data.target_separator splits a column; name the column in data.target", code="DL225"
            )
        return None
    names = target if isinstance(target, tuple) else (target,)
    frame, is_asked = source.frame, section.task is not None
    given = TargetSource(
        names, isinstance(target, tuple), frame.schema, frame.__getitem__, separator, is_asked, source.origin, learns
    )
    for task in _asked_tasks(section):
        packed = task.pack_target(given)
        if packed is not None:
            kept = [name for name in frame.columns if name not in names]
            changed = _with_column(frame, packed.column, [*kept, packed.name] if given.is_several else frame.columns)
            key, values = packed.reason
            return PackedSource(replace(source, frame=changed), packed.name, task, reason(key, **values))
    return None


def _asked_tasks(section: Data) -> list[Task]:
    """Return the tasks that may pack the target: the recipe's, or all in turn.

    Raises:
        RecipeError: the recipe's task takes one column, or no separator.
    """
    if section.task is None:
        return all_tasks()
    asked = Task.of(section.task)
    if isinstance(section.target, tuple) and not asked.takes_columns:
        able = " or ".join(task.name for task in all_tasks() if task.takes_columns)
        message = f"{asked} takes one target column, and data.target lists several; use {able}, or name one column"
        raise RecipeError(Problem("", "data.task", message, code="DL115"))
    if section.target_separator is not None and not asked.takes_separator:
        able = " or ".join(task.name for task in all_tasks() if task.takes_separator)
        message = f"applies only to {able}; data.task says {asked}"
        raise RecipeError(Problem("", "data.target_separator", message, code="DL115"))
    return [asked]


def _with_column(table: Table, column: pl.Expr, names: list[str]) -> Table:
    """Add or replace a column of the table, and keep these."""
    changed = table.lazy().with_columns(column).select(names)
    return collect_like(table, changed)
