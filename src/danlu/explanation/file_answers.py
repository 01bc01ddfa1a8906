"""An exported ONNX file as what model-agnostic explanations need: its inputs by column, its answers by a target.

In: the file, what a `danlu.json` beside it says of its labels, rows as a table. Out: `RowAnswers`. A file with one
input of several numbers reads the rows' columns in their order; one with an input a column reads them by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from danlu.core.text import suggestion
from danlu.errors import ArgumentError, ArtifactError, DataError
from danlu.explanation.answers import Answer
from danlu.explanation.games import MixedAnswers
from danlu.explanation.tabular import BATCH
from danlu.models.engines.onnxruntime_engine import OnnxRuntimeEngine, run_session
from danlu.tasks.base import Label, Target
from danlu.tasks.classification import ClassTarget
from danlu.tasks.multi_label import MultiLabelTarget
from danlu.tasks.multi_output import MultiNumericTarget
from danlu.tasks.regression import NumericTarget

DTYPES = {"float": np.float32, "double": np.float64, "int64": np.int64, "int32": np.int32, "bool": np.bool_}
FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")
SUMS_TO_ONE = 1e-3  # how far probabilities of a row may be from it
Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class FileInput:
    """Hold one input of a file.

    Attributes:
        name: as the file has it.
        dtype: of its arrays; object for words.
        columns: that it is made of, in its order.
        is_flat: whether it is [batch] and not [batch, columns].
    """

    name: str
    dtype: Any
    columns: tuple[str, ...]
    is_flat: bool

    def values(self, frame: pl.DataFrame, origin: str) -> np.ndarray:
        """Return the input for rows, [rows, columns]; a gap is NaN or an empty word.

        Raises:
            DataError: a word stands where the file reads a number.
        """
        if self.dtype is object:
            words: Any = [frame[name].cast(pl.String).fill_null("").to_numpy() for name in self.columns]
            return np.stack(words, axis=1).astype(object)
        numbers = np.stack([_numbers(frame[name], origin) for name in self.columns], axis=1)
        if not np.issubdtype(self.dtype, np.floating) and np.isnan(numbers).any():
            column = self.columns[int(np.isnan(numbers).any(axis=0).argmax())]
            raise DataError(f"{origin}: the file reads whole numbers in {column!r}, and it has gaps", code="DL211")
        return np.asarray(numbers.astype(self.dtype))

    def shaped(self, values: np.ndarray) -> np.ndarray:
        """Return values [rows, columns] in the shape that the file takes."""
        return values[:, 0] if self.is_flat else values


def _numbers(values: pl.Series, origin: str) -> np.ndarray:
    numbers = values.cast(pl.Float64, strict=False)
    wrong = numbers.is_null() & values.is_not_null()
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(
            f"{origin}: row {row}: the file reads numbers in {values.name!r}, and this is {values[row]!r}", code="DL211"
        )
    return np.asarray(numbers.fill_null(float("nan")).to_numpy())


class FileAnswers:
    """Answer rows of a table by an ONNX file.

    Args:
        session: of ONNX Runtime.
        frame: all rows, whose columns the file reads.
        told: danlu.json; empty where there is none.
        answers: the column of the rows that holds what the file predicts, where they have it.

    Raises:
        ArgumentError: it is no model of a table.
        DataError: the rows lack a column, or hold words where it reads numbers.
    """

    positive: Label | None = None
    engine = OnnxRuntimeEngine.name

    def __init__(
        self, session: Any, frame: pl.DataFrame, origin: str, told: Mapping[str, Any], answers: str | None = None
    ) -> None:
        self.session, self.origin = session, origin
        self.inputs = file_inputs(session, frame.drop(answers or [], strict=False), origin)
        self.columns = tuple(name for each in self.inputs for name in each.columns)
        self.output = _output(session)
        self.ranges = _ranges(told, self.columns)
        self.fixed = next((each.shape[0] for each in session.get_inputs() if isinstance(each.shape[0], int)), None)
        first = self.outputs(frame[:BATCH])
        self.target = _target(first, told, answers or "")

    def outputs(self, frame: pl.DataFrame) -> np.ndarray:
        """Return what the file answers, [rows, outputs]."""
        return self._run(self._feeds(frame))

    def mixed(
        self, row: pl.DataFrame, background: pl.DataFrame, answer: Answer, *, of_scores: bool = False
    ) -> MixedAnswers:
        """Return answers to mixtures of a row and background rows."""
        assert not of_scores, "a file has no scores beside its answers"
        own, others, count = self._feeds(row), self._feeds(background), background.height
        places = {name: place for place, name in enumerate(self.columns)}
        owners = {each.name: [places[name] for name in each.columns] for each in self.inputs}
        step = max(1, BATCH // count)

        def block(kept: np.ndarray) -> np.ndarray:
            mixed = {
                name: np.where(kept[:, None, owners[name]], own[name], others[name][None]).reshape(
                    len(kept) * count, -1
                )
                for name in own
            }
            return self._run(mixed)

        def answers(coalitions: np.ndarray) -> np.ndarray:
            starts = range(0, len(coalitions), step)
            found = np.concatenate([block(coalitions[start : start + step]) for start in starts])
            return answer.of(self.target, found).reshape(len(coalitions), count)

        return answers

    def _feeds(self, frame: pl.DataFrame) -> Feeds:
        return {each.name: each.values(frame, self.origin) for each in self.inputs}

    def _run(self, feeds: Feeds) -> np.ndarray:
        """Answer rows in batches, or as many at a time as the file says."""
        rows, size = len(next(iter(feeds.values()))), self.fixed or BATCH
        found = []
        for start in range(0, rows, size):
            taken = np.arange(start, start + size if self.fixed else min(start + size, rows)).clip(max=rows - 1)
            given = {each.name: each.shaped(feeds[each.name][taken]) for each in self.inputs}
            answers = np.asarray(run_session(self.session, given)[self.output], dtype=np.float64)
            found.append(answers.reshape(len(taken), -1)[: rows - start])
        return np.concatenate(found)


def file_inputs(session: Any, frame: pl.DataFrame, origin: str) -> tuple[FileInput, ...]:
    """Return the inputs of a file that reads tables, each with its columns.

    Raises:
        ArgumentError: it is no model of a table.
        DataError: the rows lack a column.
    """
    given = session.get_inputs()
    if len(given) == 1 and len(given[0].shape) == 2 and given[0].shape[1] != 1:
        (only,) = given
        columns = _in_order(only, frame, origin)
        return (FileInput(only.name, _dtype(only), columns, is_flat=False),)
    found = []
    for each in given:
        if len(each.shape) > 2 or (len(each.shape) == 2 and each.shape[1] != 1):
            raise ArgumentError(
                f"the file's input {each.name!r} is {list(each.shape)}; a table is read with an input a column "
                "or one of all numbers",
                code="DL409",
            )
        if each.name not in frame.columns:
            near = suggestion(each.name, frame.columns)
            raise DataError(f"{origin}: no column {each.name!r}, which the file reads{near}", code="DL210")
        found.append(FileInput(each.name, _dtype(each), (each.name,), is_flat=len(each.shape) == 1))
    return tuple(found)


def _in_order(given: Any, frame: pl.DataFrame, origin: str) -> tuple[str, ...]:
    """Return the columns of a file's one input: all, or those of numbers."""
    width = given.shape[1] if isinstance(given.shape[1], int) else frame.width
    numbers = [name for name in frame.columns if frame[name].dtype.is_numeric()]
    for columns in (frame.columns, numbers):
        if len(columns) == width:
            return tuple(columns)
    raise DataError(
        f"{origin}: the file reads {width} numbers a row, and there are {frame.width} columns ({len(numbers)} of "
        "numbers); give these columns alone, in the order of training",
        code="DL210",
    )


