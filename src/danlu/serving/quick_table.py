"""Rows of a table that need no reading: from decoded cells to the network's inputs in numpy, for a whole batch at once.

A row is quick where each number is a JSON number, each date a word, and each category a word, a number or a truth
value: no word has to become a number, so nothing depends on how other rows are written. The inputs are those that
`TabularPreprocessor.arrays` makes, bit by bit; models that read texts, and all other rows, go through it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import msgspec
import numpy as np
import polars as pl

from danlu.data.reading.infinity import LARGEST
from danlu.data.reading.later import ROW_ERROR, saved_missing_values
from danlu.data.tabular.categories import MISSING, CategoryState, OneHotState, TargetState
from danlu.data.tabular.numbers import part_of_time
from danlu.data.tabular.outliers import is_outlier
from danlu.data.tabular.preprocessor import NAMES, TabularPreprocessor
from danlu.models.predictor import Predictor
from danlu.serving.rows import LARGEST_INT, SMALLEST_INT
from danlu.serving.schema import InputColumn

Category = str | int | float | bool | None
MOST_KEPT_WORDS = 50_000  # codes of a category's words that are remembered


class QuickTable:
    """Decode and prepare the rows of one table's model.

    Attributes:
        names: the columns in the order of a row's cells, numbers first.
        row: the struct that a JSON row is decoded to.
    """

    def __init__(self, predictor: Predictor, preprocessor: TabularPreprocessor, columns: Sequence[InputColumn]) -> None:
        self._predictor, self._preprocessor = predictor, preprocessor
        numbers = [column for column in columns if column.type == "number"]
        others = [column for column in columns if column.type != "number"]
        self._numbers = {column.name: place for place, column in enumerate(numbers)}
        self._others = {column.name: len(numbers) + place for place, column in enumerate(others)}
        dates = {column.name for column in columns if column.type == "datetime"}
        self.names = [column.name for column in (*numbers, *others)]
        names = {f"c{place}": name for place, name in enumerate(self.names)}
        types: list[Any] = [float | None] * len(numbers)
        types += [str | None if column.name in dates else Category for column in others]
        self.row = msgspec.defstruct("Row", list(zip(names, types, strict=True)), rename=names, gc=False)
        plain = {float, int, type(None)}
        self._types = dict.fromkeys(self._numbers, plain)
        self._types |= {name: {str, type(None)} if name in dates else plain | {str, bool} for name in self._others}
        self._marks = _numeric_marks(saved_missing_values(predictor.manifest.reading))
        states_of = {state.column: state for state in preprocessor.category_states}
        self._words = {
            name: KnownWords(self._read, name, None if name in dates else states_of[name]) for name in self._others
        }
        states = preprocessor.numbers
        self._in_place = [state.name for state in states] == list(self._numbers)
        self._is_linear = all(state.scaling.bend == "none" and not state.scaling.quantiles for state in states)
        self._offsets = np.array([state.scaling.offset for state in states])
        self._scales = np.array([state.scaling.scale for state in states])
        limits = [state.limits or (-np.inf, np.inf) for state in states]
        self._limits = None if all(state.limits is None for state in states) else np.array(limits).T
        self._fills = np.array([state.scaled_fill for state in states], dtype=np.float32)

    @classmethod
    def of(cls, predictor: Predictor, columns: Sequence[InputColumn]) -> Self | None:
        """Return what prepares a model's quick rows; None for models that have none."""
        preprocessor = predictor.preprocessor
        if not isinstance(preprocessor, TabularPreprocessor) or predictor.head.answer is None:
            return None
        is_plain = all(
            column.type == "category"
            or (column.type == "number" and not column.reading.spans)
            or (column.type == "datetime" and column.reading.format is not None)
            for column in columns
        )
        types = {column.name: column.type for column in columns}
        is_direct = all(
            types[state.column] == ("number" if state.part is None else "datetime") for state in preprocessor.numbers
        )
        is_coded = all(isinstance(state, OneHotState | TargetState) for state in preprocessor.derived)
        worded = {state.column for state in preprocessor.category_states}
        is_worded = worded == {name for name, type_ in types.items() if type_ == "category"}
        return cls(predictor, preprocessor, columns) if is_plain and is_direct and is_coded and is_worded else None

    def takes(self, columns: Mapping[str, Sequence[Any]]) -> bool:
        """Return whether columns of cells are of the types of `row`."""
        return all({*map(type, columns[name])} <= self._types[name] for name in self.names)

    def prepare(self, rows: Sequence[tuple[Any, ...]]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return the network's inputs, and which rows it cannot answer, [rows] bool.

        Args:
            rows: cells in the order of `row`'s fields.
        """
        count = len(self._numbers)
        given = rows if not self._others else [row[:count] for row in rows]
        matrix = np.array(given, dtype=np.float64).reshape(len(rows), count)
        for mark in self._marks:
            matrix[matrix == mark] = np.nan
        sizes = np.abs(matrix)
        is_clean = bool(sizes.max(initial=0.0) <= LARGEST)  # no gap, nothing infinite: as most batches are
        if is_clean:
            broken = np.zeros(len(rows), dtype=np.bool_)
        else:
            broken = np.asarray(((sizes > LARGEST) & (sizes < np.inf)).any(axis=1))
        others = {name: self._words[name].values([row[place] for row in rows]) for name, place in self._others.items()}
        for values in others.values():
            if values.dtype == np.float64:
                wrong = values == np.inf
                broken |= wrong
                values[wrong] = np.nan
        if broken.any():
            matrix[broken] = np.nan
        finite = matrix if is_clean else np.where(np.isinf(matrix), np.nan, matrix)
        numeric, coded = self._features(matrix, finite, others)
        if self._preprocessor.selection is not None:
            numeric, coded = self._preprocessor.selection.apply(numeric, coded)
        inputs = zip(NAMES, (numeric, coded), strict=True)
        return {name: values for name, values in inputs if values.shape[1]}, broken

    def _features(
        self, matrix: np.ndarray, finite: np.ndarray, others: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return all features, as `TabularPreprocessor` puts them together."""
        preprocessor = self._preprocessor
        parts = [self._filled(finite if self._in_place else self._raw_features(finite, others))]
        for name in preprocessor.indicators:
            absent = _is_missing(matrix[:, self._numbers[name]] if name in self._numbers else others[name])
            parts.append(absent.astype(np.float32)[:, None])
        if preprocessor.flags:
            found = [is_outlier(finite[:, self._numbers[flag.column]], flag.limits) for flag in preprocessor.flags]
            parts.append(np.any(found, axis=0).astype(np.float32)[:, None])
        for state in preprocessor.derived:
            assert isinstance(state, OneHotState | TargetState)
            parts.append(state.of_codes(others[state.category.column]))
        coded = np.empty((len(matrix), len(preprocessor.categories)), dtype=np.int64)
        for place, category in enumerate(preprocessor.categories):
            coded[:, place] = others[category.column]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1), coded

    def _filled(self, values: np.ndarray) -> np.ndarray:
        """Return scaled numbers without gaps, [rows, numbers] float32."""
        with np.errstate(over="ignore"):
            if self._is_linear:
                held = values if self._limits is None else np.clip(values, *self._limits)
                scaled = np.asarray((held - self._offsets) / self._scales, dtype=np.float32)
            else:
                scaled = np.empty(values.shape, dtype=np.float32)
                for place, state in enumerate(self._preprocessor.numbers):
                    scaled[:, place] = state.apply(values[:, place])
        filler = self._preprocessor.filler
        if filler is not None:
            return np.asarray(filler.fill(scaled), dtype=np.float32)
        np.copyto(scaled, self._fills, where=np.isnan(scaled))
        return scaled

    def _raw_features(self, numbers: np.ndarray, others: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the numbers and parts of dates as they are read, [rows, features] float64."""
        features = np.empty((len(numbers), len(self._preprocessor.numbers)), dtype=np.float64)
        for place, state in enumerate(self._preprocessor.numbers):
            if state.part is None:
                features[:, place] = numbers[:, self._numbers[state.column]]
            else:
                features[:, place] = part_of_time(others[state.column], state.part)
        return features

    def _read(self, name: str, cells: Sequence[Any]) -> pl.DataFrame:
        """Read cells of one type as the column of a later file."""
        schema = {name: pl.String} if cells[0] is None else None
        return self._predictor.read_samples(pl.DataFrame({name: cells}, schema=schema)).frame.lazy().collect()


class KnownWords:
    """Turn the cells of one column into numbers; each word is read once and remembered.

    Of categories these are codes, int64; of dates microseconds since 1970, float64, NaN where the cell is missing and
    infinite where it is no date.
    """

    def __init__(
        self, read: Callable[[str, Sequence[Any]], pl.DataFrame], name: str, category: CategoryState | None
    ) -> None:
        self._read, self._name, self._category = read, name, category
        self._dtype: type[np.generic] = np.float64 if category is None else np.int64
        self._known: dict[type, dict[Any, Any]] = {}

    def values(self, cells: Sequence[Category]) -> np.ndarray:
        """Return a number for each cell, [rows]."""
        known = self._known
        try:
            return np.array([known[type(cell)][cell] for cell in cells], dtype=self._dtype)
        except KeyError:
            return self._values_of_new(cells)

    def _values_of_new(self, cells: Sequence[Category]) -> np.ndarray:
        """Return the numbers of cells of which some were not met before."""
        found: dict[type, dict[Category, Any]] = {}
        for cell in cells:
            found.setdefault(type(cell), {})[cell] = None
        for kind, some in found.items():
            kept = self._known.setdefault(kind, {})
            new = [cell for cell in some if cell not in kept]
            read = dict(zip(new, self._read_words(kind, new), strict=True)) if new else {}
            some |= {cell: read[cell] if cell in read else kept[cell] for cell in some}
            room = max(0, MOST_KEPT_WORDS - len(kept))
            kept |= dict(list(read.items())[:room])
        return np.array([found[type(cell)][cell] for cell in cells], dtype=self._dtype)

    def _read_words(self, kind: type, cells: list[Any]) -> list[Any]:
        if kind is int and any(not SMALLEST_INT <= cell <= LARGEST_INT for cell in cells):
            cells = [str(cell) for cell in cells]
        frame = self._read(self._name, cells)
        if self._category is not None:
            codes: list[Any] = self._category.codes(frame).tolist()
            return codes
        times = frame[self._name].cast(pl.Datetime("us"), strict=False).cast(pl.Int64).to_list()
        reasons = frame[ROW_ERROR].to_list() if ROW_ERROR in frame.columns else [None] * len(cells)
        absent = [np.nan if reason is None else np.inf for reason in reasons]
        return [other if time is None else time for time, other in zip(times, absent, strict=True)]


def _is_missing(values: np.ndarray) -> np.ndarray:
    """Return which numbers, times or codes are those of missing values."""
    return np.asarray(np.isnan(values) if values.dtype == np.float64 else values == MISSING)


def _numeric_marks(words: Sequence[str]) -> tuple[float, ...]:
    """Return the numbers that stand for a missing value."""
    found = []
    for word in words:
        try:
            found.append(float(word))
        except ValueError:
            continue
    return tuple(dict.fromkeys(number for number in found if number == number))
