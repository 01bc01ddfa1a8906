"""The ways to balance classes that a recipe may name. Imports no torch."""

from typing import ClassVar, Literal

import numpy as np

from danlu.core.component import Component
from danlu.core.seeds import Seed
from danlu.data.balance.emphasis import Emphasis
from danlu.data.dataset import Kind
from danlu.data.examples import Examples
from danlu.data.feed import Order, shuffled


class Balancer(Component):
    """What is done about classes of unequal size. Each method has a default that changes nothing.

    Attributes:
        kinds: the kinds of data it can balance.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("tabular", "image", "text")

    def resample(self, examples: Examples, codes: np.ndarray, seed: Seed) -> Examples:
        """Take rows away or add rows, real or synthetic.

        Args:
            examples: the prepared training split.
            codes: the class of each sample, [samples], from 0.
            seed: decides every random choice.
        """
        return examples

    def order(self, codes: np.ndarray, seed: Seed) -> Order:
        """Which of the (resampled) rows each epoch takes, and in which order."""
        return shuffled(len(codes), seed)

    def emphasis(self, counts: np.ndarray) -> Emphasis:
        """What the loss makes of classes that have `counts` training samples, [classes]."""
        return Emphasis()


class NoBalancing(Balancer):
    """Classes as they are."""

    kinds = ("tabular", "image", "text", "corpus")
    name: Literal["none"] = "none"


BALANCERS: dict[str, type[Component]] = {"none": NoBalancing}
