"""Model families for tables with their options: networks, an additive model, a decision tree, boosting.

Imports no torch: the recipe's schema is built from these classes, and `danlu check` starts without it.
"""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import polars as pl
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from danlu.data.descriptors import DataRequirements
from danlu.data.specs import TabularInputs
from danlu.models.base import (
    FitData,
    HasPresets,
    Interpretable,
    IterativeFit,
    ModelDefaults,
    SelfFittingModel,
    SizePresets,
    TabularModel,
)
from danlu.recipe.bounds import MAX_LAYERS, Times, Width
from danlu.recipe.sections.training import Fraction
from danlu.tasks.base import Target

if TYPE_CHECKING:
    from torch import nn

    from danlu.data.tabular.preprocessor import TabularPreprocessor
    from danlu.models.tabular.embeddings import EmbeddingSpec

Share = Annotated[float, Field(gt=0.0, le=1.0)]
NumericEmbedding = Literal["none", "linear", "periodic", "piecewise-linear"]


class Linear(TabularModel):
    """Fit logistic or linear regression: one weight per input and output."""

    defaults = ModelDefaults(lr_factor=10)  # without hidden layers the loss is convex and tolerates larger steps
    name: Literal["linear"] = "linear"

    def build_network(self, inputs: TabularInputs, outputs: int) -> "nn.Module":
        from danlu.models.tabular.mlp import MLPNetwork

        return MLPNetwork(inputs, outputs, hidden=(), dropout=0.0, normalization="none", activation="relu")


class MLP(TabularModel, HasPresets):
    """Train a multilayer perceptron with a parallel linear path over numbers and embedded categories."""

    presets: ClassVar[SizePresets] = {"small": {"hidden": (64,)}, "base": {}, "large": {"hidden": (512, 512, 512)}}
    name: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Width, ...], Field(max_length=MAX_LAYERS)] = (128, 128)
    dropout: Fraction = 0.1
    normalization: Literal["batch", "layer", "group", "none"] = "batch"
    activation: Literal["relu", "gelu", "silu"] = "relu"

    def fewest_parameters(self) -> int:
        return sum(one * other for one, other in pairwise(self.hidden))

    def build_network(self, inputs: TabularInputs, outputs: int) -> "nn.Module":
        from danlu.models.tabular.mlp import MLPNetwork

        return MLPNetwork(inputs, outputs, self.hidden, self.dropout, self.normalization, self.activation)


class HasNumericEmbedding(TabularModel, HasPresets):
    """Add numeric embeddings to a network (Gorishniy et al. 2022, https://arxiv.org/abs/2203.05556)."""

    numeric_embedding: NumericEmbedding = Field(
        default="piecewise-linear",
        description="embed each number as a vector: position within quantile bins of the training rows "
        "(piecewise-linear), sines of learned frequencies (periodic), a linear map with ReLU (linear)",
    )
    bins: Width = Field(default=32, description="piecewise-linear: most bins per number")
    frequencies: Width = Field(default=24, description="periodic: frequencies per number")
    frequency_scale: PositiveFloat = Field(
        default=0.1, description="periodic: standard deviation of the initial frequencies"
    )

    @property
    def embedding_spec(self) -> "EmbeddingSpec":
        """The same options for the network."""
        from danlu.models.tabular.embeddings import EmbeddingSpec

        return EmbeddingSpec(self.numeric_embedding, self.frequencies, self.frequency_scale)

    def data_requirements(self) -> DataRequirements:
        return DataRequirements(bins=self.bins if self.numeric_embedding == "piecewise-linear" else None)


