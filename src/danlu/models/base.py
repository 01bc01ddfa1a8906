"""What every family of models is, and what one is besides that fits itself instead of being stepped by an optimizer.

The table of families stands in `table`. Imports no torch: networks are imported when one is built.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from danlu.artifacts.bundle import WEIGHTS
from danlu.core.component import Component
from danlu.core.errors import ArgumentError
from danlu.core.seeds import Seed
from danlu.data.dataset import Kind
from danlu.data.place import Hints
from danlu.data.specs import InputSpec, TabularInputs

if TYPE_CHECKING:
    from torch import nn

    from danlu.data.tabular.preprocessor import TabularPreprocessor
    from danlu.data.targets import Supervised
    from danlu.models.predictor import Predictor


@dataclass(frozen=True)
class Habits:
    """What suits a family where the recipe leaves it open.

    Attributes:
        lr_factor: of the optimizer's usual learning rate.
        patience: validations without improvement that end training; None trains to the end.
    """

    lr_factor: float = 1.0
    patience: int | None = None


class Model(Component):
    """A family of models.

    Attributes:
        kinds: the kinds of data it takes.
        extra: the extra it needs, if any.
        extra_to_train: the extra that only training needs; its bundle answers without.
        takes_gaps: whether missing numbers may reach it as such.
        habits: what suits it.
    """

    kinds: ClassVar[tuple[Kind, ...]]
    extra: ClassVar[str | None] = None
    extra_to_train: ClassVar[str | None] = None
    takes_gaps: ClassVar[bool] = False
    habits: ClassVar[Habits] = Habits()

    @abstractmethod
    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        """A network with fresh (or pretrained) weights on the CPU, drawn from torch's current seed.

        Args:
            inputs: what a prepared sample looks like.
            outputs: numbers a sample (for language models: a token).

        Returns:
            a module: forward(**inputs) -> [batch, outputs], or [batch, length, outputs] for language models, or
            [batch, members, outputs] for an ensemble whose members learn on their own.
        """

    def hints(self) -> Hints:
        """What the model wants of the data."""
        return Hints()

    @property
    def code(self) -> str | None:
        """What building it imports that is not danlu's, if anything: a bundle must be told to."""
        return None

    def portable(self) -> Self:
        """Options that build the same network from no other file, for the bundle."""
        return self

    def write_native(self, network: "nn.Module", folder: Path, predictor: "Predictor | None" = None) -> None:
        """Write the model into an empty folder in the form of the library that it is of.

        Args:
            network: as `build` made it, trained.
            predictor: the bundle that it is of, where its form takes in more: a tokenizer, a template, labels.

        Raises:
            ArgumentError: there is no such form.
        """
        raise ArgumentError(f"{getattr(self, 'name', 'the model')} is of no library that has a form of its own for it")

    def read_native(self, folder: Path, predictor: "Predictor") -> "nn.Module | None":
        """The network as its library reads it from what `write_native` wrote; None where the library has no such class.

        Args:
            folder: of `write_native`.
            predictor: the bundle that was written.
        """
        return None

    def write_weights(self, network: "nn.Module", folder: Path) -> None:
        """Write what training found into a bundle's folder."""
        from danlu.artifacts.checkpoints import copied, unique_tensors
        from danlu.artifacts.tensors import save_tensors

        save_tensors(copied(unique_tensors(network)), folder / WEIGHTS)

    def read_weights(self, network: "nn.Module", folder: Path) -> None:
        """Put what `write_weights` wrote into a network built alike.

        Raises:
            RuntimeError: it is not of this network.
        """
        from danlu.artifacts.checkpoints import load_weights
        from danlu.artifacts.tensors import load_tensors

        load_weights(network, load_tensors(folder / WEIGHTS))


Size = Literal["small", "base", "large"]
Sizes = Mapping[Size, Mapping[str, Any]]


class Sized(Model):
    """A family with presets of its options, of which a recipe may change single ones.

    Attributes:
        sizes: what each preset says.
    """

    sizes: ClassVar[Sizes]
    size: Size | None = Field(default=None, description="a preset of the other options, where they are left out")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_size(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("size") not in cls.sizes:
            return values
        return {**cls.sizes[values["size"]], **values}


class Readable(Model):
    """A family whose networks a person can read."""

    @abstractmethod
    def read(self, network: "nn.Module", preprocessor: "TabularPreprocessor", target: "Supervised") -> pl.DataFrame:
        """What a trained network has learned, in the columns' own units."""


@dataclass(frozen=True)
class Rows:
    """Prepared rows of a table.

    Attributes:
        numeric: [rows, numbers] float32.
        codes: [rows, categories] int64.
        target: classes [rows] int64, or standardised numbers [rows] float32.
    """

    numeric: np.ndarray
    codes: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class Lesson:
    """What a model that fits itself learns from.

    Attributes:
        inputs: what a row looks like.
        outputs: numbers a row; one for a quantity, the number of classes else.
        weights: what each training row counts, [rows], mean 1; None where all count alike.
        threads: that may compute.
    """

    inputs: TabularInputs
    outputs: int
    train: Rows
    weights: np.ndarray | None
    validation: Rows
    seed: Seed
    threads: int


class Growth(Protocol):
    """A model while it fits itself, round by round."""

    def rounds(self) -> Iterator[float]:
        """Grow, one round an item: the training loss after it. Ends where there is nothing more to learn."""

    def scores(self) -> np.ndarray:
        """Logits, or standardised numbers, of the validation rows after the rounds so far, [rows, outputs]."""

    def put_into(self, network: "nn.Module", rounds: int) -> None:
        """Give a network what was learned in the first so many rounds."""


class FitsItself(Model):
    """A family that no optimizer steps: it is given the training rows and grows on its own, round by round.

    Its networks have no weights that are trained; they answer by what was grown.
    """

    @property
    @abstractmethod
    def most_rounds(self) -> int:
        """Rounds that are grown if early stopping ends none."""

    @abstractmethod
    def begin(self, lesson: Lesson) -> Growth:
        """Get ready to grow."""
