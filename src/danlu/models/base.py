"""Base classes of model families: options that build a network, and families that fit themselves (trees, boosting).

The table of families stands in `table`. Imports no torch: networks are imported when one is built.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from danlu.artifacts.bundle import WEIGHTS
from danlu.core.seeds import Seed
from danlu.data.descriptors import DataRequirements
from danlu.data.specs import ImageInputs, InputSpec, TabularInputs, require_inputs
from danlu.recipe.components import ModelOptions
from danlu.recipe.sections.training import Finetune
from danlu.tasks.base import Loss, Target

if TYPE_CHECKING:
    from torch import nn

    from danlu.data.tabular.preprocessor import TabularPreprocessor

# On the optimizer's own rate, since a step of SGD is far smaller than one of Adam at the same rate. Adapters start at
# zero beside frozen weights; of AdamW it is about ten times the rate of full fine-tuning.
ADAPTER_FACTOR = 0.5


@dataclass(frozen=True)
class ModelDefaults:
    """Hold the training settings that a family prefers where the recipe leaves them open.

    Attributes:
        lr_factor: factor on the optimizer's default learning rate.
        patience: validations without improvement before early stopping; None disables it.
    """

    lr_factor: float = 1.0
    patience: int | None = None


class Model(ModelOptions):
    """Describe a family of models: its options are the fields, `build` makes the network.

    Attributes:
        kinds: kinds of data that it accepts.
        defaults: training settings that it prefers.
        weights_file: the one file that `write_weights` writes.

    Example:
        >>> import danlu
        >>> class Logistic(danlu.Model):
        ...     kinds = ("tabular",)
        ...     name: str = "logistic"
        ...     def build(self, inputs, outputs):
        ...         from torch import nn
        ...         class Network(nn.Module):
        ...             def __init__(self):
        ...                 super().__init__()
        ...                 self.last = nn.Linear(inputs.numeric, outputs)
        ...             def forward(self, numeric):
        ...                 return self.last(numeric)
        ...         return Network()
        >>> from danlu.testing import check_model
        >>> check_model(Logistic)
    """

    defaults: ClassVar[ModelDefaults] = ModelDefaults()
    weights_file: ClassVar[str] = WEIGHTS

    @abstractmethod
    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        """Build a network on the CPU; new weights are drawn from torch's current seed.

        Args:
            inputs: specification of a prepared sample.
            outputs: outputs per sample (language models: per token).

        Returns:
            a module: forward(**inputs) -> [batch, outputs], or [batch, length, outputs] for language models, or
            [batch, members, outputs] for an ensemble whose members are trained independently.
        """

    @classmethod
    def catalog(cls, listed_as: str, like: str | None) -> Iterable[tuple[str, str]]:
        """Return the names that `danlu models` lists for this family, with their kinds.

        Args:
            listed_as: the family's name in the table.
            like: the glob asked for; a family of very many names may search them only for its own.

        Raises:
            MissingExtra: `like` names models of a library that is not installed.
        """
        return [(listed_as, cls.kinds[0])]

    def typical_image_size(self) -> int | None:
        """Return the image size in pixels that the model expects; None for any."""
        return None

    def fewest_parameters(self) -> int:
        """Return the fewest parameters that the network can have.

        Told by its options alone; 0 if unknown.
        """
        return 0

    def data_requirements(self) -> DataRequirements:
        """Return the model's requirements on the data; none by default."""
        return DataRequirements()

    def requirements_by_files(self) -> DataRequirements | None:
        """Return what files alone tell of the requirements, without torch; None where they do not."""
        return None

    def default_lr(self, optimizer_lr: float, pretrained_factor: float) -> float:
        """Return the learning rate to use where the recipe sets none.

        Args:
            optimizer_lr: the optimizer's own default, for new networks.
            pretrained_factor: the optimizer's factor on it, for pretrained weights.
        """
        return optimizer_lr * self.defaults.lr_factor

    def order_head(self, network: "nn.Module", labels: Sequence[str] | None) -> None:
        """Order a pretrained head's outputs as the data's labels, or renew it; say which.

        Args:
            network: as `build` returned it.
            labels: of the data, by output; None for a number.
        """
        return

    @property
    def custom_code(self) -> str | None:
        """Code outside danlu that `build` runs, or None; bundles need permission."""
        return None

    def portable(self) -> Self:
        """Return options that build the same network without any other file, for the bundle."""
        return self

    def write_weights(self, network: "nn.Module", folder: Path) -> None:
        """Write the trained weights into a bundle's folder, as `weights_file`."""
        from danlu.artifacts.checkpoints import cpu_copies, unique_state_dict
        from danlu.artifacts.tensors import save_tensors

        save_tensors(cpu_copies(unique_state_dict(network)), folder / WEIGHTS)

    def read_weights(self, network: "nn.Module", folder: Path) -> None:
        """Load the weights that `write_weights` wrote into a network built from the same options.

        Raises:
            RuntimeError: the weights belong to another network.
        """
        from danlu.artifacts.checkpoints import load_weights
        from danlu.artifacts.tensors import load_tensors

        load_weights(network, load_tensors(folder / WEIGHTS))


