"""Model families for tables with their options: networks, an additive model, a decision tree, boosting.

Imports no torch: the recipe's schema is built from these classes, and `danlu check` starts without it.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

import polars as pl
from pydantic import Field, PositiveFloat, PositiveInt

from danlu.data.place import DataRequirements
from danlu.data.specs import InputSpec
from danlu.models.base import ModelDefaults, Model, Interpretable, HasPresets, SizePresets
from danlu.recipe.sections import Fraction

if TYPE_CHECKING:
    from torch import nn

    from danlu.data.tabular.preprocessor import TabularPreprocessor
    from danlu.data.targets import Supervised

NumericEmbedding = Literal["none", "linear", "periodic", "piecewise-linear"]


class Linear(Model):
    """Fit logistic or linear regression: one weight per input and output."""

    kinds = ("tabular",)
    defaults = ModelDefaults(lr_factor=10)  # without hidden layers the loss is convex and tolerates larger steps
    name: Literal["linear"] = "linear"

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.mlp import MLPNetwork

        assert inputs.kind == "tabular"
        return MLPNetwork(inputs, outputs, hidden=(), dropout=0.0, normalization="none", activation="relu")


class MLP(HasPresets):
    """Train a multilayer perceptron with a parallel linear path over numbers and embedded categories."""

    kinds = ("tabular",)
    presets: ClassVar[SizePresets] = {"small": {"hidden": (64,)}, "base": {}, "large": {"hidden": (512, 512, 512)}}
    name: Literal["mlp"] = "mlp"
    hidden: tuple[PositiveInt, ...] = (128, 128)
    dropout: Fraction = 0.1
    normalization: Literal["batch", "layer", "group", "none"] = "batch"
    activation: Literal["relu", "gelu", "silu"] = "relu"

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.mlp import MLPNetwork

        assert inputs.kind == "tabular"
        return MLPNetwork(inputs, outputs, self.hidden, self.dropout, self.normalization, self.activation)


class HasNumericEmbedding(HasPresets):
    """Add numeric embeddings to a network (Gorishniy et al. 2022, https://arxiv.org/abs/2203.05556)."""

    kinds = ("tabular",)
    numeric_embedding: NumericEmbedding = Field(
        default="piecewise-linear",
        description="embed each number as a vector: position within quantile bins of the training rows "
        "(piecewise-linear), sines of learned frequencies (periodic), a linear map with ReLU (linear)",
    )
    bins: PositiveInt = Field(default=32, description="piecewise-linear: most bins per number")
    frequencies: PositiveInt = Field(default=24, description="periodic: frequencies per number")
    frequency_scale: PositiveFloat = Field(
        default=0.1, description="periodic: standard deviation of the initial frequencies"
    )

    def data_requirements(self) -> DataRequirements:
        return DataRequirements(bins=self.bins if self.numeric_embedding == "piecewise-linear" else None)


class ResNet(HasNumericEmbedding):
    """Train a residual network for tables (Gorishniy et al. 2021, https://arxiv.org/abs/2106.11959).

    Each block has two layers, whose output is added to its input.
    """

    defaults = ModelDefaults(patience=16)
    presets: ClassVar[SizePresets] = {"small": {"width": 64, "blocks": 1}, "base": {}, "large": {"width": 384, "blocks": 4}}
    name: Literal["resnet"] = "resnet"
    embedding_width: PositiveInt = Field(default=8, description="size of a numeric embedding")
    width: PositiveInt = 128
    blocks: PositiveInt = 2
    widening: PositiveFloat = Field(default=2.0, description="width of a block's inner layer, relative to `width`")
    dropout: Fraction = Field(default=0.2, description="within a block")
    residual_dropout: Fraction = Field(default=0.0, description="on the output of a block")

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.resnet import ResNetNetwork

        assert inputs.kind == "tabular"
        return ResNetNetwork(self, inputs, outputs)


class FTTransformer(HasNumericEmbedding):
    """Train a transformer with one token per feature (Gorishniy et al. 2021, https://arxiv.org/abs/2106.11959).

    `numeric_embedding: none` is the paper's tokenizer: a number scales a learned vector.
    """

    defaults = ModelDefaults(lr_factor=0.5, patience=16)
    presets: ClassVar[SizePresets] = {
        "small": {"width": 32, "blocks": 1},
        "base": {},
        "large": {"width": 192, "blocks": 3, "heads": 8},  # the paper's own
    }
    name: Literal["ft-transformer"] = "ft-transformer"
    width: PositiveInt = Field(default=64, description="size of a token; a multiple of `heads`")
    blocks: PositiveInt = 2
    heads: PositiveInt = 4
    widening: PositiveFloat = Field(default=4 / 3, description="width of the feed-forward layer, relative to `width`")
    attention_dropout: Fraction = 0.2
    dropout: Fraction = Field(default=0.1, description="within the feed-forward layer")
    residual_dropout: Fraction = Field(default=0.0, description="on the output of attention and feed-forward layer")

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.ft_transformer import FTTransformerNetwork

        assert inputs.kind == "tabular"
        return FTTransformerNetwork(self, inputs, outputs)


class TabM(HasNumericEmbedding):
    """Train an ensemble of perceptrons with shared matrices (Gorishniy et al. 2024, https://arxiv.org/abs/2410.24210).

    Each member scales inputs and outputs of the shared layers and is trained independently; predictions are averaged.
    """

    defaults = ModelDefaults(patience=16)
    presets: ClassVar[SizePresets] = {
        "small": {"width": 64, "members": 8},
        "base": {},
        "large": {"width": 512, "blocks": 3, "members": 32},  # the paper's own
    }
    name: Literal["tabm"] = "tabm"
    members: PositiveInt = 16
    embedding_width: PositiveInt = Field(default=8, description="size of a numeric embedding")
    width: PositiveInt = 128
    blocks: PositiveInt = 2
    dropout: Fraction = 0.1

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.tabm import TabMNetwork

        assert inputs.kind == "tabular"
        return TabMNetwork(self, inputs, outputs)


class Additive(Interpretable):
    """Fit a generalized additive model (Hastie & Tibshirani 1986).

    It sums one curve per number and one value per category. Curves are linear between bin edges. There are no
    interactions, so each curve shows the whole effect of its feature.
    """

    kinds = ("tabular",)
    defaults = ModelDefaults(lr_factor=10, patience=16)
    name: Literal["additive"] = "additive"
    bins: PositiveInt = Field(default=16, description="most bins per number")

    def data_requirements(self) -> DataRequirements:
        return DataRequirements(bins=self.bins)

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.additive import AdditiveNetwork

        assert inputs.kind == "tabular"
        return AdditiveNetwork(inputs, outputs)

    def read(self, network: "nn.Module", preprocessor: "TabularPreprocessor", target: "Supervised") -> pl.DataFrame:
        """Return each feature's contribution: `feature`, `value` (number or category), one column per output.

        For classification it is the contribution to each logit (for two classes: to the log odds of the second), for
        regression it is in the target's units. Contributions are centered per feature; the intercept is the row
        `(all rows)`.
        """
        from danlu.models.tabular.additive import AdditiveNetwork, shape_functions

        assert isinstance(network, AdditiveNetwork)
        return shape_functions(network, preprocessor, target)
