"""The optimizers that torch lacks or has in part: their options. Their steps stand in modules of their own."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from danlu.core.extras import require
from danlu.core.quiet import quiet
from danlu.training.optimizers.base import Decay, Groups, Optimizer, without_roles
from danlu.training.optimizers.torchs import APART

if TYPE_CHECKING:
    import torch


class Lion(Optimizer):
    """Steps of one size by the sign of a momentum (Chen et al. 2023); half of Adam's memory.

    Wants a learning rate some 3 to 10 times smaller than AdamW's, and as much more weight decay.
    """

    name: Literal["lion"] = "lion"
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    weight_decay: NonNegativeFloat = Field(default=0.1, description=APART)

    @property
    def usual_lr(self) -> float:
        return 3e-4

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        from danlu.training.optimizers.lion import LionSteps

        return LionSteps(without_roles(groups), lr=self.first_lr, betas=self.betas)


class Muon(Optimizer):
    """Momentum made orthogonal for hidden matrices and filters (Jordan et al. 2024); AdamW for all other weights.

    Updates are scaled to the size of AdamW's (Liu et al. 2025), so that one learning rate and decay serve both.
    """

    name: Literal["muon"] = "muon"
    momentum: Decay = 0.95
    nesterov: bool = True
    iterations: PositiveInt = Field(default=5, description="of Newton and Schulz, that make a matrix orthogonal")
    betas: tuple[Decay, Decay] = Field(default=(0.9, 0.95), description="AdamW's, for all other weights")
    weight_decay: NonNegativeFloat = Field(default=0.1, description=APART)

    @property
    def usual_lr(self) -> float:
        return 2e-3

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        from danlu.training.optimizers.muon import MuonWithAdamW

        return MuonWithAdamW(groups, self.momentum, self.nesterov, self.iterations, self.betas)


class ScheduleFreeAdamW(Optimizer):
    """AdamW whose weights are an average over the run, which takes a schedule's place (Defazio et al. 2024).

    Use it with the `constant` schedule, which is the default then; a warmup helps.
    """

    averages_itself: ClassVar[bool] = True

    name: Literal["schedule-free-adamw"] = "schedule-free-adamw"
    betas: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], Decay] = Field(
        default=(0.9, 0.999), description="the first: where between average and newest weights gradients are taken"
    )
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = Field(default=0.01, description=APART)

    @property
    def usual_lr(self) -> float:
        return 2.5e-3

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        from danlu.training.optimizers.schedule_free import ScheduleFreeSteps

        return ScheduleFreeSteps(without_roles(groups), lr=self.first_lr, betas=self.betas, eps=self.eps)


class AdamW8bit(Optimizer):
    """AdamW with its moments kept in 8 bits, in blocks of 256 (Dettmers et al. 2022); torchao's.

    Weights of fewer than 4096 entries, or whose number is no multiple of 256, keep theirs in full.
    """

    name: Literal["adamw-8bit"] = "adamw-8bit"
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = Field(default=0.01, description=APART)

    @property
    def usual_lr(self) -> float:
        return 1e-3

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        require("low-bit", self.name)
        with quiet():
            import torchao.optim  # noqa: F401
        from danlu.training.optimizers.eight_bit import EightBitAdamW

        return EightBitAdamW(without_roles(groups), lr=self.first_lr, betas=self.betas, eps=self.eps)
