"""What a step of compression is: it takes a candidate, and returns another one that is smaller or faster.

A `Candidate` is a model as far as it has been compressed; `Material` is what stays the same: the run's data and the
model that was trained. Imports no torch, since the recipe's schema is built from the steps.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from danlu.artifacts.bundle import Bundle, Structure
from danlu.artifacts.run import RunDirectory
from danlu.core.seeds import Seed
from danlu.experiment.data_context import DataContext
from danlu.models.base import Model
from danlu.recipe.components import CompressionOptions

if TYPE_CHECKING:
    from torch import nn

    from danlu.models.predictor import Predictor


@dataclass(frozen=True)
class Material:
    """Hold what all steps of one compression start from; nothing of it is changed.

    Attributes:
        run: whose model is compressed.
        context: the run's data with its own splits. Steps learn from the training rows alone; fine-tuning keeps the
            weights that are best on `context.splits.validation`, so rows that judge the result must not be there.
        bundle: the model that was trained.
        predictor: the same, open in torch on the CPU.
        scratch: folder for what steps write on the way.
    """

    run: RunDirectory
    context: DataContext
    bundle: Bundle
    predictor: "Predictor"
    scratch: Path

    @property
    def seed(self) -> Seed:
        """The seed that all random choices of compression are derived from."""
        return Seed(self.context.recipe.seed).derive("compression")

    def open_predictor(self, bundle: Bundle, engine: str | None = None) -> "Predictor":
        """Open a bundle of the run, without replaying its golden samples.

        Code of the user's own that the run's recipe names may run.

        Args:
            bundle: the original or a compressed one.
            engine: what computes the network; by default the bundle's own choice.
        """
        from danlu.models.predictor import Predictor

        return Predictor.load(bundle, engine=engine, recipe_model=self.context.model, replay=False)


@dataclass(frozen=True)
class WeightBits:
    """Say how matrices are stored: as codes of 4 or 8 bits.

    Attributes:
        group: inputs that share a scale; 0 for all of an output.
        names: of the weights that are stored so.
    """

    bits: Literal[4, 8]
    group: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """Hold a model as far as it has been compressed.

    Attributes:
        options: that build the network before `structure` changes it.
        network: on the CPU, in evaluation mode; a step copies it before it changes anything.
        structure: how its sizes differ from those of the options; None for not at all.
        coding: the bits and the group of stored weights; None for float32.
        processors: on which an 8-bit file of it was tried.
        files: further files of its bundle by name, as `model.int8.onnx`.
        engines: the order in which engines answer; empty for danlu's rule.
        steps: those that were applied, as a recipe has them.
        notes: what they have to say, one sentence each.
    """

    options: Model
    network: "nn.Module"
    structure: Structure | None = None
    coding: "WeightBits | None" = None
    processors: tuple[dict[str, Any], ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    engines: tuple[str, ...] = ()
    steps: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    def resized(
        self, network: "nn.Module", material: Material, ranks: Mapping[str, int] = MappingProxyType({})
    ) -> "Candidate":
        """Return the candidate with a network of other sizes, and the structure that says these.

        Args:
            network: the changed copy.
            material: the run.
            ranks: of layers that were split just now, by name.
        """
        from danlu.models.structure import structure_of

        built = self.options.build(material.predictor.preprocessor.inputs, material.predictor.target.outputs)
        known = {} if self.structure is None else dict(self.structure.ranks)
        return replace(self, network=network.eval(), structure=structure_of(network, built, known | dict(ranks)))


class Step(CompressionOptions):
    """Make a model smaller or faster; options are the fields.

    Attributes:
        is_last: whether nothing can follow it, since it leaves a form that no step reads.
    """

    is_last: ClassVar[bool] = False

    def obstacle(self, material: Material, candidate: Candidate) -> str | None:
        """Return a clause that says why the step cannot be applied; None where it can."""
        return None

    @abstractmethod
    def apply(self, candidate: Candidate, material: Material, seed: Seed) -> Candidate:
        """Return a smaller or faster candidate; the given one stays as it is.

        Args:
            candidate: the model so far.
            material: the run's data and its original model.
            seed: for whatever is drawn.

        Raises:
            ArgumentError: the model does not offer what the step needs.
            DataError: there are too few rows.
        """
