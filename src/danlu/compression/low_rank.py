"""The step `low-rank`: each matrix becomes the product of two thin ones, by its singular values."""

from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from danlu.compression.base import Candidate, Material, Step
from danlu.compression.finetune import Tuning, fine_tune
from danlu.core.seeds import Seed
from danlu.models.base import SelfFittingModel

Share = Annotated[float, Field(gt=0.0, le=1.0)]


class LowRank(Step):
    """Split linear layers and convolutions in two where that makes them smaller, by truncated SVD.

    Eckart & Young 1936, https://doi.org/10.1007/BF02288367. A convolution becomes one to fewer channels and a second of
    a single pixel.
    """

    name: Literal["low-rank"] = "low-rank"
    energy: Share | None = Field(
        default=None, description="of each layer, the share of its squared singular values that is kept; 0.9 by default"
    )
    parameters: Share | None = Field(
        default=None, description="instead: the share of the layers' parameters that is kept, where they tell most"
    )
    epochs: NonNegativeInt = Field(default=0, description="of training afterwards")
    lr_factor: PositiveFloat = Field(default=0.3, description="of the run's learning rate")
    distill: bool = Field(default=False, description="learn from the original's answers, too")

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if self.energy is not None and self.parameters is not None:
            raise ValueError("energy and parameters both say how much is kept; give one of them")
        return self

    def obstacle(self, material: Material, candidate: Candidate) -> str | None:
        if isinstance(candidate.options, SelfFittingModel):
            return "its trees have no matrices"
        from danlu.compression.factors import splittable

        if not splittable(candidate.network):
            return "it has no linear layer or convolution that could be split"
        return None

    def apply(self, candidate: Candidate, material: Material, seed: Seed) -> Candidate:
        from danlu.compression.factors import split_by_energy, split_to_parameters

        if self.parameters is not None:
            found, note = split_to_parameters(candidate, self.parameters, material)
        else:
            found, note = split_by_energy(candidate, 0.9 if self.energy is None else self.energy, material)
        if self.epochs and found is not candidate:
            found = fine_tune(found, material, Tuning(self.epochs, self.lr_factor, self.distill), seed)
        return replace(found, notes=(*candidate.notes, note))
