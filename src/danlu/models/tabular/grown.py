"""Tree families with their options; they fit themselves. Imports no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import polars as pl
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from danlu.data.specs import InputSpec
from danlu.models.base import SelfFittingModel, IterativeFit, ModelDefaults, FitData, Interpretable

if TYPE_CHECKING:
    from torch import nn

    from danlu.data.tabular.preprocessor import TabularPreprocessor
    from danlu.data.targets import Supervised
    from danlu.models.predictor import Predictor

Share = Annotated[float, Field(gt=0.0, le=1.0)]


class Tree(SelfFittingModel, Interpretable):
    """Fit one shallow decision tree with readable rules (Breiman et al. 1984).

    It is grown one level per round, to the depth that is best on the validation split.
    """

    kinds = ("tabular",)
    name: Literal["tree"] = "tree"
    depth: PositiveInt = Field(default=6, description="maximum depth")
    leaf_rows: PositiveInt = Field(default=5, description="fewest training rows per leaf")

    @property
    def max_rounds(self) -> int:
        return self.depth

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.trees import TreeEnsemble

        return TreeEnsemble(groups=1, width=outputs, zero_first=False)

    def start_fit(self, data: FitData) -> IterativeFit:
        from danlu.models.tabular.tree import TreeFit

        return TreeFit(self, data)

    def read(self, network: "nn.Module", preprocessor: "TabularPreprocessor", target: "Supervised") -> pl.DataFrame:
        """Return one row per leaf: `rule` in words, `prediction` and, for classes, `probability`."""
        from danlu.data.targets import MultiLabelTarget
        from danlu.models.tabular.tree import extract_rules
        from danlu.models.tabular.trees import TreeEnsemble

        assert isinstance(network, TreeEnsemble) and not isinstance(target, MultiLabelTarget), "trees predict one target per row"
        return extract_rules(network, preprocessor, target)


class Boosting(SelfFittingModel):
    """Fit gradient boosted trees by LightGBM (Friedman 2001; Ke et al. 2017).

    Missing numbers and categories are handled by the trees themselves. The bundle holds LightGBM's own text file and
    predicts without LightGBM.
    """

    kinds = ("tabular",)
    extra_to_train = "boosting"
    handles_missing = True
    defaults = ModelDefaults(patience=50)
    name: Literal["boosting"] = "boosting"
    rounds: PositiveInt = Field(default=1000, description="most boosting rounds; each adds a tree (per class)")
    learning_rate: PositiveFloat = Field(default=0.05, description="factor on each tree's output (shrinkage)")
    leaves: Annotated[int, Field(ge=2)] = Field(default=31, description="most leaves per tree")
    depth: PositiveInt | None = Field(default=None, description="maximum depth of a tree; unlimited if left out")
    leaf_rows: PositiveInt = Field(default=20, description="fewest training rows per leaf")
    l2: NonNegativeFloat = Field(default=0.0, description="L2 regularization of leaf values")
    row_share: Share = Field(default=1.0, description="fraction of the training rows sampled for each tree")
    column_share: Share = Field(default=1.0, description="fraction of the columns sampled for each tree")

    @property
    def max_rounds(self) -> int:
        return self.rounds

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.boosting import BoostedTrees

        return BoostedTrees(outputs)

    def start_fit(self, data: FitData) -> IterativeFit:
        from danlu.models.tabular.boosting import BoostingFit

        return BoostingFit(self, data)

    def write_weights(self, network: "nn.Module", folder: Path) -> None:
        """Write LightGBM's text file only; the trees are read from it again."""
        self.write_native(network, folder)

    def read_weights(self, network: "nn.Module", folder: Path) -> None:
        from danlu.models.tabular.boosting import MODEL_FILE, BoostedTrees

        assert isinstance(network, BoostedTrees)
        network.load_text((folder / MODEL_FILE).read_text(encoding="utf-8"))

    def write_native(self, network: "nn.Module", folder: Path, predictor: "Predictor | None" = None) -> None:
        """Write LightGBM's text file; its features are the prepared numbers, then the category codes."""
        from danlu.artifacts.files import write_text
        from danlu.models.tabular.boosting import MODEL_FILE, BoostedTrees

        assert isinstance(network, BoostedTrees)
        write_text(folder / MODEL_FILE, network.text)

    def read_native(self, folder: Path, predictor: "Predictor") -> "nn.Module":
        from danlu.core.extras import require_extra
        from danlu.models.tabular.boosting import MODEL_FILE, LightGBMModel

        require_extra("boosting", "to check the exported model,")
        return LightGBMModel(folder / MODEL_FILE, predictor.target.outputs)
