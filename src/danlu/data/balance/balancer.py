"""What every balancer is: three hooks, each of which changes nothing unless a method overrides it.

All three see the training split alone. How they are put together stands in `apply`, the methods in `rows`, `losses`
and `synthetic`. Imports no torch.
"""

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np

from danlu.core.component import Component
from danlu.core.seeds import Seed
from danlu.data.balance.emphasis import Emphasis
from danlu.data.dataset import Kind
from danlu.data.examples import Examples
from danlu.data.feed import Order, shuffled


class Balancer(Component):
    """What is done about classes of unequal size.

    Attributes:
        kinds: the kinds of data it can balance.
        measures: whether it measures how far rows lie apart, and so needs rows without gaps.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("tabular", "image", "text")
    measures: ClassVar[bool] = False

    @property
    @abstractmethod
    def effect(self) -> str:
        """What it does, as a sentence for the report; nothing where nothing is done."""

    def resample(self, examples: Examples, labels: tuple[str, ...], seed: Seed) -> Examples:
        """Add rows that were not there, or take rows away for good.

        Args:
            examples: the prepared training split; its target is the class of each sample, [samples], from 0.
            labels: how errors name the classes.
            seed: decides every random choice.

        Raises:
            DataError: a class has too few samples, or the inputs cannot be balanced so.
        """
        return examples

    def order(self, codes: np.ndarray, seed: Seed) -> Order:
        """Which of the (resampled) rows each epoch takes, and in which order.

        Args:
            codes: the class of each row, [samples].
            seed: the recipe's.
        """
        return shuffled(len(codes), seed)

    def emphasis(self, counts: np.ndarray) -> Emphasis:
        """What the loss makes of classes that have `counts` rows an epoch, [classes]."""
        return Emphasis()


class NoBalancing(Balancer):
    """Classes as they are."""

    kinds = ("tabular", "image", "text", "words", "corpus", "chat", "preference")
    name: Literal["none"] = "none"

    @property
    def effect(self) -> str:
        return ""