class ResNet(HasNumericEmbedding):
    """Train a residual network for tables (Gorishniy et al. 2021, https://arxiv.org/abs/2106.11959).

    Each block has two layers, whose output is added to its input.
    """

    defaults = ModelDefaults(patience=16)
    presets: ClassVar[SizePresets] = {
        "small": {"width": 64, "blocks": 1},
        "base": {},
        "large": {"width": 384, "blocks": 4},
    }
    name: Literal["resnet"] = "resnet"
    embedding_width: Width = Field(default=8, description="size of a numeric embedding")
    width: Width = 128
    blocks: Times = 2
    widening: PositiveFloat = Field(default=2.0, description="width of a block's inner layer, relative to `width`")
    dropout: Fraction = Field(default=0.2, description="within a block")
    residual_dropout: Fraction = Field(default=0.0, description="on the output of a block")

    def fewest_parameters(self) -> int:
        return int(2 * self.blocks * self.widening * self.width**2)

    def build_network(self, inputs: TabularInputs, outputs: int) -> "nn.Module":
        from danlu.models.tabular.resnet import ResNetNetwork

        return ResNetNetwork(
            inputs,
            outputs,
            self.embedding_spec,
            embedding_width=self.embedding_width,
            width=self.width,
            blocks=self.blocks,
            widening=self.widening,
            dropout=self.dropout,
            residual_dropout=self.residual_dropout,
        )


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
    width: Width = Field(default=64, description="size of a token; a multiple of `heads`")
    blocks: Times = 2
    heads: Times = 4
    widening: PositiveFloat = Field(default=4 / 3, description="width of the feed-forward layer, relative to `width`")
    attention_dropout: Fraction = 0.2
    dropout: Fraction = Field(default=0.1, description="within the feed-forward layer")
    residual_dropout: Fraction = Field(default=0.0, description="on the output of attention and feed-forward layer")

    def fewest_parameters(self) -> int:
        return int(self.blocks * (4 + 2 * self.widening) * self.width**2)

    def build_network(self, inputs: TabularInputs, outputs: int) -> "nn.Module":
        from danlu.models.tabular.ft_transformer import FTTransformerNetwork

        return FTTransformerNetwork(
            inputs,
            outputs,
            self.embedding_spec,
            width=self.width,
            blocks=self.blocks,
            heads=self.heads,
            widening=self.widening,
            attention_dropout=self.attention_dropout,
            dropout=self.dropout,
            residual_dropout=self.residual_dropout,
        )


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
    members: Times = 16
    embedding_width: Width = Field(default=8, description="size of a numeric embedding")
    width: Width = 128
    blocks: Times = 2
    dropout: Fraction = 0.1

    def fewest_parameters(self) -> int:
        return (self.blocks - 1) * self.width**2

    def build_network(self, inputs: TabularInputs, outputs: int) -> "nn.Module":
        from danlu.models.tabular.tabm import TabMNetwork

        return TabMNetwork(
            inputs,
            outputs,
            self.embedding_spec,
            members=self.members,
            embedding_width=self.embedding_width,
            width=self.width,
            blocks=self.blocks,
            dropout=self.dropout,
        )


class Additive(TabularModel, Interpretable):
    """Fit a generalized additive model (Hastie & Tibshirani 1986, https://doi.org/10.1214/ss/1177013604).

    It sums one curve per number and one value per category. Curves are linear between bin edges. There are no
    interactions, so each curve shows the whole effect of its feature.
    """

    defaults = ModelDefaults(lr_factor=10, patience=16)
    name: Literal["additive"] = "additive"
    bins: Width = Field(default=16, description="most bins per number")

    def data_requirements(self) -> DataRequirements:
        return DataRequirements(bins=self.bins)

    def build_network(self, inputs: TabularInputs, outputs: int) -> "nn.Module":
        from danlu.models.tabular.additive import AdditiveNetwork

        return AdditiveNetwork(inputs, outputs)

    def read(self, network: "nn.Module", preprocessor: "TabularPreprocessor", target: Target) -> pl.DataFrame:
        """Return each feature's contribution: `feature`, `value` (number or category), one column per output.

        For classification it is the contribution to each logit (for two classes: to the log odds of the second), for
        regression it is in the target's units. Contributions are centered per feature; the intercept is the row
        `(all rows)`.
        """
        from danlu.models.tabular.additive import AdditiveNetwork, shape_functions

        assert isinstance(network, AdditiveNetwork)
        return shape_functions(network, preprocessor, target)


