"""The rows of one request: cells as a client wrote them -> values as the model's preparation reads them.

Each request is read apart, as one file would be, so that no other request changes how its words are read. A row that
cannot be read is an error of its own, and the rest is read.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from danlu.core.text import suggestion
from danlu.data.row_errors import RowErrors
from danlu.errors import DataError
from danlu.models.predictor import Predictor, collect_row_errors
from danlu.serving.refusals import RowError
from danlu.serving.schema import InputColumn

SMALLEST_INT, LARGEST_INT = -(2**63), 2**63 - 1
ORIGIN = "the request"
DATA_URI = "base64,"


@dataclass(frozen=True)
class ReadRows:
    """Hold the rows of one request whose words became values.

    Attributes:
        frame: the rows that could be read, in order, with the model's columns.
        errors: why the others could not, by row.
    """

    frame: pl.DataFrame | None
    errors: Mapping[int, RowError]


@dataclass(frozen=True)
class RowReader:
    """Read the rows of requests for one bundle."""

    predictor: Predictor
    columns: tuple[InputColumn, ...]

    def reads_alike(self, rows: Sequence[Any]) -> bool:
        """Return whether each row is read in the same way whatever others stand beside it.

        So are all but those in which numbers are words: how they are written shows in several of them.
        """
        numbers = [column.name for column in self.columns if column.type == "number"]
        if not numbers:
            return True
        if any(column.reading.spans for column in self.columns):
            return False
        return not any(isinstance(row.get(name), str) for row in rows if isinstance(row, Mapping) for name in numbers)

    def read(self, rows: Sequence[Any]) -> ReadRows:
        """Read rows, each an object of columns.

        Of a model that reads one column a row may also be the cell itself.

        Args:
            rows: as JSON gives them; images are base64 or bytes.
        """
        errors: dict[int, RowError] = {}
        places: list[int] = []
        found: list[list[Any]] = []
        for place, row in enumerate(rows):
            try:
                found.append(self._cells(row))
                places.append(place)
            except DataError as error:
                errors[place] = RowError.of_error(error, self._names)
        frames: dict[int, pl.DataFrame] = {}
        for group in _groups(found):
            self._read_group([places[at] for at in group], [found[at] for at in group], frames, errors)
        return ReadRows(_in_order(frames) if frames else None, errors)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def _cells(self, row: Any) -> list[Any]:
        """Return a row's cells in the order of the columns.

        Raises:
            DataError: one is missing, or cannot be a value of its column.
        """
        if not isinstance(row, Mapping):
            if len(self.columns) != 1 or row is None:
                raise DataError("the row is no object of columns and values", code="DL207")
            row = {self.columns[0].name: row}
        cells = []
        for column in self.columns:
            if column.name not in row:
                near = suggestion(column.name, [str(name) for name in row]) if row else ""
                raise DataError(f"column {column.name!r} is missing, which the model reads{near}", code="DL210")
            cells.append(_cell(row[column.name], column))
        return cells

    def _read_group(
        self, places: list[int], rows: list[list[Any]], frames: dict[int, pl.DataFrame], errors: dict[int, RowError]
    ) -> None:
        """Read rows whose cells are of the same types; where that fails, halves of them.

        Adds frames by the place of their first row, with a column of places, and errors by place.
        """
        try:
            frame, broken = self._read_frame(rows)
        except DataError as error:
            if len(rows) == 1:
                errors[places[0]] = RowError.of_error(error, self._names)
                return
            middle = len(rows) // 2
            self._read_group(places[:middle], rows[:middle], frames, errors)
            self._read_group(places[middle:], rows[middle:], frames, errors)
            return
        for row, text in broken.texts.items():
            code, _, message = text.partition(": ")
            errors[places[row]] = RowError.of(code, message, self._names)
        frame = frame.with_columns(pl.Series(PLACE, places, dtype=pl.Int64))
        if broken.texts:
            frame = frame.filter(~pl.col(PLACE).is_in([places[row] for row in broken.texts]))
        if frame.height:
            frames[places[0]] = frame

    def _read_frame(self, rows: list[list[Any]]) -> tuple[pl.DataFrame, RowErrors]:
        """Read rows as a later file would be.

        Raises:
            DataError: a cell is of a type that its column cannot have.
        """
        named = {column.name: list(cells) for column, cells in zip(self.columns, zip(*rows, strict=True), strict=True)}
        source = self.predictor.read_samples(named)
        source = self.predictor.kind.read_samples(replace(source, origin=ORIGIN), self._names)
        broken = RowErrors()
        collect_row_errors(source, broken)
        frame = source.frame.lazy().collect()
        return pl.DataFrame([column.canonical(frame[column.name]) for column in self.columns]), broken


PLACE = "\0place"  # a column beside the rows: where in the request a row stood


def _in_order(frames: Mapping[int, pl.DataFrame]) -> pl.DataFrame:
    """Put frames of rows together in the order of the request."""
    parts = list(frames.values())
    whole = parts[0] if len(parts) == 1 else pl.concat(parts, how="vertical_relaxed").sort(PLACE)
    return whole.drop(PLACE)


def _cell(value: Any, column: InputColumn) -> Any:
    """Return a cell that a column can hold.

    Raises:
        DataError: an image is no base64.
    """
    if column.type == "image":
        return _image(value, column.name)
    if isinstance(value, int) and not SMALLEST_INT <= value <= LARGEST_INT:
        if column.type != "number":
            return str(value)
        try:
            return float(value)
        except OverflowError:
            message = f"column {column.name!r}: the number is beyond any number of 64 bits"
            raise DataError(message, code="DL211") from None
    return value


def _image(value: Any, name: str) -> bytes:
    """Return the bytes of an image's file.

    Never a path, which would open files of the server.

    Raises:
        DataError: it is neither bytes nor base64.
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise DataError(f"column {name!r} holds no image; give the file's bytes as base64", code="DL230")
    text = value.partition(DATA_URI)[2] if value.startswith("data:") else value
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"column {name!r} holds no base64 of an image's file", code="DL230") from None


def _kind(value: Any) -> str:
    """Return which type of column a cell belongs to; "" for a missing one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int | float):
        return "number"
    return "nested" if isinstance(value, Mapping | list | tuple) else type(value).__name__


def mixtures(rows: Sequence[Any]) -> int:
    """Return in how many ways, each read apart, rows mix types of cells."""
    shared: dict[str, set[str]] = {}
    told = [row for row in rows if isinstance(row, Mapping)]
    for row in told:
        for name, cell in row.items():
            shared.setdefault(name, set()).add(_kind(cell))
    mixed = [name for name, kinds in shared.items() if len(kinds - {""}) > 1]
    return len({tuple(_kind(row.get(name)) for name in mixed) for row in told})


def _groups(rows: Sequence[Sequence[Any]]) -> list[list[int]]:
    """Group rows so that a column holds one type of cell in each."""
    if not rows:
        return []
    kinds = [tuple(map(_kind, row)) for row in rows]
    mixed = [at for at, held in enumerate(zip(*kinds, strict=True)) if len(set(held) - {""}) > 1]
    groups: dict[tuple[str, ...], list[int]] = {}
    for at, kind in enumerate(kinds):
        groups.setdefault(tuple(kind[place] for place in mixed), []).append(at)
    return list(groups.values())
