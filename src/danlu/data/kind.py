"""The base of a kind of data: all that danlu decides by what the data is, and the base of its preprocessor.

Each kind is one class in `danlu.data.kinds`. Whoever depends on the kind asks the object for a capability or calls its
method, and never compares its name. What belongs to upper layers (networks, metrics, pages) stays there and asks too.
Imports no torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from danlu.core.component import Frozen
from danlu.core.seeds import Seed
from danlu.data.column_names import blanks_of
from danlu.data.columns import Column
from danlu.data.descriptors import DataRequirements, Origin, RawData
from danlu.data.frames import Table
from danlu.data.sources.in_memory import as_frame
from danlu.data.sources.unnamed_rows import matrix_to_frame
from danlu.data.specs import InputSpec
from danlu.recipe.sections.data import Data
from danlu.tasks.base import Task

if TYPE_CHECKING:
    from danlu.data.loader import PreparedDataset, Tensors

SAMPLES = "the samples given"  # how errors name what a predictor is handed
MAX_SHOWN_VALUES = 8  # of a prepared sample that has no other description


class Preprocessor(Frozen):
    """Turn raw rows into model inputs: plain values, learned from the training split.

    A preprocessor has a field `kind`, by default the name of its kind of data.
    """

    @classmethod
    @abstractmethod
    def fit(cls, train: Any, dataset: Any, section: Data, hints: DataRequirements, seed: Seed) -> Self:
        """Learn from the training split.

        Args:
            train: a `TrainSplit`. Any, since both it and a Dataset stand above the kind that a Dataset has.
            dataset: a `Dataset`.
            section: the recipe's `data` section.
            hints: requirements of the chosen model.
            seed: decides every random choice.

        Raises:
            DataError, RecipeError: the rows give nothing to learn, or contradict the recipe.
        """

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns that `transform` reads."""

    @property
    @abstractmethod
    def inputs(self) -> InputSpec:
        """The shapes and types of a prepared sample."""

    @abstractmethod
    def transform(self, frame: pl.DataFrame, place: Origin) -> "PreparedDataset":
        """Convert rows to model inputs, in order.

        Args:
            frame: rows with `columns`.
            place: names the rows in errors, and is where relative paths start.
        """

    def iter_arrays(
        self, frame: pl.DataFrame, place: Origin, size: int
    ) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None]]:
        """Yield batches of inputs as arrays, and the target where this makes it.

        Args:
            frame, place: as `transform` takes them.
            size: rows of a batch.
        """
        import torch

        for _, inputs, target in self.transform(frame, place).iter_batches(size, torch.device("cpu")):
            arrays = {name: values.numpy() for name, values in inputs.items()}
            yield arrays, None if target is None else target.numpy()

    @property
    def asks_for_date(self) -> bool:
        """Whether its chat template writes a date."""
        return False

    def on_date(self, date: str) -> Self:
        """Return the preprocessor with a fixed date, if it asks for one."""
        return self

    def check_split(self, name: str, frame: pl.DataFrame, place: Origin) -> None:
        """Raise DataError if a split holds nothing that can be learned or judged."""
        return

    def shown_row(self, frame: pl.DataFrame, origin: str) -> list[dict[str, Any]]:
        """Return the first row as the model reads it, in learned and other parts.

        None but for messages.

        Args:
            frame: rows with `columns`.
            origin: names the data in errors.
        """
        return []

    def describe(self, inputs: "Tensors") -> list[dict[str, str]]:
        """Describe a batch of model inputs for a reader: name to value, for each sample."""
        count = len(next(iter(inputs.values())))
        firsts = {name: values.reshape(count, -1)[:, :MAX_SHOWN_VALUES].tolist() for name, values in inputs.items()}
        return [
            {name: " ".join(f"{value:.4g}" for value in rows[row]) for name, rows in firsts.items()}
            for row in range(count)
        ]


@dataclass(frozen=True)
class TypicalSample:
    """Describe a sample at which the list of models counts weights and FLOPs.

    Attributes:
        listed_as: the kind's name in that list.
        inputs: the prepared sample.
        description: the sample in words; of images the size says it.
        outputs: of a model for it.
    """

    listed_as: str
    inputs: InputSpec
    description: str
    outputs: int


