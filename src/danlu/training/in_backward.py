"""An optimizer that steps each weight during the backward pass, as soon as its gradient is complete, and frees that.

So the gradients of a whole model are never in memory together (Lv et al. 2023, LOMO, https://arxiv.org/abs/2306.09782).
Options that need all of them at once (the gradient's norm, accumulation, loss scaling) are impossible; the recipe's
check of contradictions rejects them.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from danlu.training.several import OptimizerFactory, CompositeOptimizer, SubOptimizer
from danlu.training.slots import StepHook, GradHook, StorageKind, make_storage


class OptimizerInBackward(CompositeOptimizer):
    """Step each parameter from within `backward`, with one optimizer per parameter.

    The gradients of a whole model are never in memory together (Lv et al. 2023, LOMO,
    https://arxiv.org/abs/2306.09782). Options that need all of them at once (the gradient's norm, accumulation, loss
    scaling) are impossible; the recipe's check of contradictions rejects them.

    The loop sets `lr` before the backward pass rather than after it, and checks the loss before too: a loss that is not
    finite has spoiled the weights by the time `step` would be called. `step` and `zero_grad` do nothing. Call `remove`
    before any other backward pass through the model.

    Args:
        groups: dicts with `params` and options, as `build` takes them.
        build: makes the optimizer of some groups.
        kind: how weights kept in bf16 are stepped; None steps them in place.
        before_step: called with each parameter when its gradient is complete, which it may change (l1, l2, clip_value).
        after_step: called with each parameter and the tensor stepped for it, to change that in place (max_norm).
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        build: OptimizerFactory,
        kind: StorageKind | None = None,
        before_step: GradHook | None = None,
        after_step: StepHook | None = None,
    ) -> None:
        units, order = [], []
        for index, group in enumerate(groups):
            options = {name: value for name, value in group.items() if name != "params"}
            for weight in group["params"]:
                units.append(SubOptimizer([([make_storage(weight, kind)], options)], build, after_step))
                order.append((index, weight))
        super().__init__(units, order)
        self._hooks = [
            weight.register_post_accumulate_grad_hook(_backward_hook(unit, before_step))
            for unit, (_, weight) in zip(units, order, strict=True)
            if weight.requires_grad
        ]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing: every parameter was stepped when its gradient was complete."""

    def remove(self) -> None:
        """Remove the hooks, so that backward passes step no longer."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _backward_hook(sub_optimizer: SubOptimizer, before_step: GradHook | None) -> Callable[[nn.Parameter], None]:
    def on_gradient(weight: nn.Parameter) -> None:
        if before_step is not None:
            before_step(weight)
        sub_optimizer.step()
        weight.grad = None

    return on_gradient
