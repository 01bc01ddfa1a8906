"""The optimizers that torch has, by their own options; fused where torch can do so."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from danlu.training.optimizers.base import Decay, Groups, Optimizer, fused, without_roles

if TYPE_CHECKING:
    import torch

COUPLED = "times the weight, added to its gradient, as an L2 penalty is"
APART = "times the learning rate, the share of a weight taken off in each step, apart from the gradient"


class SGD(Optimizer):
    """Stochastic gradient descent, with Nesterov momentum unless said otherwise (Sutskever et al. 2013)."""

    name: Literal["sgd"] = "sgd"
    momentum: Decay = 0.9
    nesterov: bool = Field(default=True, description="look ahead along the momentum; of no effect without one")
    weight_decay: NonNegativeFloat = Field(default=0.0, description=COUPLED)

    @property
    def usual_lr(self) -> float:
        return 1e-2

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.SGD(
            without_roles(groups),
            lr=self.first_lr,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
            **fused(groups),
        )


class Adam(Optimizer):
    """Adaptive moments (Kingma & Ba 2015)."""

    name: Literal["adam"] = "adam"
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = Field(default=0.0, description=COUPLED)

    @property
    def usual_lr(self) -> float:
        return 1e-3

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.Adam(
            without_roles(groups), lr=self.first_lr, betas=self.betas, eps=self.eps, **fused(groups)
        )


class AdamW(Optimizer):
    """Adam with weight decay apart from the gradient (Loshchilov & Hutter 2019)."""

    name: Literal["adamw"] = "adamw"
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = Field(default=0.01, description=APART)

    @property
    def usual_lr(self) -> float:
        return 1e-3

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.AdamW(
            without_roles(groups), lr=self.first_lr, betas=self.betas, eps=self.eps, **fused(groups)
        )


class RMSprop(Optimizer):
    """Gradients divided by their running root mean square (Tieleman & Hinton 2012)."""

    name: Literal["rmsprop"] = "rmsprop"
    alpha: Decay = Field(default=0.99, description="how long squares are remembered")
    momentum: Decay = 0.0
    centered: bool = Field(default=False, description="divide by the running deviation in place of the mean square")
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = Field(default=0.0, description=COUPLED)

    @property
    def usual_lr(self) -> float:
        return 1e-3

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.RMSprop(
            without_roles(groups),
            lr=self.first_lr,
            alpha=self.alpha,
            momentum=self.momentum,
            centered=self.centered,
            eps=self.eps,
            foreach=True,  # torch has no fused one
        )


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of all their squares (Duchi et al. 2011); fits rare features."""

    name: Literal["adagrad"] = "adagrad"
    eps: PositiveFloat = 1e-10
    weight_decay: NonNegativeFloat = Field(default=0.0, description=COUPLED)

    @property
    def usual_lr(self) -> float:
        return 1e-2

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.Adagrad(
            without_roles(groups), lr=self.first_lr, eps=self.eps, **fused(groups, ("cpu", "cuda"))
        )


class Adafactor(Optimizer):
    """Adam's second moment kept as a row and a column a matrix (Shazeer & Stern 2018), in torch's variant.

    A step is relative to the weight's size, and `lr` is the most it may be of it.
    """

    name: Literal["adafactor"] = "adafactor"
    beta2_decay: Annotated[float, Field(le=0.0)] = Field(
        default=-0.8, description="at step t squares are remembered by 1 - t^beta2_decay"
    )
    clip: Annotated[float, Field(ge=1.0)] = Field(default=1.0, description="largest root mean square of an update")
    weight_decay: NonNegativeFloat = Field(default=0.0, description=APART)

    @property
    def usual_lr(self) -> float:
        return 1e-2

    def make(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        # Not foreach: it holds the updates of all weights at once, and this optimizer is chosen to save memory.
        return torch.optim.Adafactor(
            without_roles(groups), lr=self.first_lr, beta2_decay=self.beta2_decay, d=self.clip, foreach=False
        )
