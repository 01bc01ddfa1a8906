"""Find out what raw data means: the kind of data, the task, the target, and the columns a model is given.

In: RawData and the recipe's `data` section. Out: a Dataset, or a DataError that says what is wrong with the data.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import polars as pl

from danlu.core.text import suggestion
from danlu.data.column_names import refuse_patterns
from danlu.data.columns import Column, infer_columns, missing_values
from danlu.data.dataset import Dataset
from danlu.data.descriptors import RawData
from danlu.data.file_form import FileForm, ReadOptions
from danlu.data.frames import as_plain_numbers, wide_integers_as_words, with_words
from danlu.data.kind import DataKind
from danlu.data.kinds.table import iter_kinds
from danlu.data.messages import reason
from danlu.data.questions import Question
from danlu.data.reading.apply import read_columns, refuse_beyond_float32, typed
from danlu.data.reading.formats import Formats, ask, reading_of
from danlu.data.reading.missing import without_missing
from danlu.data.reading.reading import Reading
from danlu.data.reading.target import as_labels, as_numbers, as_ordered, settled_target, styles_of, target_formats
from danlu.data.sources.chat_forms import PAGE
from danlu.data.sources.packed_target import PackedSource, pack_target
from danlu.data.sources.reader import read_source
from danlu.errors import DataError
from danlu.recipe.sections.data import Data
from danlu.tasks.base import LARGEST_TARGET, Task
from danlu.tasks.classification import Classification
from danlu.tasks.regression import Regression

CLASSES_OF_INTEGERS = 20  # an integer target with more distinct values than this is numeric


def open_dataset(section: Data, fold_columns: Sequence[str] = ()) -> Dataset:
    """Read the data and infer its meaning.

    Args:
        section: the recipe's.
        fold_columns: columns that assign rows to folds; like those that decide the split, they are not features.

    Raises:
        DataError: the data is missing, unreadable, or contradicts the recipe.
    """
    return interpret(read_source(section.source, read_options(section)), section, fold_columns)


def read_options(section: Data) -> ReadOptions:
    """Return what a recipe says of how its files are read.

    A target and columns that are said to be words keep the spelling of the file.
    """
    target = section.target if isinstance(section.target, tuple) else (section.target,)
    worded = [name for name in section.columns if section.options_of(name).type in ("category", "text", "identifier")]
    words = frozenset([*filter(None, target), *worded])
    return ReadOptions(section.missing_values, section.encoding, section.skip_rows, words, section.class_folder)


def interpret(source: RawData, section: Data, fold_columns: Sequence[str] = ()) -> Dataset:
    """Infer the meaning of raw data.

    Raises:
        DataError: a named column does not exist, the target is unusable, or a column has mixed types.
    """
    for each in iter_kinds():
        source = each.read(source, section)
    refuse_patterns(source.frame.columns, source.origin)
    source = take_out_missing(source, section.missing_values)
    ordered = section.target if section.task is not None and _asked(section).has_order else None
    source = replace(source, frame=with_words(source.frame, but=ordered if isinstance(ordered, str) else None))
    said = section.target if isinstance(section.target, tuple) else (section.target,)
    helpers = [*_split_columns(section), *fold_columns, *filter(None, [source.split_column, source.weight_column])]
    named = [
        *section.columns,
        *(name for name in (*said, section.text, section.image) if name is not None),
        *helpers,
    ]
    for name in named:
        if name not in source.frame.columns:
            near = suggestion(name, source.frame.columns)
            raise DataError(f"{source.origin}: no column {name!r}{near}{_not_told_apart(source, name)}", code="DL210")
    by_layout = source.target if section.task is None or _asked(section).has_target else None
    _require_one_role(section, section.target or by_layout, fold_columns, source.origin)
    target_readings: dict[str, Reading] = {}
    asked: tuple[Question, ...] = ()
    written = source.form.separator is not None
    styles = cache(partial(styles_of, source.frame, source.frame.columns, section.options_of, written))
    shown = styles_of(source.frame, [name for name in said if name is not None], section.options_of, written)
    if isinstance(section.target, tuple):
        frame = as_labels(source.frame, section.target)
        several = {
            name: settled_target(target_formats(frame[name], section.options_of(name)), styles)
            for name in section.target
        }
        frame, target_readings, asked = as_numbers(frame, several, source.origin)
        source = replace(source, frame=frame)
    if isinstance(ordered, str):
        numbered = settled_target(target_formats(source.frame[ordered], section.options_of(ordered)), styles)
        source = replace(source, frame=as_ordered(source.frame, ordered, numbered))
    packed = pack_target(source, section) if source.layout != "words" else None
    source = source if packed is None else packed.source
    target = packed.target if packed else str(section.target) if section.target else by_layout
    if target and source.frame.schema[target].is_decimal():  # plain numbers, but Python's operators reject them
        source = replace(source, frame=as_plain_numbers(source.frame, target))
    _require_content(source, section)
    features = source.frame.select([name for name in source.frame.columns if name != target])
    options = {name: section.options_of(name) for name in section.columns}
    inferred, questions = infer_columns(features, options, source.origin, source.added, shown)
    columns = _with_missing_words(_choose(inferred, section, source, set(helpers)), source.form)
    kind, columns = _recognize(columns, section, source)
    formats = settled_target(_target_formats(source, target, section, kind, packed), styles)
    task, why = _task(source, target, section, kind, packed, formats)
    if target is not None and not task.learns_numbers:
        source = replace(source, frame=wide_integers_as_words(source.frame, target))
    readings = {column.name: (column.type, column.reading) for column in columns}
    if target is not None and task.learns_numbers and formats:
        target_readings = {target: reading_of(formats)}
        readings[target] = ("number", target_readings[target])
        if len(formats) > 1:
            questions = (*questions, ask(target, formats, source.frame[target].drop_nulls()))
    frame = read_columns(source.frame, readings, source.origin)
    numbers = [column.name for column in columns if column.used and column.type == "number"]
    refuse_beyond_float32(frame, numbers, source.origin)
    return Dataset(
        frame=frame,
        columns=columns,
        kind=kind,
        task=task,
        task_reason=why,
        target=target,
        origin=source.origin,
        folder=source.folder,
        form=source.form,
        questions=(*source.questions, *asked, *questions),
        split_column=source.split_column,
        target_readings=target_readings,
        weight_column=source.weight_column,
    )


def take_out_missing(source: RawData, words: Sequence[str]) -> RawData:
    """Replace words that stand for a missing value, and note which ones occurred."""
    if source.layout != "table":
        return source
    frame, found = without_missing(source.frame, words, source.form.text_is_clean)
    known = source.form.missing_words
    together = {name: tuple(sorted({*known.get(name, ()), *found.get(name, ())})) for name in {*known, *found}}
    return replace(source, frame=frame, form=replace(source.form, missing_words=together))


def _not_told_apart(source: RawData, name: str) -> str:
    """Say why a column may be missing: the file was not told apart."""
    columns = source.frame.columns
    if source.layout == "corpus":
        return "; a .txt file is read as text, so rename it to .csv or .tsv if it is a table"
    if len(columns) == 1 and name in re.split(r'[\s"]+', columns[0]):
        return "; values may be separated by single spaces where all rows have as many; correct those that have not"
    return ""


def _with_missing_words(columns: tuple[Column, ...], form: FileForm) -> tuple[Column, ...]:
    """Note in each column's reading which words were missing values."""
    return tuple(
        column.model_copy(
            update={"reading": column.reading.model_copy(update={"missing_words": form.missing_words[column.name]})}
        )
        if column.name in form.missing_words
        else column
        for column in columns
    )