class Tree(TabularModel, SelfFittingModel, Interpretable):
    """Fit one shallow decision tree with readable rules (Breiman et al. 1984).

    It is grown one level per round, to the depth that is best on the validation split.
    """

    name: Literal["tree"] = "tree"
    depth: Times = Field(default=6, description="maximum depth")
    leaf_rows: PositiveInt = Field(default=5, description="fewest training rows per leaf")

    @property
    def max_rounds(self) -> int:
        return self.depth

    def build_network(self, inputs: TabularInputs, outputs: int) -> "nn.Module":
        from danlu.models.tabular.tree_ensemble import TreeEnsemble

        return TreeEnsemble(groups=1, width=outputs, zero_first=False)

    def start_fit(self, data: FitData) -> IterativeFit:
        from danlu.models.tabular.decision_tree import TreeFit

        return TreeFit(data, self.depth, self.leaf_rows)

    def read(self, network: "nn.Module", preprocessor: "TabularPreprocessor", target: Target) -> pl.DataFrame:
        """Return one row per leaf: `rule` in words, `prediction` and, for classes, `probability`."""
        from danlu.models.tabular.decision_tree import extract_rules
        from danlu.models.tabular.tree_ensemble import TreeEnsemble

        assert isinstance(network, TreeEnsemble)
        return extract_rules(network, preprocessor, target)


class Boosting(TabularModel, SelfFittingModel):
    """Fit gradient boosted trees by LightGBM.

    Friedman 2001, https://doi.org/10.1214/aos/1013203451; Ke et al. 2017,
    https://proceedings.neurips.cc/paper/2017/hash/6449f44a102fde848669bdd9eb6b76fa-Abstract.html.

    Missing numbers and categories are handled by the trees themselves. The bundle holds LightGBM's own text file and
    predicts without LightGBM.
    """

    extra_to_train = "boosting"
    handles_missing = True
    export_format = "lightgbm"
    weights_file = "lightgbm.txt"
    goes_on = True
    defaults = ModelDefaults(patience=50)
    name: Literal["boosting"] = "boosting"
    rounds: Width = Field(default=1000, description="most boosting rounds; each adds a tree (per class)")
    learning_rate: PositiveFloat = Field(default=0.05, description="factor on each tree's output (shrinkage)")
    leaves: Annotated[int, Field(ge=2)] = Field(default=31, description="most leaves per tree")
    depth: Times | None = Field(default=None, description="maximum depth of a tree; unlimited if left out")
    leaf_rows: PositiveInt = Field(default=20, description="fewest training rows per leaf")
    l2: NonNegativeFloat = Field(default=0.0, description="L2 regularization of leaf values")
    row_share: Share = Field(default=1.0, description="fraction of the training rows sampled for each tree")
    column_share: Share = Field(default=1.0, description="fraction of the columns sampled for each tree")

    @property
    def max_rounds(self) -> int:
        return self.rounds

    def build_network(self, inputs: TabularInputs, outputs: int) -> "nn.Module":
        from danlu.models.tabular.boosting import BoostedTrees

        return BoostedTrees(outputs)

    def start_fit(self, data: FitData) -> IterativeFit:
        from danlu.models.tabular.boosting import BoostingFit

        options = {
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "max_depth": self.depth or -1,
            "min_data_in_leaf": self.leaf_rows,
            "lambda_l2": self.l2,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1 if self.row_share < 1 else 0,
            "feature_fraction": self.column_share,
        }
        return BoostingFit(data, self.rounds, options)

    def write_weights(self, network: "nn.Module", folder: Path) -> None:
        """Write LightGBM's text file only; the trees are read from it again."""
        from danlu.artifacts.files import write_text
        from danlu.models.tabular.boosting import BoostedTrees

        assert isinstance(network, BoostedTrees)
        write_text(folder / self.weights_file, network.text)

    def read_weights(self, network: "nn.Module", folder: Path) -> None:
        from danlu.models.tabular.boosting import BoostedTrees

        assert isinstance(network, BoostedTrees)
        network.load_text((folder / self.weights_file).read_text(encoding="utf-8"))
