"""Base class of balancers: three hooks, each of which changes nothing unless a method overrides it; and loss weights.

All three hooks see the training split alone. How they are put together stands in `apply`, the methods in `resampling`,
`loss_weights` and `synthetic`. Imports no torch.
"""

from abc import abstractmethod
from typing import ClassVar, Literal, Self

import numpy as np

from danlu.core.seeds import Seed
from danlu.data.loader import EpochOrder, PreparedDataset, shuffled_order
from danlu.recipe.components import BalancerOptions
from danlu.tasks.loss_weighting import LossWeighting


class Balancer(BalancerOptions):
    """Correct class imbalance in the training split.

    Attributes:
        kinds: the kinds of data it can balance.

    Example:
        >>> from dataclasses import replace
        >>> import danlu
        >>> class DoubleFirst(danlu.Balancer):
        ...     name: str = "double-first"
        ...     @property
        ...     def effect(self) -> str:
        ...         return "a sample of the first class counts twice in the loss"
        ...     def loss_weighting(self, counts):
        ...         weights = [2.0] + [1.0] * (len(counts) - 1)
        ...         return replace(super().loss_weighting(counts), class_weights=tuple(weights))
        >>> DoubleFirst().loss_weighting([3, 4]).class_weights
        (2.0, 1.0)
    """

    kinds: ClassVar[tuple[str, ...]] = ("tabular", "image", "text")

    @property
    @abstractmethod
    def effect(self) -> str:
        """The effect as a sentence for the report; empty where there is none."""

    def resample(self, examples: PreparedDataset, labels: tuple[str, ...], seed: Seed) -> PreparedDataset:
        """Add synthetic rows, or remove rows for good.

        Args:
            examples: the prepared training split; its target is the class of each sample, [samples], from 0.
            labels: how errors name the classes.
            seed: decides every random choice.

        Raises:
            DataError: a class has too few samples, or the inputs cannot be balanced this way.
        """
        return examples

    def order(self, codes: np.ndarray, seed: Seed) -> EpochOrder:
        """Return which of the (resampled) rows each epoch takes, and in which order.

        Args:
            codes: the class of each row, [samples].
            seed: the recipe's.
        """
        return shuffled_order(len(codes), seed)

    def for_labels(self, labels: tuple[str, ...]) -> Self:
        """Return the balancer with its options by label put in order.

        Args:
            labels: the classes, in the order of their codes.

        Raises:
            RecipeError: an option names a class that the target does not have, or leaves one out.
        """
        return self

    def loss_weighting(self, counts: np.ndarray) -> LossWeighting:
        """Return the loss weighting for classes with `counts` rows per epoch, [classes]."""
        return LossWeighting()


class NoBalancing(Balancer):
    """Leave the classes as they are."""

    name: Literal["none"] = "none"

    @property
    def effect(self) -> str:
        return ""
