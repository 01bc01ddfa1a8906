"""Base classes of augmentations, and the parameters of image augmentations drawn before any pixel is seen. Imports no
torch.

In: the recipe's image augmentations, rows, an epoch. Out: AugmentParams, which `host` carries out on one uint8 image at
a time and `device` on whole batches. The stages come in one order whatever the recipe's: geometry in one resampling,
linear colour in one matrix, hue, tone filters, blur, noise, erasing. Within a stage the recipe's order holds.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from danlu.core.component import Component
from danlu.core.seeds import Seed
from danlu.data.dataset import Kind

if TYPE_CHECKING:
    from danlu.data.augment.draw import HashRng
    from danlu.data.augment.plan import AugmentBuilder
    from danlu.data.examples import PreparedDataset
    from danlu.data.feed import BatchTransform
    from danlu.data.place import TokenizerFile

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Augmentation(Component):
    """Transform training samples at random.

    Attributes:
        kinds: the kinds of data it can change.
    """

    kinds: ClassVar[tuple[Kind, ...]]


class ImageAugmentation(Augmentation):
    """Transform single images by adding to the parameters that both executors carry out."""

    kinds: ClassVar[tuple[Kind, ...]] = ("image",)

    @abstractmethod
    def add(self, sketch: "AugmentBuilder", draw: "HashRng") -> None:
        """Draw this transform's parameters for every row and add them to the builder."""


@dataclass(frozen=True)
class TransformContext:
    """Hold what batch transforms are built from.

    Attributes:
        dataset: the training samples, prepared and balanced; nothing else is ever looked at.
        seed: this transform's own.
        tokenizer: of texts.
    """

    dataset: "PreparedDataset"
    seed: Seed
    tokenizer: "TokenizerFile | None" = None


class BatchAugmentation(Augmentation):
    """Transform whole batches of texts or table rows."""

    @abstractmethod
    def build_transform(self, setting: TransformContext) -> "BatchTransform":
        """Build the transform that the loader applies.

        Raises:
            RecipeError: the data does not support it.
        """
