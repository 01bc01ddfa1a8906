"""A table as model inputs: every column's state put together, fitted on the training split, applied to any rows.

Numeric features are, in this order: numbers and parts of dates, missing-value indicators, the outlier flag, encoded
categories, topics of texts. Categories for embeddings are codes beside them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field

from danlu.core.component import Frozen
from danlu.core.prefetch import prefetch
from danlu.core.seeds import Seed
from danlu.data.columns import Column
from danlu.data.dataset import Dataset
from danlu.data.descriptors import DataRequirements, Origin
from danlu.data.frames import num_parallel_parts
from danlu.data.kind import Preprocessor
from danlu.data.specs import TabularInputs
from danlu.data.splits import Split, TrainSplit, subsample
from danlu.data.tabular.categories import (
    CategoryState,
    Encoder,
    OneHot,
    OneHotState,
    TargetEncoding,
    TargetState,
    TargetValues,
)
from danlu.data.tabular.feature_selection import Selection
from danlu.data.tabular.impute import FILLERS, Filler, Impute, KeepMissing
from danlu.data.tabular.numbers import DATE_PARTS, Fill, Limits, NumberState, read_numbers
from danlu.data.tabular.outliers import is_outlier, outlier_limits
from danlu.data.tabular.scaling import MinMax, Scaler, Symmetric, is_constant
from danlu.data.tabular.tfidf import TfidfState
from danlu.errors import DataError
from danlu.recipe.sections.data import Data

if TYPE_CHECKING:
    from danlu.data.loader import PreparedDataset, Tensors

NAMES = ("numeric", "categories")  # of a model's inputs
BINNED_ROWS = 200_000  # maximum training rows that bins are learned from

Derived = Annotated[OneHotState | TargetState | TfidfState, Field(discriminator="kind")]


class OutlierFlag(Frozen):
    """Hold the limits beyond which a number counts as an outlier."""

    column: str
    limits: Limits


class TabularPreprocessor(Preprocessor):
    """Hold the fitted state of a table's columns and apply it to any such table.

    Attributes:
        numbers: numeric features read from one column each.
        filler: imputes them from the rest of the row; None where each has a fill value.
        indicators: columns for which a feature says whether the value was missing.
        flags: columns whose outliers one feature flags.
        derived: further numeric features.
        categories: columns that a model embeds.
        selection: which of all features are kept; None for all.
        edges: of the bins of each numeric feature that is kept, where the model asks for bins.
    """

    kind: Literal["tabular"] = "tabular"
    numbers: tuple[NumberState, ...]
    filler: Filler | None = None
    indicators: tuple[str, ...] = ()
    flags: tuple[OutlierFlag, ...] = ()
    derived: tuple[Derived, ...] = ()
    categories: tuple[CategoryState, ...]
    selection: Selection | None = None
    edges: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def fit(cls, train: TrainSplit, dataset: Dataset, section: Data, hints: DataRequirements, seed: Seed) -> Self:
        """Learn from the training split's rows."""
        measured = [column for column in dataset.used if column.type in ("number", "datetime")]
        named = [column for column in dataset.used if column.type == "category"]
        threads = num_parallel_parts(train.table)
        learned = list(prefetch(lambda column: _fit_numbers(column, train, dataset, section), measured, threads))
        numbers = [state for states, _ in learned for state in states]
        flags = [flag for _, found in learned for flag in found]
        encoded = list(prefetch(lambda column: _fit_category(column, train, dataset, section, seed), named, threads))
        categories = [state for state in encoded if isinstance(state, CategoryState)]
        derived = [state for state in encoded if isinstance(state, OneHotState | TargetState)]
        texts = [train.column(column.name) for column in dataset.used if column.type == "text"]
        topics = [state for state in (TfidfState.fit(values, seed) for values in texts) if state is not None]
        fitted = cls(
            numbers=tuple(numbers), flags=tuple(flags), derived=(*derived, *topics), categories=tuple(categories)
        )
        if not fitted.columns:
            raise DataError(
                f"{dataset.origin}: every column is the same in all training rows; nothing to learn from", code="DL212"
            )
        gaps = section.clean.missing
        if isinstance(gaps, Impute) and gaps.indicators:
            holed = tuple(name for name in fitted.columns if train.column(name).null_count())
            fitted = fitted.model_copy(update={"indicators": holed})
        fitted = fitted._with_filler(train, section, dataset.origin, seed)
        fitted = fitted._with_selection(train, dataset, section, seed)
        return fitted if hints.bins is None else fitted._with_edges(train, dataset, hints.bins, seed)

    def _with_filler(self, train: TrainSplit, section: Data, origin: str, seed: Seed) -> Self:
        gaps = section.clean.missing
        if not isinstance(gaps, Impute) or gaps.strategy not in FILLERS or not self.numbers:
            return self
        matrix = self._scaled(train.frame, origin)
        return self.model_copy(update={"filler": FILLERS[gaps.strategy].fit(matrix, gaps, seed)})

    def _with_selection(self, train: TrainSplit, dataset: Dataset, section: Data, seed: Seed) -> Self:
        if section.select is None:
            return self
        answers = training_targets(train, dataset, seed)
        numeric, codes = self._all_features(train.frame, dataset.origin, answers)
        names = (*self._numeric_names, *(state.column for state in self.categories))
        return self.model_copy(update={"selection": Selection.fit(section.select, numeric, codes, names, answers)})

    def _with_edges(self, train: TrainSplit, dataset: Dataset, bins: int, seed: Seed) -> Self:
        """Add the bin edges of the features as training sees them."""
        answers = training_targets(train, dataset, seed) if self.cross_fitted else None
        rows: Split = train
        if answers is None and len(train) > BINNED_ROWS:
            rows = subsample(train, BINNED_ROWS)
        numeric, _ = self.arrays(rows.columns(*self.columns), dataset.origin, answers)
        return self.model_copy(update={"edges": tuple(bin_edges(values, bins) for values in numeric.T)})

    @property
    def inputs(self) -> TabularInputs:
        width = len(self._numeric_names) if self.selection is None else self.selection.width
        cardinalities = tuple(state.size for state in self.embedded)
        return TabularInputs(numeric=width, cardinalities=cardinalities, edges=self.edges)

    @property
    def embedded(self) -> tuple[CategoryState, ...]:
        """The categories that the model gets as codes, in order."""
        if self.selection is None:
            return self.categories
        return tuple(self.categories[position] for position in self.selection.categories)

    @property
    def category_states(self) -> tuple[CategoryState, ...]:
        """The categories, whether they are embedded or encoded."""
        encoded = (state.category for state in self.derived if isinstance(state, OneHotState | TargetState))
        return (*self.categories, *encoded)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the model's features: the numeric ones, then the categories."""
        numeric, kept = self._numeric_names, tuple(state.column for state in self.embedded)
        if self.selection is None:
            return (*numeric, *kept)
        if self.selection.directions is not None:
            return (*(f"direction {i + 1}" for i in range(self.selection.width)), *kept)
        return (*(numeric[position] for position in self.selection.numeric), *kept)

    def to_units(self, position: int, values: np.ndarray) -> np.ndarray:
        """Convert values of a numeric feature to its column's own units, where it has any."""
        if self.selection is not None:
            if self.selection.directions is not None:
                return values
            position = self.selection.numeric[position]
        return self.numbers[position].scaling.invert(values) if position < len(self.numbers) else values

    @property
    def _numeric_names(self) -> tuple[str, ...]:
        return (
            *(state.name for state in self.numbers),
            *(f"{column} missing" for column in self.indicators),
            *(("outlier",) if self.flags else ()),
            *(name for state in self.derived for name in state.names),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `transform` reads."""
        read = [state.column for state in self.numbers] + [state.column for state in self.categories]
        read += [name for state in self.derived for name in state.columns]
        return tuple(dict.fromkeys([*read, *self.indicators]))

    @property
    def feature_columns(self) -> tuple[str, ...] | None:
        """The column of each of `names`; None where a feature has several.

        Then a cell changes no other column's features, and rows can be mixed after preprocessing as well as before.
        """
        is_mixed = self.selection is not None and self.selection.directions is not None
        if is_mixed or self.filler is not None or len(self.flags) > 1:
            return None
        numeric = [state.column for state in self.numbers] + list(self.indicators)
        numeric += [flag.column for flag in self.flags]
        for state in self.derived:
            if len(state.columns) > 1:
                return None
            numeric += [state.columns[0]] * len(state.names)
        kept = range(len(numeric)) if self.selection is None else self.selection.numeric
        return (*(numeric[position] for position in kept), *(state.column for state in self.embedded))

    @property
    def keeps_missing(self) -> bool:
        """Whether missing numbers stay missing."""
        return any(state.fill is None for state in self.numbers)

    @property
    def cross_fitted(self) -> bool:
        """Whether training rows are prepared differently from predicted rows, and all at once."""
        return any(isinstance(state, TargetState) for state in self.derived)

    def arrays(
        self, frame: pl.DataFrame, origin: str, answers: TargetValues | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return numeric features [rows, numeric] float32 and category codes [rows, categories] int64.

        Args:
            frame: rows with the columns that this reads.
            origin: where they came from, for errors.
            answers: targets, if these are the training rows; a row's own target is then kept out of its encoding.

        Raises:
            DataError: a value that is not a number stands where one should.
        """
        numeric, codes = self._all_features(frame, origin, answers)
        return self.selection.apply(numeric, codes) if self.selection else (numeric, codes)

    def _all_features(
        self, frame: pl.DataFrame, origin: str, answers: TargetValues | None
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = [self.filled(frame, origin)]
        parts += [frame[column].is_null().to_numpy().astype(np.float32)[:, None] for column in self.indicators]
        if self.flags:
            beyond = [is_outlier(read_numbers(frame[flag.column], None, origin), flag.limits) for flag in self.flags]
            parts.append(np.any(beyond, axis=0).astype(np.float32)[:, None])
        parts += [state.apply(frame, answers) for state in self.derived]
        codes = np.empty((frame.height, len(self.categories)), dtype=np.int64)
        for index, category in enumerate(self.categories):
            codes[:, index] = category.codes(frame)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1), codes

    def _scaled(self, frame: pl.DataFrame, origin: str) -> np.ndarray:
        """Return the scaled numbers, missing as NaN, [rows, numbers] float32."""
        scaled = np.empty((frame.height, len(self.numbers)), dtype=np.float32)
        with np.errstate(over="ignore"):  # values beyond float32 become infinite, and training reports it
            for index, state in enumerate(self.numbers):
                scaled[:, index] = state.apply(state.read(frame, origin))
        return scaled

    def filled(self, frame: pl.DataFrame, origin: str) -> np.ndarray:
        """Return the numbers and parts of dates, scaled and without gaps, [rows, numbers] float32."""
        scaled = self._scaled(frame, origin)
        if self.filler is not None:
            return np.asarray(self.filler.fill(scaled), dtype=np.float32)
        fills = np.array([state.scaled_fill for state in self.numbers], dtype=np.float32)
        np.copyto(scaled, fills, where=np.isnan(scaled))
        return scaled

    def transform(self, frame: pl.DataFrame, place: Origin) -> "PreparedDataset":
        """Convert a table to model inputs, one sample per row, in order."""
        return to_dataset(*self.arrays(frame, place.name))

    def iter_arrays(
        self, frame: pl.DataFrame, place: Origin, size: int
    ) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None]]:
        """Yield batches of model inputs as arrays by name; imports no torch."""
        numeric, codes = self.arrays(frame, place.name)
        named = {name: values for name, values in zip(NAMES, (numeric, codes), strict=True) if values.shape[1]}
        for start in range(0, frame.height, size):
            yield {name: values[start : start + size] for name, values in named.items()}, None

    def describe(self, inputs: "Tensors") -> list[dict[str, str]]:
        """Describe rows by preprocessed numbers and names of categories."""
        found: list[dict[str, str]] = [{} for _ in next(iter(inputs.values()))]
        for position, fields in enumerate(found):
            for index, name in enumerate(self.names[: self.inputs.numeric]):
                fields[name] = f"{float(inputs['numeric'][position, index]):.2f}"
            for index, category in enumerate(self.embedded):
                fields[category.column] = category.names[int(inputs["categories"][position, index])]
        return found


