"""The preparation of tables as nodes: an input a column, the network's inputs out.

Inside: gaps filled (one number a column, regressions), infinite numbers as gaps, limits, scaling, indicators, the flag
of outliers, one-hot and target encoding, codes of categories, selection. Outside, and done by `feed` for the check:
parts of dates, topics of texts, neighbours, other spellings of a category.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from danlu.data.reading.word_spelling import TRUTHS, canonical_forms, canonical_word
from danlu.data.tabular.categories import MISSING, OTHER, SPECIAL, CategoryState, OneHotState, TargetState
from danlu.data.tabular.impute import IterativeFiller
from danlu.data.tabular.numbers import NumberState, read_numbers
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.data.tabular.scaling import Scaling
from danlu.data.tabular.tfidf import TfidfState
from danlu.exporters.onnx.graph import ML, GraphBuilder
from danlu.exporters.onnx.scaling import add_scaling
from danlu.exporters.ports import BATCH
from danlu.models.answer_folding import Step

UNSEEN = "(no value of the training)"  # stands for all of them where rows are fed
KEPT_STEP = 1e-5  # of a column's scale; coarser digits of float32 would show in answers
Feeder = Callable[[pl.DataFrame, str], np.ndarray]


@dataclass(frozen=True)
class EngineTypes:
    """Say what an engine takes.

    Attributes:
        number: the type of numbers of the user's columns, float64 or float32.
        has_strings: whether categories are words; else they are codes.
        has_steps: whether the network's answers jump, as those of trees, so that a last digit may decide.
    """

    number: str = "float64"
    has_strings: bool = True
    has_steps: bool = False


@dataclass
class Preparation:
    """Hold what the nodes give, and how rows become the file's inputs.

    Attributes:
        numeric, categories: names of the network's inputs; None where it has none such.
        feeders: input -> what gives its values for rows, [rows, width].
        inside, outside: the steps that the nodes hold, and those that they do not.
    """

    numeric: str | None = None
    categories: str | None = None
    feeders: dict[str, Feeder] = field(default_factory=dict)
    inside: list[str] = field(default_factory=list)
    outside: list[Step] = field(default_factory=list)

    def feed(self, frame: pl.DataFrame, origin: str) -> dict[str, np.ndarray]:
        """Return the inputs of the file for some rows, with what stays outside done.

        Args:
            frame: rows with the model's columns.
            origin: where they came from, for errors.
        """
        return {name: feeder(frame, origin) for name, feeder in self.feeders.items()}


def add_preparation(builder: GraphBuilder, preprocessor: TabularPreprocessor, types: EngineTypes) -> Preparation:
    """Add a table's preparation to a graph."""
    return _Writer(builder, preprocessor, types).write()