def pretrained_lr(finetune: Finetune, optimizer_lr: float, factor: float) -> float:
    """Return the learning rate of pretrained weights where the recipe sets none.

    Args:
        finetune: how they are trained.
        optimizer_lr: the optimizer's own default, which a head alone takes.
        factor: the optimizer's own, on it, for weights that are trained in full or gradually.
    """
    if finetune.mode == "head":
        return optimizer_lr
    return optimizer_lr * (ADAPTER_FACTOR if finetune.adapts else factor)


class TabularModel(Model):
    """Describe a family of models of tables."""

    kinds = ("tabular",)

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        return self.build_network(require_inputs(inputs, TabularInputs, self.name), outputs)

    @abstractmethod
    def build_network(self, inputs: TabularInputs, outputs: int) -> "nn.Module":
        """Build a network for rows of a table; as `build`."""


class ImageModel(Model):
    """Describe a family of models of images."""

    kinds = ("image",)

    def build(self, inputs: InputSpec, outputs: int) -> "nn.Module":
        return self.build_network(require_inputs(inputs, ImageInputs, self.name), outputs)

    @abstractmethod
    def build_network(self, inputs: ImageInputs, outputs: int) -> "nn.Module":
        """Build a network for images; as `build`."""


Size = Literal["small", "base", "large"]
SizePresets = Mapping[Size, Mapping[str, Any]]


class HasPresets(Model):
    """Add size presets to a family; a recipe may override single options of a preset.

    Attributes:
        presets: options of each size.
    """

    presets: ClassVar[SizePresets]
    size: Size | None = Field(default=None, description="preset for the options that are left out")

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("size") not in list(cls.presets):
            return values
        return {**cls.presets[values["size"]], **values}


class Interpretable(Model):
    """Mark a family whose trained networks can be read by people."""

    @abstractmethod
    def read(self, network: "nn.Module", preprocessor: "TabularPreprocessor", target: Target) -> pl.DataFrame:
        """Return the learned rules or curves of a trained network, in the columns' own units."""


@dataclass(frozen=True)
class Rows:
    """Hold prepared rows of a table as arrays.

    Attributes:
        numeric: [rows, numbers] float32.
        codes: [rows, categories] int64.
        target: classes [rows] int64, or standardized numbers [rows] float32.
    """

    numeric: np.ndarray
    codes: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class FitData:
    """Hold the data that a `SelfFittingModel` is fitted on.

    Attributes:
        inputs: specification of a row.
        outputs: outputs per row: 1 for regression, the number of classes for classification.
        loss: of the outputs.
        sample_weights: of the training rows, [rows], mean 1; None for equal weights.
        num_threads: CPU threads to use.
    """

    inputs: TabularInputs
    outputs: int
    loss: Loss
    train: Rows
    sample_weights: np.ndarray | None
    validation: Rows
    seed: Seed
    num_threads: int
    start: "nn.Module | None" = None


class IterativeFit(Protocol):
    """Fit a model round by round, without an optimizer."""

    def iter_rounds(self) -> Iterator[float]:
        """Run one round per item and yield its training loss, until nothing improves."""

    def validation_scores(self) -> np.ndarray:
        """Return logits or standardized predictions of the validation rows so far, [rows, outputs]."""

    def load_rounds_into(self, network: "nn.Module", num_rounds: int) -> None:
        """Load the first `num_rounds` rounds into a network."""


class SelfFittingModel(Model):
    """Describe a family that its own algorithm fits round by round, without an optimizer.

    Its networks have no trainable weights; they predict with the fitted trees.

    Attributes:
        goes_on: whether a fit can go on from a fitted network, `FitData.start`.

    Example:
        >>> import danlu
        >>> issubclass(danlu.SelfFittingModel, danlu.Model)
        True
        >>> sorted(danlu.SelfFittingModel.__abstractmethods__)
        ['build', 'max_rounds', 'start_fit']
    """

    goes_on: ClassVar[bool] = False

    @property
    @abstractmethod
    def max_rounds(self) -> int:
        """Number of rounds without early stopping."""

    @abstractmethod
    def start_fit(self, data: FitData) -> IterativeFit:
        """Prepare the fit; no round is run yet."""
