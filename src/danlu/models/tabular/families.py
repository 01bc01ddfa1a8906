"""The families of networks over tables that a recipe may name, with their options. Imports no torch."""

from typing import TYPE_CHECKING, ClassVar, Literal

import polars as pl
from pydantic import Field, PositiveFloat, PositiveInt

from danlu.data.place import Hints
from danlu.data.specs import InputSpec
from danlu.models.base import Habits, Model, Readable, Sized, Sizes
from danlu.recipe.sections import Fraction

if TYPE_CHECKING:
    from torch import nn

    from danlu.data.tabular.preprocessor import TabularPreprocessor
    from danlu.data.targets import Supervised

NumericEmbedding = Literal["none", "linear", "periodic", "piecewise-linear"]


class Linear(Model):
    """Logistic or linear regression: one weight an input and output."""

    kinds = ("tabular",)
    habits = Habits(lr_factor=10)  # without hidden layers the loss is convex, and larger steps still go straight down
    name: Literal["linear"] = "linear"

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.mlp import MLPNetwork

        assert inputs.kind == "tabular"
        return MLPNetwork(inputs, outputs, hidden=(), dropout=0.0, normalization="none", activation="relu")


class MLP(Sized):
    """A multilayer perceptron beside a linear path, over numbers and embedded categories."""

    kinds = ("tabular",)
    sizes: ClassVar[Sizes] = {"small": {"hidden": (64,)}, "base": {}, "large": {"hidden": (512, 512, 512)}}
    name: Literal["mlp"] = "mlp"
    hidden: tuple[PositiveInt, ...] = (128, 128)
    dropout: Fraction = 0.1
    normalization: Literal["batch", "layer", "group", "none"] = "batch"
    activation: Literal["relu", "gelu", "silu"] = "relu"

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.mlp import MLPNetwork

        assert inputs.kind == "tabular"
        return MLPNetwork(inputs, outputs, self.hidden, self.dropout, self.normalization, self.activation)


class EmbedsNumbers(Sized):
    """A network that may turn each number into a vector before anything else (Gorishniy et al. 2022)."""

    kinds = ("tabular",)
    numeric_embedding: NumericEmbedding = Field(
        default="piecewise-linear",
        description="a vector for each number: by its place among bins of the training rows (piecewise-linear), by "
        "waves of learned frequencies (periodic), by a line (linear)",
    )
    bins: PositiveInt = Field(default=32, description="of piecewise-linear, at most")
    frequencies: PositiveInt = Field(default=24, description="of periodic")
    frequency_scale: PositiveFloat = Field(default=0.1, description="deviation of the first frequencies of periodic")

    def hints(self) -> Hints:
        return Hints(bins=self.bins if self.numeric_embedding == "piecewise-linear" else None)


class ResNet(EmbedsNumbers):
    """A residual network: blocks of two layers, each added to what it was given (Gorishniy et al. 2021)."""

    habits = Habits(patience=16)
    sizes: ClassVar[Sizes] = {"small": {"width": 64, "blocks": 1}, "base": {}, "large": {"width": 384, "blocks": 4}}
    name: Literal["resnet"] = "resnet"
    embedding_width: PositiveInt = Field(default=8, description="of an embedded number")
    width: PositiveInt = 128
    blocks: PositiveInt = 2
    widening: PositiveFloat = Field(default=2.0, description="of a block's inner layer")
    dropout: Fraction = Field(default=0.2, description="within a block")
    residual_dropout: Fraction = Field(default=0.0, description="of what a block adds")

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.resnet import ResNetNetwork

        assert inputs.kind == "tabular"
        return ResNetNetwork(self, inputs, outputs)


class FTTransformer(EmbedsNumbers):
    """A transformer over a row's features, a token each (Gorishniy et al. 2021).

    `numeric_embedding: none` is the paper's: a number scales a learned vector.
    """

    habits = Habits(lr_factor=0.5, patience=16)
    sizes: ClassVar[Sizes] = {
        "small": {"width": 32, "blocks": 1},
        "base": {},
        "large": {"width": 192, "blocks": 3, "heads": 8},  # the paper's own
    }
    name: Literal["ft-transformer"] = "ft-transformer"
    width: PositiveInt = Field(default=64, description="of a token; a multiple of `heads`")
    blocks: PositiveInt = 2
    heads: PositiveInt = 4
    widening: PositiveFloat = Field(default=4 / 3, description="of the layers between attentions")
    attention_dropout: Fraction = 0.2
    dropout: Fraction = Field(default=0.1, description="of the layers between attentions")
    residual_dropout: Fraction = Field(default=0.0, description="of what a block adds")

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.ft_transformer import FTTransformerNetwork

        assert inputs.kind == "tabular"
        return FTTransformerNetwork(self, inputs, outputs)


class TabM(EmbedsNumbers):
    """An ensemble of perceptrons that share matrices; each scales what goes in and out (Gorishniy et al. 2024).

    Each member learns on its own; the answer is the mean of theirs.
    """

    habits = Habits(patience=16)
    sizes: ClassVar[Sizes] = {
        "small": {"width": 64, "members": 8},
        "base": {},
        "large": {"width": 512, "blocks": 3, "members": 32},  # the paper's own
    }
    name: Literal["tabm"] = "tabm"
    members: PositiveInt = 16
    embedding_width: PositiveInt = Field(default=8, description="of an embedded number")
    width: PositiveInt = 128
    blocks: PositiveInt = 2
    dropout: Fraction = 0.1

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.tabm import TabMNetwork

        assert inputs.kind == "tabular"
        return TabMNetwork(self, inputs, outputs)


class Additive(Readable):
    """A generalized additive model: the sum of one curve a number and one value a category (Hastie & Tibshirani 1986).

    Curves are straight between the edges of bins. Nothing is learned of features together, so each curve can be read
    and says all that its feature does.
    """

    kinds = ("tabular",)
    habits = Habits(lr_factor=10, patience=16)
    name: Literal["additive"] = "additive"
    bins: PositiveInt = Field(default=16, description="of a number, at most")

    def hints(self) -> Hints:
        return Hints(bins=self.bins)

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.additive import AdditiveNetwork

        assert inputs.kind == "tabular"
        return AdditiveNetwork(inputs, outputs)

    def read(self, network: "nn.Module", preprocessor: "TabularPreprocessor", target: "Supervised") -> pl.DataFrame:
        """What each feature adds: `feature`, `value` (a number's, or a category's), and one column an output.

        Of classes what is added to each logit, two classes as one: the second's over the first's. Of a number in the
        target's own units. Each feature's column has mean 0 over its values; the rest is the row `(all rows)`.
        """
        from danlu.models.tabular.additive import AdditiveNetwork, curves

        assert isinstance(network, AdditiveNetwork)
        return curves(network, preprocessor, target)