def _ranges(told: Mapping[str, Any], columns: Sequence[str]) -> dict[str, tuple[float, ...]] | None:
    """Return the quantiles that danlu.json has of the file's columns, if any.

    Raises:
        ArtifactError: they are no numbers.
    """
    known = told.get("ranges")
    if not known:
        return None
    try:
        found = {name: tuple(map(float, known[name])) for name in columns if name in known}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError("danlu.json: its ranges are no lists of numbers by column", code="DL310") from error
    return found or None


def _dtype(given: Any) -> Any:
    name = given.type.removeprefix("tensor(").removesuffix(")")
    if name == "string":
        return object
    if name not in DTYPES:
        raise ArgumentError(
            f"the file's input {given.name!r} holds {name}, which no column of a table is", code="DL409"
        )
    return DTYPES[name]


def _output(session: Any) -> int:
    """Return the place of the output that holds the answers: the first of floats."""
    for place, each in enumerate(session.get_outputs()):
        if each.type in FLOATS and len(each.shape) <= 2:
            return place
    raise ArgumentError(
        "the file has no output of numbers [batch] or [batch, answers]; files of scikit-learn need zipmap=False",
        code="DL409",
    )


def _target(answers: np.ndarray, told: Mapping[str, Any], column: str) -> Target:
    """Return what the answers are: probabilities where each row's add up to 1, else numbers."""
    width = answers.shape[1]
    outputs = [each for each in told.get("outputs", ()) if len(each.get("names", ())) == width]
    names = tuple(map(str, outputs[0]["names"])) if outputs else tuple(map(str, range(width)))
    are_shares = width > 1 and bool(((answers >= 0) & (answers <= 1)).all())
    if are_shares and told.get("task") == "multi-label":
        return MultiLabelTarget(column=column, labels=names)
    if are_shares and float(np.abs(answers.sum(axis=1) - 1).max()) <= SUMS_TO_ONE:
        return ClassTarget(column=column, labels=names)
    if width == 1:
        return NumericTarget(column=column, mean=0.0, std=1.0)
    return MultiNumericTarget(column=column, names=names, means=(0.0,) * width, stds=(1.0,) * width)