class _Writer:
    """Write the nodes of one preprocessor."""

    def __init__(self, builder: GraphBuilder, preprocessor: TabularPreprocessor, types: EngineTypes) -> None:
        self.builder, self.preprocessor, self.types = builder, preprocessor, types
        self.done = Preparation()
        self.raw: dict[str, str] = {}  # column -> its numbers as they are, with NaN for gaps
        self.codes: dict[str, str] = {}  # column -> codes [batch, 1]

    def write(self) -> Preparation:
        builder, states = self.builder, self.preprocessor
        parts = [part for part in (self._numbers(),) if part is not None]
        parts += [builder.cast(self._is_missing(column), "float32") for column in states.indicators]
        if states.indicators:
            self._inside("indicators")
        if states.flags:
            parts.append(self._flag())
        for state in states.derived:
            parts.append(self._topics(state) if isinstance(state, TfidfState) else self._encoded(state))
        numeric = builder.add("Concat", *parts, axis=1) if len(parts) > 1 else next(iter(parts), None)
        codes = [self._code(state) for state in states.categories]
        categories = builder.add("Concat", *codes, axis=1) if len(codes) > 1 else next(iter(codes), None)
        if states.selection is not None:
            numeric, categories = self._selected(numeric, categories)
        self.done.numeric = numeric if states.inputs.numeric else None
        self.done.categories = categories if states.inputs.cardinalities else None
        return self.done

    def _inside(self, what: str) -> None:
        if what not in self.done.inside:
            self.done.inside.append(what)

    def _input(self, name: str, dtype: str, width: int, feeder: Feeder) -> str:
        self.done.feeders[name] = feeder
        return self.builder.add_input(name, dtype, BATCH, width)

    # Numbers.

    def _numbers(self) -> str | None:
        states = self.preprocessor.numbers
        if not states:
            return None
        filler = self.preprocessor.filler
        if filler is not None and not isinstance(filler, IterativeFiller):
            return self._neighbours()
        builder, number = self.builder, self.types.number
        raw = self._concat_raw()
        gaps = builder.add("IsNaN", raw)
        known = builder.add("Where", gaps, builder.constant(0.0, number), raw)
        scaled = self._scaled(known)
        if filler is not None:
            return self._regressions(filler, gaps, scaled)
        fills = np.array([state.scaled_fill for state in states], dtype=np.float32)
        single = builder.cast(scaled, "float32") if number != "float32" else scaled
        if not np.isnan(fills).all():
            self._inside("impute")
        return builder.add("Where", gaps, builder.constant(fills), single)

    def _concat_raw(self) -> str:
        """Return the numbers of all features, [batch, features], gaps and infinite ones as NaN."""
        builder, parts = self.builder, []
        by_column: dict[str, list[NumberState]] = {}
        for state in self.preprocessor.numbers:
            by_column.setdefault(state.column, []).append(state)
        for column, states in by_column.items():
            parts.append(self._dates(column, states) if states[0].part is not None else self._number(column))
        together = builder.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
        nan = builder.constant(np.nan, self.types.number)
        return builder.add("Where", builder.add("IsInf", together), nan, together)

    def _number(self, column: str) -> str:
        """Return a column of numbers as it is given."""
        if column not in self.raw:
            state = next((each for each in self.preprocessor.numbers if each.column == column), None)
            number = self.types.number
            is_scaled = state is not None and self._is_too_fine(state)

            def feed(frame: pl.DataFrame, origin: str) -> np.ndarray:
                values = read_numbers(frame[column], None, origin)
                if state is not None and is_scaled:
                    values = state.apply(values)
                return values.astype(number)[:, None]

            self.raw[column] = self._input(column, number, 1, feed)
            if state is not None and is_scaled:
                self.done.outside.append(self._scale_step(state))
        return self.raw[column]

    def _scale_step(self, state: NumberState) -> Step:
        return Step("scale", state.model_dump(mode="json", include={"column", "part", "limits", "scaling"}))

    def _is_too_fine(self, state: NumberState) -> bool:
        """Return whether the engine's numbers lose digits of a column that its scaling would show.

        Splits lie halfway between values of the training, where other values of a column written with few digits lie,
        too; scaled with 32 bits, those may fall on the other side.
        """
        if self.types.number == "float64" or state.scaling == Scaling():
            return False
        return self.types.has_steps or _lost_digits(state.scaling) > KEPT_STEP

    def _dates(self, column: str, states: list[NumberState]) -> str:
        number, scaled = self.types.number, [self._is_too_fine(state) for state in states]

        def feed(frame: pl.DataFrame, origin: str) -> np.ndarray:
            read = [state.read(frame, origin) for state in states]
            values = [s.apply(each) if fine else each for s, each, fine in zip(states, read, scaled, strict=True)]
            return np.stack(values, axis=1).astype(number)

        self.done.outside += [self._scale_step(state) for state, fine in zip(states, scaled, strict=True) if fine]
        self.done.outside.append(Step("date-parts", {"column": column, "parts": [state.part for state in states]}))
        self.raw[column] = self._input(column, number, len(states), feed)
        return self.raw[column]

    def _scaled(self, known: str) -> str:
        """Clip and scale numbers without gaps, [batch, features]."""
        builder, number = self.builder, self.types.number
        states = self.preprocessor.numbers
        outside = [self._is_too_fine(state) for state in states]
        limits = [None if out else state.limits for state, out in zip(states, outside, strict=True)]
        if any(limit is not None for limit in limits):
            low = [-np.inf if limit is None else limit[0] for limit in limits]
            high = [np.inf if limit is None else limit[1] for limit in limits]
            floor = builder.add("Max", known, builder.constant(low, number))
            known = builder.add("Min", floor, builder.constant(high, number))
            self._inside("limits")
        scalings = [Scaling() if out else state.scaling for state, out in zip(states, outside, strict=True)]
        if any(scaling != Scaling() for scaling in scalings):
            self._inside("scale")
        return add_scaling(builder, known, scalings, number)

    def _regressions(self, filler: IterativeFiller, gaps: str, scaled: str) -> str:
        """Fill gaps by regressions on other columns, in the order of learning."""
        builder, number, width = self.builder, self.types.number, len(filler.start)
        # As they are kept: the columns are rounded to float32 before they are filled.
        single = builder.cast(scaled, "float32")
        rounded = builder.cast(single, number) if number != "float32" else single
        begun = builder.add("Where", gaps, builder.constant(filler.start, number), rounded)
        if width == 1:
            filled, holes = [begun], [gaps]
        else:
            filled, holes = (self._split(values, width) for values in (begun, gaps))
        for step in filler.steps:
            answer = builder.constant(step.intercept, number)
            if step.others:
                others = [filled[at] for at in step.others]
                together = builder.add("Concat", *others, axis=1) if len(others) > 1 else others[0]
                weights = builder.constant(np.array(step.weights)[:, None], number)
                answer = builder.add("Add", builder.add("MatMul", together, weights), answer)
            filled[step.column] = builder.add("Where", holes[step.column], answer, filled[step.column])
        self._inside("impute")
        together = builder.add("Concat", *filled, axis=1) if width > 1 else filled[0]
        return builder.cast(together, "float32")

    def _split(self, values: str, width: int) -> list[str]:
        builder = self.builder
        return [builder.add("Gather", values, builder.constant([at], np.int64), axis=1) for at in range(width)]

    def _neighbours(self) -> str:
        """Take the numbers as prepared: their gaps are filled from the most similar training rows."""
        states = self.preprocessor
        self.done.outside.append(Step("numbers", [state.model_dump(mode="json") for state in states.numbers]))
        assert states.filler is not None
        self.done.outside.append(Step("neighbours", states.filler.model_dump(mode="json")))
        return self._input(self.builder.name("numbers"), "float32", len(states.numbers), states.filled)

    # Indicators and flags.

    def _is_missing(self, column: str) -> str:
        """Return whether a column's value is missing, [batch, 1] bool."""
        builder = self.builder
        category = next((state for state in self.preprocessor.category_states if state.column == column), None)
        if category is not None:
            return builder.add("Equal", self._code(category), builder.constant(MISSING, np.int64))
        if any(state.column == column and state.part is None for state in self.preprocessor.numbers):
            return builder.add("IsNaN", self._number(column))
        name = builder.name(f"{column} missing")
        given = self._input(name, "float32", 1, lambda frame, origin: _nulls(frame[column]))
        self.done.outside.append(Step("indicator", {"input": name, "column": column}))
        return builder.add("Greater", given, builder.constant(0.5, np.float32))

    def _flag(self) -> str:
        """Return 1 where any number of a row lies beyond its limits, [batch, 1]."""
        builder, number = self.builder, self.types.number
        flags = self.preprocessor.flags
        values = [self._raw_of_flag(flag.column) for flag in flags]
        together = builder.add("Concat", *values, axis=1) if len(values) > 1 else values[0]
        limits = np.array([flag.limits for flag in flags])
        # Gaps and infinite numbers are no outliers; engines differ in how NaN compares.
        unknown = builder.add("Or", builder.add("IsNaN", together), builder.add("IsInf", together))
        known = builder.add("Where", unknown, builder.constant(limits.mean(axis=1), number), together)
        low, high = (builder.constant(limits[:, at], number) for at in (0, 1))
        beyond = builder.add("Or", builder.add("Less", known, low), builder.add("Greater", known, high))
        outlying = builder.cast(beyond, "float32")
        self._inside("outliers")
        return builder.add("ReduceMax", outlying, builder.constant([1], np.int64), keepdims=1)

    def _raw_of_flag(self, column: str) -> str:
        """Return a flagged column in its own units.

        Where the column is given scaled, that is an input of its own."""
        state = next((each for each in self.preprocessor.numbers if each.column == column), None)
        if state is None or not self._is_too_fine(state):
            return self._number(column)
        number = self.types.number
        name = self.builder.name(f"{column} unscaled")
        self.done.outside.append(Step("unscaled", {"input": name, "column": column}))

        def feed(frame: pl.DataFrame, origin: str) -> np.ndarray:
            return read_numbers(frame[column], None, origin).astype(number)[:, None]

        return self._input(name, number, 1, feed)

    # Categories and texts.

    def _code(self, state: CategoryState) -> str:
        """Return a category's codes, [batch, 1] int64.

        What is no value of it counts as another."""
        column, builder = state.column, self.builder
        if column in self.codes:
            return self.codes[column]
        if self.types.has_strings:
            known = _spellings(state)
            given = self._input(column, "string", 1, lambda frame, origin: _words(state, known, frame))
            keys, codes = list(known), list(known.values())
            code = builder.add(
                "LabelEncoder", given, domain=ML, keys_strings=keys, values_int64s=codes, default_int64=OTHER
            )
            spelling = {"column": column, "ignores": ["case", "white space"] if state.merged else [], "canonical": True}
            self.done.outside.append(Step("spelling", spelling))
        else:
            given = self._input(column, "int64", 1, lambda frame, origin: state.codes(frame)[:, None])
            self.done.outside.append(Step("codes", {"column": column, "values": list(state.names)}))
            zero, size = builder.constant(0, np.int64), builder.constant(state.size, np.int64)
            inside = builder.add("And", builder.add("GreaterOrEqual", given, zero), builder.add("Less", given, size))
            code = builder.add("Where", inside, given, builder.constant(OTHER, np.int64))
        self._inside("categories")
        self.codes[column] = code
        return code

    def _encoded(self, state: OneHotState | TargetState) -> str:
        """Return a category's encoding, [batch, width] float32, from a table of codes."""
        builder, category = self.builder, state.category
        names = pl.Series(category.column, [None, UNSEEN, *category.values], dtype=pl.String)
        table = state.apply(names.to_frame(), None)
        self._inside(state.kind)
        flat = builder.add("Squeeze", self._code(category), builder.constant([1], np.int64))
        return builder.add("Gather", builder.constant(table, np.float32), flat, axis=0)

    def _topics(self, state: TfidfState) -> str:
        self.done.outside.append(Step("topics", state.model_dump(mode="json")))
        width = len(state.names)
        return self._input(state.column, "float32", width, lambda frame, origin: state.apply(frame, None))

    def _selected(self, numeric: str | None, categories: str | None) -> tuple[str | None, str | None]:
        """Keep the selected features, or project the numeric ones."""
        builder, selection = self.builder, self.preprocessor.selection
        assert selection is not None
        self._inside("selection")
        if categories is not None and selection.categories:
            categories = builder.add("Gather", categories, builder.constant(selection.categories, np.int64), axis=1)
        if numeric is None or not selection.width:
            return numeric, categories
        if selection.directions is None:
            return builder.add("Gather", numeric, builder.constant(selection.numeric, np.int64), axis=1), categories
        assert selection.centre is not None
        centred = builder.add("Sub", numeric, builder.constant(selection.centre.array))
        return builder.add("MatMul", centred, builder.constant(selection.directions.array.T)), categories


