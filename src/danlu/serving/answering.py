"""One opened bundle that answers requests: rows of several requests in one batch, and each row's answer in its place.

In: bodies or rows of requests. Out: JSON values, a row each. Reads no socket and no file once it is open.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import polars as pl
from msgspec.structs import astuple

from danlu.artifacts.bundle import Bundle, digest_of
from danlu.artifacts.files import StrPath
from danlu.core.console import silenced
from danlu.data.descriptors import Origin
from danlu.data.row_errors import RowErrors
from danlu.data.splits import Split
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.errors import DanluError, DataError
from danlu.explanation.beside_predictions import with_explanations
from danlu.models.predictor import Predictor
from danlu.serving.outputs import EXPLANATION, PROBABILITIES, PROBABILITY, OutputColumn, output_columns
from danlu.serving.quick_table import QuickTable
from danlu.serving.refusals import TOO_LARGE, Refused, RowError
from danlu.serving.rows import ORIGIN, RowReader, mixtures
from danlu.serving.schema import InputColumn, input_columns

Answer = dict[str, Any]
MOST_MIXTURES = 64  # of types of cells in a request's rows
MOST_AT_ONCE = 1024  # rows of a table that are computed in one call


class _Body(msgspec.Struct, gc=False):
    rows: Any
    explain: bool = False


class Rows(msgspec.Struct, frozen=True):
    """Hold the rows of one request, decoded.

    Attributes:
        count: rows of the request.
        quick: the rows as structs, where the model and the cells allow it.
        raw: the rows as JSON gives them, to be read; one of the two is None.
        explain: whether the answers are to be explained.
    """

    count: int
    quick: Sequence[msgspec.Struct] | None = None
    raw: Sequence[Any] | None = None
    explain: bool = False


@dataclass(frozen=True)
class Served:
    """Answer requests from one bundle.

    Nothing in it changes but what it remembers of categories' words.

    Attributes:
        predictor: the opened bundle.
        columns: what the model reads.
        digest: names the bundle; in every answer.
        reader: reads rows as the bundle says.
        table: prepares the rows of a table that need no reading; None where the model has no such rows.
    """

    predictor: Predictor
    columns: tuple[InputColumn, ...]
    digest: str
    reader: RowReader
    table: QuickTable | None
    decoder: "msgspec.json.Decoder[Any] | None"

    @classmethod
    def open(cls, source: StrPath | Bundle, *, engine: str | None = None, own_code: bool = False) -> Self:
        """Open a bundle or a run, which replays its golden samples.

        Raises:
            ArgumentError, ArtifactError, MissingExtra: as `Predictor.load`.
        """
        return cls.of(Predictor.load(source, engine=engine, own_code=own_code))

    @classmethod
    def of(cls, predictor: Predictor) -> Self:
        """Serve a predictor that is open already.

        It asks polars for nothing, so a process may fork afterwards.
        """
        columns = input_columns(predictor)
        digest = digest_of(predictor.manifest)
        table = QuickTable.of(predictor, columns)
        decoder = None if table is None else msgspec.json.Decoder(_body_of(table.row))
        return cls(predictor, columns, digest, RowReader(predictor, columns), table, decoder)

    @property
    def engine(self) -> str:
        """The name of what computes the network."""
        return self.predictor.engine.name

    def decode(self, body: bytes | memoryview) -> Rows:
        """Decode the body of a request, `{"rows": [...], "explain": false}`.

        `rows` may be one row.

        Raises:
            Refused: it is no JSON of that form, or has no rows.
        """
        if self.decoder is not None:
            try:
                found = self.decoder.decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                found = None  # what is wrong is found out below
            if found is not None and found.rows:
                return Rows(len(found.rows), found.rows, None, found.explain)
        try:
            told = msgspec.json.decode(body, type=_Body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(f'the body is not {{"rows": [...]}} in JSON: {error}') from None
        if not isinstance(told.rows, list | dict):
            raise Refused("rows: give a list of rows, or one row as an object", field="rows")
        return _raw(told.rows if isinstance(told.rows, list) else [told.rows], told.explain)

    def read(self, rows: Sequence[Any]) -> Rows:
        """Take rows: objects of columns, or the cells themselves where the model reads one column.

        Raises:
            Refused: there is none.
        """
        if self.table is not None and rows:
            with suppress(msgspec.ValidationError):
                return Rows(len(rows), quick=msgspec.convert(rows, list[self.table.row]))  # type: ignore[name-defined]
        return _raw(rows)

    def read_matrix(self, values: Sequence[float | None]) -> Rows | None:
        """Take rows of numbers, one behind the other, in the order of the model's columns.

        Returns:
            None where the model cannot take them as they are.
        """
        width, table = len(self.columns), self.table
        if table is None or not values or self.number_names is None:
            return None
        rows = [table.row(*values[start : start + width]) for start in range(0, len(values), width)]
        return Rows(len(rows), quick=rows)

    def read_columns(self, columns: Mapping[str, Sequence[Any]]) -> Rows:
        """Take rows as columns of cells, all of the model's, of one length.

        Raises:
            Refused: there is no row.
        """
        count = len(next(iter(columns.values())))
        if self.table is not None and count and self.table.takes(columns):
            cells = zip(*(columns[name] for name in self.table.names), strict=True)
            return Rows(count, quick=[self.table.row(*row) for row in cells])
        names = list(columns)
        return _raw([dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)])

    def raw_rows(self, rows: Rows) -> Sequence[Any]:
        """Return the rows of a request as `read` takes them."""
        return rows.raw if rows.raw is not None else self.raw_cells(rows.quick or ())

    def raw_cells(self, rows: Sequence[Any]) -> list[Any]:
        """Return rows, of which some are structs, as `read` takes them."""
        return [_named(row) if isinstance(row, msgspec.Struct) else row for row in rows]

    @cached_property
    def outputs(self) -> tuple[OutputColumn, ...]:
        """The columns of answers."""
        return output_columns(self.predictor)

    @cached_property
    def number_names(self) -> frozenset[str] | None:
        """The names of the columns where all are numbers that need no reading, else None."""
        is_plain = self.table is not None and all(column.type == "number" for column in self.columns)
        return frozenset(column.name for column in self.columns) if is_plain else None

    @property
    def is_explainable(self) -> bool:
        """Whether answers can be explained."""
        return isinstance(self.predictor.preprocessor, TabularPreprocessor)

    def require_explainable(self) -> None:
        """Raise Refused unless answers can be explained."""
        if not self.is_explainable:
            raise Refused("answers of this model cannot be explained; those of tables can", field=EXPLANATION)

    def explain(self, rows: Rows, answers: Sequence[Answer]) -> list[str | None]:
        """Explain answers by SHAP values, a JSON text each, `[{"name", "value", "low", "high"}]`.

        It takes thousands of answers a row, so it is asked for apart.

        Args:
            rows: the rows of one request.
            answers: theirs; rows in error get None.

        Raises:
            Refused: the bundle keeps no rows to explain by.
        """
        raw = self.raw_rows(rows)
        told: list[str | None] = [None] * rows.count
        with silenced():
            read = self.reader.read(raw)
            if read.frame is None:
                return told
            places = [row for row in range(rows.count) if row not in read.errors]
            broken = [(at, "") for at, row in enumerate(places) if "error" in answers[row]]
            blank = pl.DataFrame({"row": places})
            try:
                texts = with_explanations(self.predictor, read.frame, blank, broken)[EXPLANATION]
            except DanluError as error:
                raise Refused(str(error), field=EXPLANATION, code=error.code) from None
        for row, text in zip(places, texts, strict=True):
            told[row] = text
        return told

    def answer(self, batch: Sequence[Rows]) -> list[list[Answer]]:
        """Answer the rows of several requests in one batch.

        Args:
            batch: what `decode` or `read` returned.

        Returns:
            of each request its rows' answers, in order: `{"prediction", "probability", "probabilities": {...}}` and
            what else the task answers, or `{"error": RowError}`.
        """
        quick = [at for at, rows in enumerate(batch) if rows.quick is not None]
        if len(quick) == len(batch):
            with silenced():
                flat = iter(self._answer_quick([astuple(row) for rows in batch for row in rows.quick or ()]))
            return [list(islice(flat, rows.count)) for rows in batch]
        raw = {at: rows.raw for at, rows in enumerate(batch) if rows.raw is not None}
        alike = [at for at, rows in raw.items() if self.reader.reads_alike(rows)]
        groups = [alike, *([at] for at in raw if at not in set(alike))]
        with silenced():  # what is cut or unknown is told when a file is predicted, not a request at a time
            found = self._answer_quick([astuple(row) for at in quick for row in batch[at].quick or ()])
            found += self._answer_raw([[row for at in group for row in raw[at]] for group in groups if group])
        flat = iter(found)
        answers = {at: list(islice(flat, batch[at].count)) for at in chain(quick, *groups)}
        return [answers[at] for at in range(len(batch))]

    def _answer_quick(self, rows: Sequence[tuple[Any, ...]]) -> list[Answer]:
        """Answer rows that need no reading, by their cells."""
        if not rows:
            return []
        table, answer = self.table, self.predictor.head.answer
        assert table is not None and answer is not None, "only such models decode quick rows"
        inputs, broken = table.prepare(rows)
        engine, target = self.predictor.engine, self.predictor.target
        sliced = (
            {name: values[start : start + MOST_AT_ONCE] for name, values in inputs.items()}
            for start in range(0, len(rows), MOST_AT_ONCE)
        )
        outputs = [answer(engine.run(some), None) for some in sliced]
        answers = self._answers(target.calibrate(outputs[0] if len(outputs) == 1 else np.concatenate(outputs)))
        if broken.any():
            places: list[int] = np.flatnonzero(broken).tolist()
            errors = self.reader.read([dict(zip(table.names, rows[place], strict=True)) for place in places]).errors
            for at, place in enumerate(places):
                answers[place] = {"error": errors[at]}
        return answers

    def _answer_raw(self, groups: Sequence[Sequence[Any]]) -> list[Answer]:
        """Answer rows that are read first, each group apart."""
        read = [self.reader.read(rows) for rows in groups]
        frames = [each.frame for each in read if each.frame is not None]
        answered = iter(self._answer_frame(_together(frames)) if frames else ())
        return [
            {"error": each.errors[row]} if row in each.errors else next(answered)
            for each, rows in zip(read, groups, strict=True)
            for row in range(len(rows))
        ]

    def _answer_frame(self, frame: pl.DataFrame) -> list[Answer]:
        errors = RowErrors()
        try:
            outputs = self.predictor.outputs(Split.of(frame), Origin(ORIGIN, Path(), errors))
        except DataError as error:
            if frame.height == 1:
                return [{"error": RowError.of_error(error, frame.columns)}]
            middle = frame.height // 2
            return self._answer_frame(frame[:middle]) + self._answer_frame(frame[middle:])
        return self._answers(outputs, errors)

    def _answers(self, outputs: np.ndarray, errors: RowErrors | None = None) -> list[Answer]:
        """Return calibrated outputs as JSON values."""
        errors = RowErrors() if errors is None else errors
        answers = to_json(self.predictor.answer_columns(outputs, ORIGIN, errors))
        for row, text in errors.texts.items():
            code, _, message = text.partition(": ")
            answers[row] = {"error": RowError.of(code, message, [column.name for column in self.columns])}
        return answers


def _body_of(row: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return the struct of a whole body whose rows are quick."""
    return msgspec.defstruct("Body", [("rows", list[row]), ("explain", bool, False)], gc=False)  # type: ignore[valid-type]