def _target_formats(
    source: RawData, target: str | None, section: Data, kind: DataKind, packed: PackedSource | None
) -> Formats:
    """Return the ways in which a target of words is numbers."""
    if target is None or packed is not None or kind.own_task is not None:
        return ()
    if section.task is not None and not _asked(section).learns_numbers:
        return ()
    return target_formats(source.frame[target], section.options_of(target))


def _split_columns(section: Data) -> list[str]:
    """Return the columns that decide the split; they are not given to the model."""
    column = getattr(section.split.by, "column", None)
    return [column] if column else []


def _require_one_role(
    section: Data, target: str | tuple[str, ...] | None, fold_columns: Sequence[str], origin: str
) -> None:
    """Raise DataError if the recipe names a column for two things that it cannot be.

    A single target may decide the split or the folds; several become one column, of which nothing else knows.
    """
    several = target if isinstance(target, tuple) else ()
    roles = [("data.text", section.text), ("data.image", section.image)]
    roles += [("data.split.by", name) for name in _split_columns(section) if name in several]
    roles += [("evaluation.folds", name) for name in fold_columns if name in several]
    for key, name in roles:
        if name is not None and name in (several or (target,)):
            raise DataError(
                f"{origin}: {key} names {name!r}, which is {'a' if several else 'the'} target; name another column, or "
                "leave it out of data.target",
                code="DL212",
            )
    if section.text is not None and section.text == section.image:
        raise DataError(
            f"{origin}: data.text and data.image both name {section.text!r}; keep the one that it holds", code="DL212"
        )


def _require_content(source: RawData, section: Data) -> None:
    """Raise DataError if the column of texts or images holds plain numbers."""
    for key, name in (("text", section.text), ("image", section.image)):
        if name is None:
            continue
        held = source.frame.schema[name]
        if held.is_numeric() or held.is_temporal() or held == pl.Boolean:
            raise DataError(
                f"{source.origin}: data.{key} names {name!r}, which holds {held}; name a column of {key}s", code="DL211"
            )


