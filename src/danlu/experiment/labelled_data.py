"""Labelled rows from elsewhere -> a Dataset as the model's own training data was, to judge the model on.

Nothing is inferred from these rows: kind, task, target and the types of columns are those of the training, so that a
file of few rows, of one class or with other columns beside is judged by the same rules.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import polars as pl

from danlu.core.text import suggestion
from danlu.data.columns import Column, missing_values
from danlu.data.dataset import Dataset
from danlu.data.descriptors import RawData
from danlu.data.frames import Table, collect_like, take_rows, with_words
from danlu.data.kind import DataKind
from danlu.data.reading.later import ROW_ERROR
from danlu.data.reading.spelling import as_words, match
from danlu.data.sources.packed_target import pack_target
from danlu.errors import DataError
from danlu.recipe.sections.data import Data
from danlu.tasks.base import ColumnTarget, Label, Target, Task
from danlu.tasks.classification import ClassTarget, labels_dtype
from danlu.tasks.multi_label import MultiLabelTarget, read_labels
from danlu.tasks.regression import NumericTarget
from danlu.tasks.table import number_columns
from danlu.tasks.tagging import TagTarget

MAX_NAMED = 5  # unknown labels that an error names


@dataclass(frozen=True)
class LabelledData:
    """Hold the rows that a model is judged on.

    Attributes:
        dataset: all rows of the source.
        rows: positions of those that are judged, [rows].
    """

    dataset: Dataset
    rows: np.ndarray


def read_labelled(
    source: RawData, kind: DataKind, target: Target, section: Data, columns: Sequence[Column]
) -> LabelledData:
    """Bring rows into the form that the model's training data had.

    Args:
        source: as read.
        kind: of the model's data.
        target: what the model predicts.
        section: the resolved `data` section of the model's recipe.
        columns: of the training data; those that are missing here are left out.

    Raises:
        DataError: the target is missing, holds a label that the model does not know, or cannot be read.
    """
    read = kind.read(source, section)
    source = kind.read_samples(read, [each.name for each in columns if each.used]) if read is source else read
    source = replace(source, frame=with_words(source.frame))
    _refuse_unreadable(source, number_columns(target))
    if isinstance(target, ColumnTarget):
        source = _with_target(source, target, section)
        rows = _answered_rows(source, target.column, section)
        _check_answers(source, target, rows)
    else:
        rows = np.arange(source.frame.height)
    rows = _without_errors(source, rows)
    known = tuple(column for column in columns if column.name in source.frame.columns)
    name = target.column if isinstance(target, ColumnTarget) else None
    dataset = Dataset(source.frame, known, kind, Task.of(section.task), "", name, source.origin, source.folder)
    return LabelledData(dataset, _readable_rows(dataset, rows))


def _with_target(source: RawData, target: ColumnTarget, section: Data) -> RawData:
    """Return the source with its target as one column, of the type in training."""
    names = section.target if isinstance(section.target, tuple) else (section.target or target.column,)
    for name in names:
        if name not in source.frame.columns:
            raise DataError(
                f"{source.origin}: no column {name!r}, which holds what the model predicts; a model is judged on rows "
                f"whose answer is known{suggestion(name, source.frame.columns)}",
                code="DL210",
            )
    packed = pack_target(source, section, learns=False) if source.layout != "words" else None
    if packed is not None:
        frame = packed.source.frame
        others = [name for name in frame.columns if name != target.column or name == packed.target]
        return replace(packed.source, frame=_renamed(frame, others, packed.target, target.column))
    values = source.frame[target.column]
    if isinstance(target, ClassTarget):
        answers = _as_labels(values, target.labels)
    elif isinstance(target, NumericTarget):
        answers = _as_numbers(values, source.origin)
    else:
        return source
    return source if answers is values else _with_column(source, answers)


def _renamed(table: Table, kept: list[str], name: str, to: str) -> Table:
    changed = table.lazy().select(kept).rename({name: to})
    return collect_like(table, changed)


def _with_column(source: RawData, values: pl.Series) -> RawData:
    """Return the source with one column in place of that of its name."""
    if values.dtype == source.frame.schema[values.name] and values.equals(source.frame[values.name]):
        return source
    return replace(source, frame=source.frame.lazy().collect().with_columns(values))


def _as_labels(values: pl.Series, labels: tuple[Label, ...]) -> pl.Series:
    """Return a column in the type of the labels; words if a value is none.

    A label is known by what it means: a file may write 1 as 1.0, and true as TRUE.
    """
    dtype = labels_dtype(labels)
    if values.dtype == pl.Null or (values.dtype == dtype and dtype != pl.String):
        return values
    names = [str(pl.Series([label], dtype=dtype).cast(pl.String)[0]) for label in labels]
    words = as_words(values)
    found = match(words, names)
    if found.null_count() > words.null_count():
        return found.fill_null(words)
    return found.replace_strict(pl.Series(names), pl.Series(labels, dtype=dtype), return_dtype=dtype)


def _as_numbers(values: pl.Series, origin: str) -> pl.Series:
    """Return a column as floats.

    Raises:
        DataError: it holds words that are no numbers.
    """
    if values.dtype == pl.Float64:
        return values
    plain = values.str.strip_chars() if values.dtype == pl.String else values
    numbers = plain.cast(pl.Float64, strict=False)
    wrong = numbers.is_null() & values.is_not_null()
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(
            f"{origin}: the target {values.name!r} holds {values[row]!r} in row {row + 1}, which is no number; correct "
            f"it ({wrong.sum():,} of {len(values):,} rows are like it)",
            code="DL211",
        )
    return numbers


def _answered_rows(source: RawData, target: str, section: Data) -> np.ndarray:
    """Return the rows whose answer is known; others must be allowed by the recipe."""
    absent = missing_values(source.frame[target])
    if absent.all():
        raise DataError(f"{source.origin}: the target {target!r} is missing in every row", code="DL222")
    if absent.any() and section.clean.unlabelled == "fail":
        raise DataError(
            f"{source.origin}: the target {target!r} is missing in {absent.sum():,} of {len(absent):,} rows, and "
            "nothing can be judged without an answer; give them a value or leave them out",
            code="DL222",
        )
    return np.flatnonzero(~absent)


def _check_answers(source: RawData, target: ColumnTarget, rows: np.ndarray) -> None:
    """Raise DataError for labels that the model does not know."""
    if not isinstance(target, ClassTarget | MultiLabelTarget | TagTarget):
        return
    values = source.frame[target.column].gather(rows)
    held: Iterable[object] = values.unique().to_list()
    if not isinstance(target, ClassTarget):
        held = dict.fromkeys(chain.from_iterable(read_labels(str(text)) for text in held))
    known = set(target.labels)
    unknown = sorted({str(label) for label in held if label not in known})
    if not unknown:
        return
    shown = ", ".join(map(repr, unknown[:MAX_NAMED])) + (" …" if len(unknown) > MAX_NAMED else "")
    count = int(values.cast(pl.String).is_in(unknown).sum()) if isinstance(target, ClassTarget) else 0
    where = f" in {count:,} of {len(values):,} rows" if count else ""
    raise DataError(
        f"{source.origin}: the target {target.column!r} holds {shown}{where}, which the model never learned (it knows "
        f"{', '.join(map(str, target.labels[:20]))}); correct or remove these rows, or train with them",
        code="DL227",
    )


def _refuse_unreadable(source: RawData, answers: Sequence[str]) -> None:
    """Raise DataError for a word that is no number where the answer should stand."""
    if ROW_ERROR not in source.frame.columns:
        return
    errors = source.frame[ROW_ERROR]
    for name in answers:
        wrong = errors.str.starts_with(f"DL211: column {name!r}:").fill_null(value=False)
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            raise DataError(
                f"{source.origin}: the target {name!r} in row {row + 1}: {errors[row].rpartition(f'{name!r}: ')[2]}; "
                f"correct it ({wrong.sum():,} of {len(errors):,} rows are like it)",
                code="DL211",
            )


def _without_errors(source: RawData, rows: np.ndarray) -> np.ndarray:
    """Leave out rows that hold a word which is no value of its column.

    Raises:
        DataError: there is no other row.
    """
    if ROW_ERROR not in source.frame.columns:
        return rows
    errors = source.frame[ROW_ERROR].gather(rows)
    wrong = errors.drop_nulls()
    if len(wrong) == len(rows):
        said = str(wrong[0]).partition(": ")[2]
        alike = f"{len(wrong):,} of {len(rows):,} rows hold such a word"
        raise DataError(f"{source.origin}: {said}; correct it ({alike})", code="DL211")
    return np.asarray(rows[errors.is_null().to_numpy()])


def _readable_rows(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Leave out images that cannot be read.

    Raises:
        DataError: none can.
    """
    if not dataset.kind.refers_to_files:
        return rows
    from danlu.data.images.decode import find_unreadable

    references = take_rows(dataset.frame.select([dataset.content]), rows)[dataset.content].to_list()
    broken = find_unreadable(references, dataset.folder)
    if broken and len(broken) == len(rows):
        raise DataError(f"{dataset.origin}: {broken[0][1]} (like all of its images)", code="DL230")
    return np.delete(rows, [place for place, _ in broken])
