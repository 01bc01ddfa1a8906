"""The families of trees that a recipe may name, which fit themselves, with their options. Imports no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import polars as pl
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from danlu.data.specs import InputSpec
from danlu.models.base import FitsItself, Growth, Habits, Lesson, Readable

if TYPE_CHECKING:
    from torch import nn

    from danlu.data.tabular.preprocessor import TabularPreprocessor
    from danlu.data.targets import Supervised
    from danlu.models.predictor import Predictor

Share = Annotated[float, Field(gt=0.0, le=1.0)]


class Tree(FitsItself, Readable):
    """One shallow decision tree (Breiman et al. 1984), whose rules can be read.

    It is grown a level at a time, and as deep as serves the validation split best.
    """

    kinds = ("tabular",)
    name: Literal["tree"] = "tree"
    depth: PositiveInt = Field(default=6, description="most levels of questions")
    leaf_rows: PositiveInt = Field(default=5, description="fewest training rows that a rule is made of")

    @property
    def most_rounds(self) -> int:
        return self.depth

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.trees import Trees

        return Trees(groups=1, width=outputs, zero_first=False)

    def begin(self, lesson: Lesson) -> Growth:
        from danlu.models.tabular.tree import TreeGrowth

        return TreeGrowth(self, lesson)

    def read(self, network: "nn.Module", preprocessor: "TabularPreprocessor", target: "Supervised") -> pl.DataFrame:
        """The rules: `rule` in words, and what it says, `prediction` and, of classes, `probability`."""
        from danlu.data.targets import Labels
        from danlu.models.tabular.tree import rules
        from danlu.models.tabular.trees import Trees

        assert isinstance(network, Trees) and not isinstance(target, Labels), "trees give one answer a row"
        return rules(network, preprocessor, target)


class Boosting(FitsItself):
    """Gradient boosted trees by LightGBM (Friedman 2001; Ke et al. 2017).

    Missing numbers and categories reach the trees as such. The bundle holds LightGBM's own text file and answers
    without LightGBM.
    """

    kinds = ("tabular",)
    extra_to_train = "boosting"
    takes_gaps = True
    habits = Habits(patience=50)
    name: Literal["boosting"] = "boosting"
    rounds: PositiveInt = Field(default=1000, description="trees (of each class) at most")
    learning_rate: PositiveFloat = Field(default=0.05, description="share of what a tree says that is added")
    leaves: Annotated[int, Field(ge=2)] = Field(default=31, description="of a tree, at most")
    depth: PositiveInt | None = Field(default=None, description="of a tree, at most; as its leaves make it if left out")
    leaf_rows: PositiveInt = Field(default=20, description="fewest training rows of a leaf")
    l2: NonNegativeFloat = Field(default=0.0, description="shrinks what leaves say")
    row_share: Share = Field(default=1.0, description="of the training rows that each tree sees")
    column_share: Share = Field(default=1.0, description="of the columns that each tree may ask for")

    @property
    def most_rounds(self) -> int:
        return self.rounds

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        from danlu.models.tabular.boosting import BoostedTrees

        return BoostedTrees(outputs)

    def begin(self, lesson: Lesson) -> Growth:
        from danlu.models.tabular.boosting import BoostingGrowth

        return BoostingGrowth(self, lesson)

    def write_weights(self, network: "nn.Module", folder: Path) -> None:
        """LightGBM's text file and nothing else: the trees are read from it again."""
        self.write_native(network, folder)

    def read_weights(self, network: "nn.Module", folder: Path) -> None:
        from danlu.models.tabular.boosting import TEXT, BoostedTrees

        assert isinstance(network, BoostedTrees)
        network.put_text((folder / TEXT).read_text(encoding="utf-8"))

    def write_native(self, network: "nn.Module", folder: Path, predictor: "Predictor | None" = None) -> None:
        """LightGBM's text file; it takes the prepared numbers, then the codes of the categories."""
        from danlu.artifacts.files import write_text
        from danlu.models.tabular.boosting import TEXT, BoostedTrees

        assert isinstance(network, BoostedTrees)
        write_text(folder / TEXT, network.text)

    def read_native(self, folder: Path, predictor: "Predictor") -> "nn.Module":
        from danlu.core.extras import require
        from danlu.models.tabular.boosting import TEXT, ReadByLightGBM

        require("boosting", "to check what is exported,")
        return ReadByLightGBM(folder / TEXT, predictor.target.outputs)
