"""The options of every optimizer a recipe may name, and their table. Imports torch only to build one.

First those that torch has, fused where torch can; then those that torch lacks or has in part, whose steps stand in
modules of their own.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from danlu.core.imports import require_extra, silence_libraries
from danlu.training.optimizers.base import Beta, Groups, Optimizer, fused_kwargs

if TYPE_CHECKING:
    import torch

COUPLED_DECAY = "factor on the weight, added to its gradient like an L2 penalty"
DECOUPLED_DECAY = "times the learning rate, the share of each weight removed per step, decoupled from the gradient"


class SGD(Optimizer):
    """Descend the stochastic gradient, by default with Nesterov momentum.

    Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html.
    """

    default_lr: ClassVar[float] = 1e-2
    # A step has the size of its gradient, which is small in pretrained weights; Kornblith et al. 2019 find 1e-3 to 1e-2
    # (https://arxiv.org/abs/1805.08974).
    pretrained_factor: ClassVar[float] = 0.5

    name: Literal["sgd"] = "sgd"
    momentum: Beta = 0.9
    nesterov: bool = Field(default=True, description="look ahead along the momentum; no effect without momentum")
    weight_decay: NonNegativeFloat = Field(default=0.0, description=COUPLED_DECAY)

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.SGD(
            groups,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
            **fused_kwargs(groups),
        )


class AdamOptions(Optimizer):
    """Share the options of Adam and its variants."""

    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8


class Adam(AdamOptions):
    """Adapt each step to running moments of the gradient.

    Kingma & Ba 2015, https://arxiv.org/abs/1412.6980.
    """

    name: Literal["adam"] = "adam"
    weight_decay: NonNegativeFloat = Field(default=0.0, description=COUPLED_DECAY)

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.Adam(groups, betas=self.betas, eps=self.eps, **fused_kwargs(groups))


class AdamW(AdamOptions):
    """Step like Adam, with weight decay decoupled from the gradient.

    Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101.
    """

    name: Literal["adamw"] = "adamw"
    weight_decay: NonNegativeFloat = Field(default=0.01, description=DECOUPLED_DECAY)

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.AdamW(groups, betas=self.betas, eps=self.eps, **fused_kwargs(groups))


class RMSprop(Optimizer):
    """Divide gradients by their running root mean square.

    Tieleman & Hinton 2012, https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf.
    """

    name: Literal["rmsprop"] = "rmsprop"
    alpha: Beta = Field(default=0.99, description="decay of the running mean of squares")
    momentum: Beta = 0.0
    centered: bool = Field(
        default=False, description="divide by the running standard deviation instead of the mean square"
    )
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = Field(default=0.0, description=COUPLED_DECAY)

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.RMSprop(
            groups,
            alpha=self.alpha,
            momentum=self.momentum,
            centered=self.centered,
            eps=self.eps,
            foreach=True,  # torch has no fused one
        )


class Adagrad(Optimizer):
    """Divide gradients by the root of the sum of their squares; suits rare features.

    Duchi et al. 2011, https://jmlr.org/papers/v12/duchi11a.html.
    """

    default_lr: ClassVar[float] = 1e-2

    name: Literal["adagrad"] = "adagrad"
    eps: PositiveFloat = 1e-10
    weight_decay: NonNegativeFloat = Field(default=0.0, description=COUPLED_DECAY)

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.Adagrad(groups, eps=self.eps, **fused_kwargs(groups, ("cpu", "cuda")))


class Adafactor(Optimizer):
    """Factor Adam's second moment into a row and a column per matrix, in torch's variant.

    A step is relative to the weight's size, and `lr` is the most it may be of it. Shazeer & Stern 2018,
    https://arxiv.org/abs/1804.04235.
    """

    default_lr: ClassVar[float] = 1e-2

    name: Literal["adafactor"] = "adafactor"
    beta2_decay: Annotated[float, Field(le=0.0)] = Field(
        default=-0.8, description="at step t squares decay by 1 - t^beta2_decay"
    )
    clip: Annotated[float, Field(ge=1.0)] = Field(default=1.0, description="largest root mean square of an update")
    weight_decay: NonNegativeFloat = Field(default=0.0, description=DECOUPLED_DECAY)

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        # Not foreach: it holds the updates of all weights at once; this optimizer is chosen to save memory.
        return torch.optim.Adafactor(groups, beta2_decay=self.beta2_decay, d=self.clip, foreach=False)


class Lion(Optimizer):
    """Step by the sign of a momentum, with half of Adam's memory.

    Needs a learning rate some 3 to 10 times smaller than AdamW's, and as much more weight decay. Chen et al. 2023,
    https://arxiv.org/abs/2302.06675.
    """

    default_lr: ClassVar[float] = 3e-4
    pretrained_factor: ClassVar[float] = 1 / 6  # 5e-5, as AdamW's: in a short run both step by signs

    name: Literal["lion"] = "lion"
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    weight_decay: NonNegativeFloat = Field(default=0.1, description=DECOUPLED_DECAY)

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        from danlu.training.optimizers.lion import LionOptimizer

        return LionOptimizer(groups, betas=self.betas)


class Muon(Optimizer):
    """Orthogonalise the momentum of hidden matrices and filters; use AdamW for other weights.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon. Updates are scaled to the size of AdamW's (Liu et al.
    2025, https://arxiv.org/abs/2502.16982), so that one learning rate and decay serve both.
    """

    default_lr: ClassVar[float] = 2e-3
    in_place_reason: ClassVar[str | None] = "steps matrices together"
    uses_roles: ClassVar[bool] = True

    name: Literal["muon"] = "muon"
    momentum: Beta = 0.95
    nesterov: bool = True
    iterations: PositiveInt = Field(default=5, description="Newton-Schulz iterations that orthogonalise a matrix")
    betas: tuple[Beta, Beta] = Field(default=(0.9, 0.95), description="of AdamW, for all other weights")
    weight_decay: NonNegativeFloat = Field(default=0.1, description=DECOUPLED_DECAY)

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        from danlu.training.optimizers.muon import MuonWithAdamW

        return MuonWithAdamW(groups, self.momentum, self.nesterov, self.iterations, self.betas)


class ScheduleFreeAdamW(AdamOptions):
    """Step like AdamW and average the weights over the run instead of a schedule.

    Use it with the `constant` schedule, which is the default then; a warmup helps. Defazio et al. 2024,
    https://arxiv.org/abs/2405.15682.
    """

    default_lr: ClassVar[float] = 2.5e-3
    averages_itself: ClassVar[bool] = True
    in_place_reason: ClassVar[str | None] = "keeps two versions of each weight"

    name: Literal["schedule-free-adamw"] = "schedule-free-adamw"
    betas: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], Beta] = Field(
        default=(0.9, 0.999), description="first: where gradients are taken between the average and the newest weights"
    )
    weight_decay: NonNegativeFloat = Field(default=0.01, description=DECOUPLED_DECAY)

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        from danlu.training.optimizers.schedule_free import ScheduleFreeOptimizer

        return ScheduleFreeOptimizer(groups, betas=self.betas, eps=self.eps)


class AdamW8bit(AdamOptions):
    """Step like AdamW with 8-bit moments in blocks of 256, by torchao.

    Weights of fewer than 4096 entries, or whose number is no multiple of 256, keep theirs in full. Dettmers et al.
    2022, https://arxiv.org/abs/2110.02861.
    """

    name: Literal["adamw-8bit"] = "adamw-8bit"
    weight_decay: NonNegativeFloat = Field(default=0.01, description=DECOUPLED_DECAY)

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        require_extra("low-bit", self.name)
        with silence_libraries():
            import torchao.optim  # noqa: F401
        from danlu.training.optimizers.eight_bit import EightBitAdamW

        return EightBitAdamW(groups, betas=self.betas, eps=self.eps)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adamw": AdamW,
    "adam": Adam,
    "sgd": SGD,
    "muon": Muon,
    "schedule-free-adamw": ScheduleFreeAdamW,
    "lion": Lion,
    "adafactor": Adafactor,
    "adamw-8bit": AdamW8bit,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
}
