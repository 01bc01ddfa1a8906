"""What an augmentation is: a named component with options, for one or more kinds of data. Imports no torch."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from danlu.core.component import Component
from danlu.core.seeds import Seed
from danlu.data.dataset import Kind

if TYPE_CHECKING:
    from danlu.data.augment.draw import Draw
    from danlu.data.augment.plan import Sketch
    from danlu.data.examples import Examples
    from danlu.data.feed import Change
    from danlu.data.place import TokenizerFile

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Augmentation(Component):
    """One random change of training samples.

    Attributes:
        kinds: the kinds of data it can change.
    """

    kinds: ClassVar[tuple[Kind, ...]]


class ImageAugmentation(Augmentation):
    """A change of single images: it adds its part to the plan that both executors carry out."""

    kinds: ClassVar[tuple[Kind, ...]] = ("image",)

    @abstractmethod
    def add(self, sketch: "Sketch", draw: "Draw") -> None:
        """Draw this change's parameters for every row and add them to the plan."""


@dataclass(frozen=True)
class Setting:
    """What changes of batches are made from.

    Attributes:
        examples: the training examples, prepared and balanced; nothing else is ever looked at.
        seed: this change's own.
        tokenizer: of texts.
    """

    examples: "Examples"
    seed: Seed
    tokenizer: "TokenizerFile | None" = None


class BatchAugmentation(Augmentation):
    """A change of whole batches of texts or rows of a table."""

    @abstractmethod
    def change(self, setting: Setting) -> "Change":
        """The change as the feed carries it out.

        Raises:
            RecipeError: the data cannot have it.
        """
