"""Schedule-free AdamW (Defazio et al. 2024, The Road Less Scheduled, algorithm 1, https://arxiv.org/abs/2405.15682).

There are three sequences of weights: z, which the optimizer steps; x, the weighted average of z, which is evaluated and
kept; and y between them, where gradients are taken and which the model holds in training. y and z are stored, and x
follows from them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from danlu.training.optimizers.base import Groups, params_with_grads


class ScheduleFreeOptimizer(torch.optim.Optimizer):
    """Step y and z; `eval()` puts x into the model and `train()` restores y exactly."""

    def __init__(self, groups: Groups, betas: tuple[float, float], eps: float) -> None:
        own = {"steps": 0, "largest_lr": 0.0, "weights": 0.0}
        super().__init__(groups, {"betas": betas, "eps": eps, "weight_decay": 0.0, **own})
        self.training_params: list[tuple[Tensor, Tensor]] = []  # parameters and their y, while the model holds x

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step; `closure` is ignored."""
        if self.training_params:
            raise RuntimeError("the model holds averaged weights: call train() before the next step")
        for group in self.param_groups:
            parameters, gradients = params_with_grads(group["params"])
            if parameters:
                self._step(parameters, gradients, group)

    def _step(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        (first, second), lr = group["betas"], group["lr"]
        group["steps"] += 1
        share = _average_weight(group)
        states = [self._state(parameter) for parameter in parameters]
        bases, squares = [state["z"] for state in states], [state["square"] for state in states]
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        sizes = torch._foreach_div(squares, 1 - second ** group["steps"])
        torch._foreach_sqrt_(sizes)
        torch._foreach_add_(sizes, group["eps"])
        directions = torch._foreach_div(gradients, list(sizes))
        if group["weight_decay"]:
            torch._foreach_add_(directions, parameters, alpha=group["weight_decay"])
        # y = (1 - b) z + b x, written so that x need not be stored: x moves a share towards the new z.
        torch._foreach_lerp_(parameters, bases, share)
        torch._foreach_add_(parameters, directions, alpha=lr * (first * (1 - share) - 1))
        torch._foreach_add_(bases, directions, alpha=-lr)

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["z"], state["square"] = parameter.detach().clone(), torch.zeros_like(parameter)
        return state

    @torch.no_grad()
    def eval(self) -> None:
        """Put the averaged weights x into the model."""
        if self.training_params:
            return
        for group in self.param_groups:
            stepped = [parameter for parameter in group["params"] if self.state[parameter]]
            self.training_params += [(parameter, parameter.detach().clone()) for parameter in stepped]
            bases = [self.state[parameter]["z"] for parameter in stepped]
            if stepped:
                torch._foreach_lerp_(stepped, bases, 1 - 1 / group["betas"][0])

    @torch.no_grad()
    def train(self) -> None:
        """Put the training weights y back."""
        for parameter, weights in self.training_params:
            parameter.copy_(weights)
        self.training_params = []


def _average_weight(group: dict[str, Any]) -> float:
    """Return the weight of the newest z in the average.

    Steps weigh as the square of the largest rate so far (section 3).
    """
    group["largest_lr"] = max(group["largest_lr"], group["lr"])
    weight = group["largest_lr"] ** 2
    group["weights"] += weight
    return float(weight / group["weights"]) if group["weights"] else 0.0
