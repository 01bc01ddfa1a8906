"""A frame with its meaning: kind of data, task, target, and the columns a model is given.

In: a Source and the recipe's `data` section. Out: a Dataset, or a DataError that says what is wrong with the data.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import polars as pl

from danlu.core.console import say
from danlu.core.errors import DataError
from danlu.core.names import suggestion
from danlu.data.columns import Column, infer_columns
from danlu.data.images.check import unreadable
from danlu.data.place import Source
from danlu.data.sources import read_source
from danlu.recipe.sections import Data, Task

Kind = Literal["tabular", "image", "text", "corpus"]
CLASSES_OF_INTEGERS = 20  # a whole-number target with more different values than this is a quantity


@dataclass(frozen=True)
class Dataset:
    """What a recipe's `data` section means, before anything is split or learned.

    Attributes:
        frame: one sample a row.
        columns: every column but the target, with its type and the reason.
        kind: which preparation and which models fit.
        task: what is predicted; `task_reason` says how that is known.
        target: the column to predict; None for language modelling.
        origin: how errors name the data.
        folder: what relative image paths are relative to.
    """

    frame: pl.DataFrame
    columns: tuple[Column, ...]
    kind: Kind
    task: Task
    task_reason: str
    target: str | None
    origin: str
    folder: Path

    @property
    def used(self) -> tuple[Column, ...]:
        """The columns that the model is given."""
        return tuple(column for column in self.columns if column.used)

    @property
    def content(self) -> str:
        """The one column of an image or text set."""
        return self.used[0].name


def open_dataset(section: Data) -> Dataset:
    """Read the data and find out what it is.

    Raises:
        DataError: the data is missing, unreadable, or contradicts the recipe.
    """
    dataset = interpret(read_source(section.source, section.missing_values), section)
    skips = dataset.kind == "image" and section.clean.broken == "skip"
    return _without_unreadable(dataset) if skips else dataset


def _without_unreadable(dataset: Dataset) -> Dataset:
    """Leave out the rows whose image cannot be read.

    Raises:
        DataError: none can be.
    """
    broken = unreadable(dataset.frame[dataset.content].to_list(), dataset.folder)
    if not broken:
        return dataset
    height, first = dataset.frame.height, broken[0][1]
    if len(broken) == height:
        raise DataError(f"{dataset.origin}: none of the {height:,} images can be read; the first: {first}")
    say(f"{dataset.origin}: left out {len(broken):,} of {height:,} images that cannot be read; the first: {first}")
    out = pl.Series([row for row, _ in broken])
    return replace(dataset, frame=dataset.frame.filter(~pl.int_range(height, eager=True).is_in(out.implode())))


def interpret(source: Source, section: Data) -> Dataset:
    """Give a source its meaning.

    Raises:
        DataError: a named column does not exist, the target is unusable, or a column is of mixed types.
    """
    target = section.target or (source.target if section.task != "language-modelling" else None)
    named = [*section.columns, *filter(None, (section.target, section.text, section.image)), *_split_columns(section)]
    for name in named:
        if name not in source.frame.columns:
            near = suggestion(name, source.frame.columns)
            raise DataError(f"{source.origin}: no column {name!r}{near}")
    helpers = set(_split_columns(section))
    features = source.frame.drop(target) if target else source.frame
    columns = _choose(infer_columns(features, section.columns, source.origin), section, source, helpers)
    kind, columns = _kind(columns, section, source)
    task, reason = _task(source, target, section, kind)
    return Dataset(source.frame, columns, kind, task, reason, target, source.origin, source.folder)


def _split_columns(section: Data) -> list[str]:
    """The columns that decide the split; they are not given to the model."""
    column = getattr(section.split.by, "column", None)
    return [column] if column else []


def _choose(columns: tuple[Column, ...], section: Data, source: Source, helpers: set[str]) -> tuple[Column, ...]:
    """Apply what the recipe says of single columns: the text, the image, those that decide the split."""
    chosen: list[Column] = []
    for column in columns:
        if column.name == section.text:
            column = column.model_copy(update={"type": "text", "used": True, "reason": "said in the recipe"})
        elif column.name == section.image:
            column = column.model_copy(update={"type": "image", "used": True, "reason": "said in the recipe"})
        elif column.name in helpers:
            column = column.model_copy(update={"used": False, "reason": "decides the split"})
        elif source.layout == "corpus" and column.name == "document":
            column = column.model_copy(update={"type": "identifier", "used": False, "reason": "names the document"})
        elif source.layout == "corpus" and column.name == "text":
            column = column.model_copy(update={"type": "text", "used": True, "reason": "the corpus"})
        chosen.append(column)
    return tuple(chosen)


def _kind(columns: tuple[Column, ...], section: Data, source: Source) -> tuple[Kind, tuple[Column, ...]]:
    """The kind of data, and the columns with those it cannot use marked so."""
    used = [column for column in columns if column.used]
    images = [column for column in used if column.type == "image"]
    texts = [column for column in used if column.type == "text"]
    if section.text or source.layout == "corpus" or section.task == "language-modelling":
        text = section.text or (texts[0].name if texts else None)
        if text is None:
            raise DataError(f"{source.origin}: no column of text for language modelling; name it with data.text")
        corpus = section.task == "language-modelling" or source.layout == "corpus"
        return ("corpus" if corpus else "text"), _only(columns, text, "only the text is used")
    if section.image or images:
        return "image", _only(columns, section.image or images[0].name, "only the image is used")
    if texts and len(texts) == len(used):
        return "text", _only(columns, texts[0].name, f"only the text {texts[0].name!r} is used")
    reason = "free text beside other columns is not used by a tabular model; to learn from it, say data.text"
    columns = tuple(
        column.model_copy(update={"used": False, "reason": reason}) if column.type == "text" else column
        for column in columns
    )
    if not any(column.used for column in columns):
        raise DataError(f"{source.origin}: no column to learn from: {_reasons(columns)}")
    return "tabular", columns


def _reasons(columns: tuple[Column, ...]) -> str:
    return "; ".join(f"{column.name} ({column.reason})" for column in columns) or "there is only the target"


def _only(columns: tuple[Column, ...], name: str, reason: str) -> tuple[Column, ...]:
    return tuple(
        column.model_copy(update={"used": False, "reason": reason}) if column.name != name and column.used else column
        for column in columns
    )


def _task(source: Source, target: str | None, section: Data, kind: Kind) -> tuple[Task, str]:
    """The task and why; checks that the target can be learned."""
    if kind == "corpus":
        return "language-modelling", "said in the recipe" if section.task else "the source is a corpus"
    if target is None:
        columns = ", ".join(source.frame.columns)
        raise DataError(f"{source.origin}: say which column to predict with data.target (columns: {columns})")
    values = source.frame[target]
    absent = values.null_count() + (int(values.is_nan().sum()) if values.dtype.is_float() else 0)
    if absent:
        raise DataError(
            f"{source.origin}: the target {target!r} is missing in {absent} of {len(values)} rows; "
            "give them a value or remove them: nothing can be learned from a row without an answer"
        )
    distinct = values.n_unique()
    if distinct == 1:
        raise DataError(f"{source.origin}: the target {target!r} is {values[0]!r} in every row; nothing to learn")
    if section.task is not None:
        if section.task == "regression" and not values.dtype.is_numeric():
            raise DataError(f"{source.origin}: regression needs numbers, but the target {target!r} is {values.dtype}")
        return section.task, "said in the recipe"
    if not values.dtype.is_numeric():
        if distinct > max(CLASSES_OF_INTEGERS, len(values) // 2):
            raise DataError(
                f"{source.origin}: the target {target!r} has {distinct} different words in {len(values)} rows; "
                "is it the right column?"
            )
        return "classification", f"the target has {distinct} different words"
    whole = values.dtype.is_integer() or bool((values == values.round()).all())
    if whole and distinct <= CLASSES_OF_INTEGERS:
        return "classification", f"the target has {distinct} different whole numbers"
    return "regression", f"the target has {distinct} different numbers"