def to_dataset(numeric: np.ndarray, codes: np.ndarray) -> "PreparedDataset":
    """Wrap arrays as model inputs, leaving out empty ones."""
    import torch

    from danlu.data.loader import PreparedDataset, TensorColumn

    named = zip(NAMES, (numeric, codes), strict=True)
    return PreparedDataset(
        tuple(TensorColumn(name, torch.from_numpy(values)) for name, values in named if values.shape[1])
    )


def training_targets(train: TrainSplit, dataset: Dataset, seed: Seed) -> TargetValues:
    """Return the training rows' target as numbers: class codes or values."""
    assert dataset.target is not None
    values = train.column(dataset.target)
    numbers = dataset.task.numbers(values)
    if len(numbers) == 1:
        return TargetValues(numbers[0].to_numpy(), continuous=True, seed=seed)
    return TargetValues(
        values.cast(pl.String).rank("dense").to_numpy().astype(np.int64) - 1, continuous=False, seed=seed
    )


def bin_edges(values: np.ndarray, bins: int) -> tuple[float, ...]:
    """Return ascending edges of bins with equal counts, two at least.

    Args:
        values: of a feature, [rows] float32; NaN is left out.
        bins: maximum number; repeated values make fewer.
    """
    known = values[np.isfinite(values)].astype(np.float64)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1))) if len(known) else np.zeros(1)
    return tuple(edges.tolist()) if len(edges) > 1 else (float(edges[0]), float(edges[0]) + 1.0)


