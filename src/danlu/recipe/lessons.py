"""What training learns from beside right answers: which of two is preferred, and what a teacher says."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from danlu.core.component import Frozen


class Preference(Frozen):
    """Learning from which of two answers is preferred (DPO, Rafailov et al. 2023).

    With training.label_smoothing, that share of the preferences is taken to be the wrong way round (conservative DPO).
    """

    loss: Literal["dpo"] = "dpo"
    beta: PositiveFloat = Field(default=0.1, description="how dearly the model pays for leaving the one it began as")


class Distill(Frozen):
    """Learning from a teacher's answers beside the right ones (knowledge distillation, Hinton et al. 2015)."""

    teacher: str = Field(description="a bundle, or the run that made it; of the same task and labels")
    temperature: PositiveFloat | None = Field(
        default=None, description="that both models' probabilities are compared at; 2 when left out, of numbers none"
    )
    weight: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.5, description="of the teacher's answers in the loss; the right ones have the rest"
    )
