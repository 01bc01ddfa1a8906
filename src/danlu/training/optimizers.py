"""The optimizers a recipe may name. Imports no torch until one is built."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from danlu.core.component import Component

if TYPE_CHECKING:
    import torch
    from torch.nn import Parameter

Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class Optimizer(Component):
    """Steps down the gradient.

    `lr` is None until the recipe is resolved: what is usual depends on whether weights are pretrained.
    """

    lr: PositiveFloat | None = Field(default=None, description="step size; the optimizer's usual one when left out")

    @property
    @abstractmethod
    def usual_lr(self) -> float:
        """A step size that trains most networks from scratch."""

    @abstractmethod
    def build(self, parameters: "Iterable[Parameter]") -> "torch.optim.Optimizer":
        """torch's optimizer over these parameters; `lr` must be set."""


class SGD(Optimizer):
    """Stochastic gradient descent with Nesterov momentum (Sutskever et al. 2013)."""

    name: Literal["sgd"] = "sgd"
    momentum: Decay = 0.9
    weight_decay: NonNegativeFloat = 0.0

    @property
    def usual_lr(self) -> float:
        return 1e-2

    def build(self, parameters: "Iterable[Parameter]") -> "torch.optim.Optimizer":
        import torch

        assert self.lr is not None
        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            weight_decay=self.weight_decay,
        )


class Adam(Optimizer):
    """Adaptive moments (Kingma & Ba 2015)."""

    name: Literal["adam"] = "adam"
    betas: tuple[Decay, Decay] = (0.9, 0.999)

    @property
    def usual_lr(self) -> float:
        return 1e-3

    def build(self, parameters: "Iterable[Parameter]") -> "torch.optim.Optimizer":
        import torch

        assert self.lr is not None
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas, fused=True)


class AdamW(Optimizer):
    """Adam with weight decay apart from the gradient (Loshchilov & Hutter 2019)."""

    name: Literal["adamw"] = "adamw"
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.01

    @property
    def usual_lr(self) -> float:
        return 1e-3

    def build(self, parameters: "Iterable[Parameter]") -> "torch.optim.Optimizer":
        import torch

        assert self.lr is not None
        return torch.optim.AdamW(parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay, fused=True)


OPTIMIZERS: dict[str, type[Component]] = {"adamw": AdamW, "adam": Adam, "sgd": SGD}