class DataKind(ABC):
    """Hold everything that a kind of data decides. Instances have no state.

    Attributes:
        name: as files and messages give it.
        prepared_as: the kind whose models and augmentations also take its samples; None for its own alone.
        preprocessor: turns its rows into model inputs.
        default_model, default_epochs: of a recipe that names none.
        typical: a sample for the list of models; None for a kind that shares the models of another.
        own_task, own_task_reason: the only task it has, with the key of its reason; None where the target tells.

        has_feature_columns: whether a row has several features; else one column is the whole sample.
        reads_rows_apart: whether a row is read alike whatever other rows a file has, its columns' types aside.
        shows_pictures: whether a sample is shown as a picture.
        content_is_text: whether that one column is a text, as people read it.
        refers_to_files: whether that one column may hold paths of files.
        answers_each_word: whether a sample has an answer for each of its words.
        generates_text: whether its models can continue a text.
        shows_a_row: whether `danlu check` shows a row as the model reads it.
        has_task_head: whether its models have a head that can be trained alone.
        loss_per_byte: whether the loss is also given per byte of the text.
        trains_in_processes: whether several processes can train together.

        max_baseline_rows: training rows of its linear baseline.
        max_sliced_rows, max_perturbed_rows: test rows examined for slices, and per perturbation.
        max_compared_rows: rows among which near duplicates are looked for.
        shown_samples, shown_errors: samples and worst errors on a page.
        near_copies_finding: key of the audit's finding about near duplicates.

        starter_lines: lines of a starter recipe's `data` section.
        row_noun: key of what pages call a row.
    """

    name: ClassVar[str]
    prepared_as: ClassVar[str | None] = None
    preprocessor: ClassVar[type[Preprocessor]]
    default_model: ClassVar[str]
    default_epochs: ClassVar[int]
    typical: ClassVar[TypicalSample | None] = None
    own_task: ClassVar[Task | None] = None
    own_task_reason: ClassVar[str] = ""

    has_feature_columns: ClassVar[bool] = False
    reads_rows_apart: ClassVar[bool] = False
    shows_pictures: ClassVar[bool] = False
    content_is_text: ClassVar[bool] = False
    refers_to_files: ClassVar[bool] = False
    answers_each_word: ClassVar[bool] = False
    generates_text: ClassVar[bool] = False
    shows_a_row: ClassVar[bool] = False
    has_task_head: ClassVar[bool] = True
    loss_per_byte: ClassVar[bool] = False
    trains_in_processes: ClassVar[bool] = True

    max_baseline_rows: ClassVar[int] = 100_000
    max_sliced_rows: ClassVar[int] = 50_000
    max_perturbed_rows: ClassVar[int] = 20_000
    max_compared_rows: ClassVar[int] = 20_000
    shown_samples: ClassVar[int] = 5
    shown_errors: ClassVar[int] = 12
    near_copies_finding: ClassVar[str] = "near-texts"

    starter_lines: ClassVar[tuple[str, ...]] = ()
    row_noun: ClassVar[str] = "sample"

    def __str__(self) -> str:
        return self.name

    def fits(self, kinds: Collection[str]) -> bool:
        """Return whether a component made for these kinds of data takes this one."""
        return self.name in kinds or self.prepared_as in kinds

    # How it is read.

    def read(self, source: RawData, section: Data) -> RawData:
        """Bring raw data of this kind into its form; return other data unchanged.

        Raises:
            DataError: it is of this kind, and a row of it is wrong.
        """
        return source

    def mark(self, column: Column, section: Data, source: RawData) -> Column:
        """Give a column the type that the layout of this kind implies; return others unchanged."""
        return column

    @abstractmethod
    def recognize(self, columns: tuple[Column, ...], section: Data, source: RawData) -> tuple[Column, ...] | None:
        """Return the columns, unusable ones marked; None for data of another kind.

        Raises:
            DataError: it is data of this kind, and nothing of it can be learned from.
        """

    # Defaults of a recipe.

    @abstractmethod
    def default_batch_size(self, rows: int) -> int:
        """Return the batch size for a dataset of so many rows."""

    def default_split(self, frame: Table, target: str | None) -> Mapping[str, str]:
        """Return the splitter's name and options, as a recipe gives them."""
        return {"name": "stratified" if target else "random"}

    # Samples handed to a predictor.

    def samples_to_frame(self, samples: Any, columns: Sequence[str]) -> pl.DataFrame:
        """Convert samples in any accepted form to a frame.

        Args:
            samples: a frame, an Arrow table, a dict of columns, a list of dicts, or what `unnamed_to_frame` takes.
            columns: those that the preprocessor reads.

        Raises:
            DataError: a column mixes types.
        """
        frame = as_frame(samples)
        if frame is None:
            return self.unnamed_to_frame(samples, columns)
        return frame.rename(blanks_of(frame.columns, columns))

    def unnamed_to_frame(self, samples: Any, columns: Sequence[str]) -> pl.DataFrame:
        """Convert samples without column names to a frame.

        Here they are a matrix, its columns in the order of training.
        """
        return matrix_to_frame(samples, columns)

    def read_samples(self, source: RawData, columns: Sequence[str]) -> RawData:
        """Bring rows to be predicted into the form that the preprocessor reads.

        Raises:
            DataError: a row is wrong.
        """
        return source

    # Samples shown to a reader, and compared with one another.

    def cell_formatter(self, name: str, used: Sequence[str], target: str | None) -> Callable[[Any], Any] | None:
        """Return what makes a column's values readable; None where they are.

        Args:
            name: the column.
            used: the columns that the model is given.
            target: the column to predict.
        """
        return None

    @abstractmethod
    def near_duplicates(self, values: Sequence[Any], folder: Path, similarity: float) -> np.ndarray:
        """Group nearly equal samples.

        Args:
            values: of the one column that is a sample.
            folder: where relative paths start.
            similarity: from which two count as copies, in (0, 1].

        Returns:
            [samples] int64: the position of the first sample of its group.

        Raises:
            RecipeError: samples of this kind have no likeness.
            DataError: a sample cannot be read.
        """

    def can_compare(self, values: Sequence[Any], folder: Path) -> bool:
        """Return whether samples carry enough to tell copies from likeness."""
        return True


def use_only(columns: tuple[Column, ...], names: Sequence[str], why: str) -> tuple[Column, ...]:
    """Mark all but some columns unused, with the reason."""
    return tuple(
        column.model_copy(update={"used": False, "reason": why}) if column.name not in names and column.used else column
        for column in columns
    )