def _lost_digits(scaling: Scaling) -> float:
    """Return how far float32 moves scaled values, given so or computed so."""
    places = np.linspace(-1.0, 1.0, 401)  # a quantile's bins may be narrow anywhere
    values = scaling.invert(places)
    moved = np.abs(scaling.apply(values.astype(np.float32).astype(np.float64)) - scaling.apply(values)).max()
    if scaling.quantiles:
        return float(moved)
    bent = np.abs(places * scaling.scale + scaling.offset)
    # A power is an exponential of a logarithm, whose rounding it multiplies.
    grown = np.maximum(1.0, np.abs(scaling.exponent) * np.log1p(np.abs(values))) if scaling.bend != "none" else 1.0
    between = np.spacing(bent.astype(np.float32)).astype(np.float64) * grown / abs(scaling.scale)
    return float(max(moved, between.max()))


def _nulls(values: pl.Series) -> np.ndarray:
    return values.is_null().to_numpy().astype(np.float32)[:, None]


def _spellings(state: CategoryState) -> dict[str, int]:
    """Return the code of each word that a graph knows, usual other spellings too.

    `1` as `1.0`, `True` as `true`, `TRUE` or, among truth values alone, `1`.
    """
    # Where an empty text is a value, nothing stands for a missing one.
    known = {"": MISSING} | {value: at + len(SPECIAL) for at, value in enumerate(state.values)}
    for form, value in canonical_forms(state.values).items():
        for other in (form, form.title(), form.upper()) if form in TRUTHS else (form, f"{form}.0"):
            if canonical_word(other) == form:
                known.setdefault(other, known[value])
    return known


def _words(state: CategoryState, known: dict[str, int], frame: pl.DataFrame) -> np.ndarray:
    """Return words that the graph knows, [rows, 1]; empty for missing ones."""
    names: Any = np.array(["", UNSEEN, *state.values], dtype=object)
    found = names[state.codes(frame)]
    given = frame[state.column].cast(pl.String).to_list()
    return np.array([word if word in known else name for word, name in zip(given, found, strict=True)], dtype=object)[
        :, None
    ]