def _raw(rows: Sequence[Any], explain: bool = False) -> Rows:
    if not rows:
        raise Refused("there are no rows", field="rows")
    if len(rows) > MOST_MIXTURES and mixtures(rows) > MOST_MIXTURES:
        raise Refused(
            f"rows: their cells mix numbers, words, truth values and objects in more than {MOST_MIXTURES} ways, each "
            "of which is read apart; write a column's cells alike, or send fewer rows at a time",
            field="rows",
            code=TOO_LARGE,
        )
    return Rows(len(rows), raw=rows, explain=explain)


def to_json(columns: Mapping[str, Sequence[Any]]) -> list[Answer]:
    """Return decoded predictions as JSON values, a row each.

    The probabilities of labels are an object of their own.
    """
    labels = [name for name in columns if name.startswith(PROBABILITY)]
    others = {name: cells for name, cells in columns.items() if not name.startswith(PROBABILITY)}
    if labels:
        bare = [name.removeprefix(PROBABILITY) for name in labels]
        shares = zip(*(columns[name] for name in labels), strict=True)
        others[PROBABILITIES] = [dict(zip(bare, share, strict=True)) for share in shares]
    names = list(others)
    return [dict(zip(names, row, strict=True)) for row in zip(*others.values(), strict=True)]


def _named(row: msgspec.Struct) -> dict[str, Any]:
    """Return the cells of a row by the names of their columns."""
    return dict(zip(row.__struct_encode_fields__, astuple(row), strict=True))


def _together(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return frames[0] if len(frames) == 1 else pl.concat(frames, how="vertical_relaxed")


def encode(value: Mapping[str, Any]) -> bytes:
    """Write an answer's document as JSON; what is no number is null."""
    return msgspec.json.encode(value)
