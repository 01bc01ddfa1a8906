"""A frame with its meaning: kind of data, task, target, and the columns a model is given.

`interpret` makes one from raw data and the recipe's `data` section.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from danlu.data.columns import Column
from danlu.data.file_form import FileForm
from danlu.data.frames import Table
from danlu.data.kind import DataKind
from danlu.data.questions import Question
from danlu.data.reading.reading import Reading
from danlu.tasks.base import Task


@dataclass(frozen=True)
class Dataset:
    """Hold the data and its meaning, before anything is split or learned.

    Attributes:
        frame: one sample per row.
        columns: every column but the target, with its type and the reason.
        kind: decides preparation, defaults and which models fit.
        task: what is predicted; `task_reason` says why.
        target: the column to predict (JSON text where rows have several labels); None for language modelling.
        origin: how errors name the data.
        folder: what relative image paths are relative to.
        form: how the files were read.
        target_readings: how words to predict become numbers, by column.
        questions: what the recipe must answer before anything is trained.
        gray_levels: black and white of images with 16-bit gray, once they are learned from the training split.
        split_column: the column by which the source itself is split; None leaves the split to the recipe.
        weight_column: the column that says how often training reads a row; None for once.
    """

    frame: Table
    columns: tuple[Column, ...]
    kind: DataKind
    task: Task
    task_reason: str
    target: str | None
    origin: str
    folder: Path
    form: FileForm = field(default_factory=FileForm)
    questions: tuple[Question, ...] = ()
    split_column: str | None = None
    weight_column: str | None = None
    gray_levels: tuple[int, int] | None = None
    target_readings: Mapping[str, Reading] = field(default_factory=dict)

    @cached_property
    def used(self) -> tuple[Column, ...]:
        """The columns that the model is given."""
        return tuple(column for column in self.columns if column.used)

    @property
    def content(self) -> str:
        """The one column of an image or text set."""
        return self.used[0].name
