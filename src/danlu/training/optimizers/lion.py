"""Lion's steps (Chen et al. 2023, https://arxiv.org/abs/2302.06675), all weights at once."""

from collections.abc import Callable

import torch

from danlu.training.optimizers.base import Groups, params_with_grads


class LionOptimizer(torch.optim.Optimizer):
    """Step by the sign of the gradient mixed with one momentum per weight."""

    def __init__(self, groups: Groups, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step; `closure` is ignored."""
        for group in self.param_groups:
            parameters, gradients = params_with_grads(group["params"])
            if not parameters:
                continue
            moments = [self._moment(parameter) for parameter in parameters]
            lr, (first, second) = group["lr"], group["betas"]
            updates = torch._foreach_lerp(moments, gradients, 1 - first)
            torch._foreach_sign_(updates)
            if group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
            torch._foreach_add_(parameters, updates, alpha=-lr)
            torch._foreach_lerp_(moments, gradients, 1 - second)

    def _moment(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        moment: torch.Tensor = state["momentum"]
        return moment
