"""The recipe's section `training`: the loop, the optimizer and its schedule, memory, processes, and what else the loss
learns from.

Frozen values with defaults; a default that depends on the data is None here and filled in by
`danlu.experiment.defaults`.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from danlu.core.component import Frozen


class Preference(Frozen):
    """Learn which of two answers is preferred (DPO, Rafailov et al. 2023, https://arxiv.org/abs/2305.18290).

    With training.label_smoothing, that share of the preferences is assumed to be flipped (conservative DPO).
    """

    loss: Literal["dpo"] = "dpo"
    beta: PositiveFloat = Field(
        default=0.1, description="DPO beta: strength of the KL penalty towards the reference model"
    )


class HiddenStates(Frozen):
    """Match a teacher's hidden states (FitNets, Romero et al. 2015, https://arxiv.org/abs/1412.6550).

    A linear projection maps the student's states to the teacher's width; it is trained with the student and left out of
    the bundle.
    """

    states: Literal["features", "layers"] = Field(
        default="features",
        description="features: the input of the last layer, one vector per sample; layers: of text transformers, every "
        "token's state after each student layer, matched to evenly spaced teacher layers",
    )
    distance: Literal["mse", "cosine"] = Field(
        default="mse", description="mean squared error, or one minus the cosine similarity"
    )
    weight: PositiveFloat = Field(default=0.5, description="weight of the distance in the loss")


class Distill(Frozen):
    """Learn from a teacher's outputs as well as the labels.

    Knowledge distillation (Hinton et al. 2015, https://arxiv.org/abs/1503.02531).
    """

    teacher: str = Field(description="a bundle, or the run that made it; with the same task and labels")
    temperature: PositiveFloat | None = Field(
        default=None, description="softens both models' probabilities; 2 by default; not for numbers"
    )
    weight: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.5,
        description="weight of the teacher's outputs in the loss; the labels have the rest. 0 only with `hidden`",
    )
    hidden: HiddenStates | None = Field(default=None, description="match the teacher's hidden states too")

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if self.weight == 0 and self.hidden is None:
            raise ValueError("weight is 0, so nothing is learned from the teacher; increase it, or set hidden")
        return self