def _choose(columns: tuple[Column, ...], section: Data, source: RawData, helpers: set[str]) -> tuple[Column, ...]:
    """Apply the recipe's options of the text, the image and the splitting columns."""
    chosen: list[Column] = []
    for column in columns:
        if column.name == section.text:
            column = column.model_copy(update={"type": "text", "used": True, "reason": reason("said")})
        elif column.name == section.image:
            column = column.model_copy(update={"type": "image", "used": True, "reason": reason("said")})
        elif column.name in helpers:
            column = column.model_copy(update={"used": False, "reason": reason("splits")})
        else:
            for kind in iter_kinds():
                column = kind.mark(column, section, source)
        chosen.append(column)
    return tuple(chosen)


def _recognize(columns: tuple[Column, ...], section: Data, source: RawData) -> tuple[DataKind, tuple[Column, ...]]:
    """Return the first kind that claims the data, and the columns it uses."""
    for kind in iter_kinds():
        claimed = kind.recognize(columns, section, source)
        if claimed is not None:
            return kind, claimed
    raise DataError(
        f"{source.origin}: is data of no known kind ({', '.join(kind.name for kind in iter_kinds())})", code="DL202"
    )


def _asked(section: Data) -> Task:
    """Return the task that the recipe names."""
    return Task.of(section.task)


def _task(
    source: RawData,
    target: str | None,
    section: Data,
    kind: DataKind,
    packed: PackedSource | None,
    formats: Formats,
) -> tuple[Task, str]:
    """Return the task and the reason.

    Args:
        formats: ways in which the target's words are numbers.
    """
    if kind.own_task is not None:
        return kind.own_task, reason("said" if section.task else kind.own_task_reason)
    if target is None:
        columns = ", ".join(source.frame.columns)
        talk = all(dtype == pl.String or dtype.is_nested() for dtype in source.frame.schema.values())
        others = f"; of conversations, {PAGE} shows the known forms" if talk else ""
        raise DataError(
            f"{source.origin}: say which column to predict with data.target (columns: {columns}){others}", code="DL220"
        )
    values = source.frame[target]
    if formats:
        values = values.to_frame().select(typed(target, values.dtype, "number", reading_of(formats))).to_series()
    values = _answers(values, source.origin, section, source.form.missing_words.get(target, ()))
    if packed is not None:
        packed.task.check_values(values, source.origin)
        return packed.task, packed.reason
    if section.task is not None:
        _asked(section).check_values(values, source.origin)
        return _asked(section), reason("said")
    return _inferred(values, source.origin)


def _inferred(values: pl.Series, origin: str) -> tuple[Task, str]:
    """Infer the task from a target's values, with the reason."""
    distinct = values.n_unique()
    if not values.dtype.is_numeric():
        if distinct > max(CLASSES_OF_INTEGERS, len(values) // 2):
            raise DataError(
                f"{origin}: the target {values.name!r} has {distinct} different words in {len(values)} rows; "
                "is it the right column?",
                code="DL223",
            )
        return Classification(), reason("task.words", distinct=distinct)
    whole = values.dtype.is_integer() or bool((values == values.round()).all())
    if whole and distinct <= CLASSES_OF_INTEGERS:
        return Classification(), reason("task.whole-numbers", distinct=distinct)
    return Regression(), reason("task.numbers", distinct=distinct)


def _answers(values: pl.Series, origin: str, section: Data, missing_words: Sequence[str]) -> pl.Series:
    """Return the target's values without missing ones, which the recipe must allow.

    Raises:
        DataError: nothing can be learned from them.
    """
    if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise DataError(
            f"{origin}: the target {values.name!r} holds {values.dtype}; a target holds strings, numbers or booleans",
            code="DL221",
        )
    absent = missing_values(values)
    shown = ", ".join(repr(word) for word in missing_words if word)
    read_as = f" ({shown} is read as missing, by data.missing_values)" if shown else ""
    if absent.any() and section.clean.unlabelled == "fail":
        raise DataError(
            f"{origin}: the target {values.name!r} is missing in {absent.sum()} of {len(values)} rows{read_as}; give "
            "them a value, or leave them out with data.clean.unlabelled: drop; nothing is learned without an answer",
            code="DL222",
        )
    if absent.all():
        raise DataError(
            f"{origin}: the target {values.name!r} is missing in every row; is it the right column?", code="DL222"
        )
    values = values.filter(~absent)
    beyond = (
        values.filter(~(values.cast(pl.Float64).abs() <= LARGEST_TARGET))
        if values.dtype.is_numeric()
        else values.clear()
    )
    if len(beyond):
        raise DataError(
            f"{origin}: the target {values.name!r} is {beyond[0]} in {len(beyond)} of {len(values)} rows, too large "
            f"to learn (at most {LARGEST_TARGET:g}); correct or remove these rows, or give it another unit",
            code="DL223",
        )
    if values.n_unique() == 1:
        raise DataError(
            f"{origin}: the target {values.name!r} is {values[0]!r} in every row; nothing to learn", code="DL223"
        )
    return values
