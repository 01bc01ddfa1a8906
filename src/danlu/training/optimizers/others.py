"""Options of the optimizers that torch lacks or has in part; their steps stand in modules of their own."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from danlu.core.extras import require_extra
from danlu.core.quiet import silence_libraries
from danlu.training.optimizers.base import Beta, Groups, Optimizer, without_roles
from danlu.training.optimizers.torchs import DECOUPLED_DECAY

if TYPE_CHECKING:
    import torch


class Lion(Optimizer):
    """Step by the sign of a momentum, with half of Adam's memory.

    Needs a learning rate some 3 to 10 times smaller than AdamW's, and as much more weight decay. Chen et al. 2023,
    https://arxiv.org/abs/2302.06675.
    """

    name: Literal["lion"] = "lion"
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    weight_decay: NonNegativeFloat = Field(default=0.1, description=DECOUPLED_DECAY)

    @property
    def default_lr(self) -> float:
        return 3e-4

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        from danlu.training.optimizers.lion import LionOptimizer

        return LionOptimizer(without_roles(groups), lr=self.initial_lr, betas=self.betas)


class Muon(Optimizer):
    """Orthogonalise the momentum of hidden matrices and filters; use AdamW for other weights.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon. Updates are scaled to the size of AdamW's (Liu et al.
    2025, https://arxiv.org/abs/2502.16982), so that one learning rate and decay serve both.
    """

    name: Literal["muon"] = "muon"
    momentum: Beta = 0.95
    nesterov: bool = True
    iterations: PositiveInt = Field(default=5, description="Newton-Schulz iterations that orthogonalise a matrix")
    betas: tuple[Beta, Beta] = Field(default=(0.9, 0.95), description="of AdamW, for all other weights")
    weight_decay: NonNegativeFloat = Field(default=0.1, description=DECOUPLED_DECAY)

    @property
    def default_lr(self) -> float:
        return 2e-3

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        from danlu.training.optimizers.muon import MuonWithAdamW

        return MuonWithAdamW(groups, self.momentum, self.nesterov, self.iterations, self.betas)


class ScheduleFreeAdamW(Optimizer):
    """Step like AdamW and average the weights over the run instead of a schedule.

    Use it with the `constant` schedule, which is the default then; a warmup helps. Defazio et al. 2024,
    https://arxiv.org/abs/2405.15682.
    """

    averages_itself: ClassVar[bool] = True

    name: Literal["schedule-free-adamw"] = "schedule-free-adamw"
    betas: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], Beta] = Field(
        default=(0.9, 0.999), description="first: where gradients are taken between the average and the newest weights"
    )
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = Field(default=0.01, description=DECOUPLED_DECAY)

    @property
    def default_lr(self) -> float:
        return 2.5e-3

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        from danlu.training.optimizers.schedule_free import ScheduleFreeOptimizer

        return ScheduleFreeOptimizer(without_roles(groups), lr=self.initial_lr, betas=self.betas, eps=self.eps)


class AdamW8bit(Optimizer):
    """Step like AdamW with 8-bit moments in blocks of 256, by torchao.

    Weights of fewer than 4096 entries, or whose number is no multiple of 256, keep theirs in full. Dettmers et al.
    2022, https://arxiv.org/abs/2110.02861.
    """

    name: Literal["adamw-8bit"] = "adamw-8bit"
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = Field(default=0.01, description=DECOUPLED_DECAY)

    @property
    def default_lr(self) -> float:
        return 1e-3

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        require_extra("low-bit", self.name)
        with silence_libraries():
            import torchao.optim  # noqa: F401
        from danlu.training.optimizers.eight_bit import EightBitAdamW

        return EightBitAdamW(without_roles(groups), lr=self.initial_lr, betas=self.betas, eps=self.eps)