def _varies(values: pl.Series) -> bool:
    """Return whether a column varies among the training rows.

    It does with two or more values that differ by more than rounding. A value in other rows does not make it a feature.
    """
    if values.dtype.is_float():
        return not is_constant(values.fill_null(float("nan")).to_numpy())
    return bool(values.min() != values.max())


def _fit_numbers(
    column: Column, train: TrainSplit, dataset: Dataset, section: Data
) -> tuple[list[NumberState], list[OutlierFlag]]:
    """Fit the numeric features of one column, and its outlier limits if they are flagged."""
    outliers = section.clean.outliers
    raw = train.column(column.name)
    if not _varies(raw):
        return [], []
    numbers: list[NumberState] = []
    for part in DATE_PARTS if column.type == "datetime" else (None,):
        values = read_numbers(raw, part, dataset.origin)
        if part is not None and is_constant(values):
            continue
        numbers.append(_fit_number(column, part, values, section))
    if outliers is None or outliers.action != "flag" or column.type != "number":
        return numbers, []
    limits = outlier_limits(values, outliers)
    return numbers, [] if limits is None else [OutlierFlag(column=column.name, limits=limits)]


def _fit_number(column: Column, part: str | None, values: np.ndarray, section: Data) -> NumberState:
    said, outliers, gaps = section.options_of(column.name), section.clean.outliers, section.clean.missing
    scaler = Scaler.of(said.scale or section.scale)
    fill: Fill = "median"
    constant = 0.0
    if isinstance(gaps, Impute) and gaps.strategy not in FILLERS:
        fill, constant = gaps.strategy, gaps.constant  # type: ignore[assignment]
    if isinstance(gaps, KeepMissing):
        fill = "keep"
    if isinstance(said.missing, str):
        fill = said.missing
    elif said.missing is not None:
        fill, constant = "constant", said.missing
    clipping = outliers is not None and outliers.action == "clip" and part is None
    limits = outlier_limits(values, outliers) if clipping and outliers is not None else None
    if limits is None and isinstance(scaler, MinMax | Symmetric) and scaler.clip and not np.isnan(values).all():
        limits = (float(np.nanmin(values)), float(np.nanmax(values)))
    return NumberState.fit(column.name, part, values, fill, constant, scaler, limits)


def _fit_category(
    column: Column, train: TrainSplit, dataset: Dataset, section: Data, seed: Seed
) -> CategoryState | OneHotState | TargetState | None:
    """Fit one category; return None where it is constant in the training rows."""
    encoder = Encoder.of(section.options_of(column.name).encode or section.encode)
    values = train.column(column.name)
    if not _varies(values):
        return None
    most = encoder.most if isinstance(encoder, OneHot) else None
    category = CategoryState.fit(values, encoder.rare, section.clean.categories == "merge", most)
    if isinstance(encoder, OneHot):
        return OneHotState(category=category)
    if isinstance(encoder, TargetEncoding):
        answers = training_targets(train, dataset, seed)
        return TargetState.fit(category, encoder, values.to_frame(), answers)
    return category
