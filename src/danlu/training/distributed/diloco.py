"""DiLoCo: replicas that step locally and synchronize now and then, for slow networks.

Douillard et al. 2023 (https://arxiv.org/abs/2311.08105). Between synchronizations nothing is sent. At one, the
replicas' mean change since the last is the gradient of an outer step with Nesterov momentum (Sutskever et al. 2013),
and all replicas continue from its result.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.distributed.process_groups import ProcessGroups
from danlu.recipe.sections.training import LocalSteps


class DiLoCo:
    """Synchronize this process's replica with the others.

    Args:
        model: the same in all processes.
        optimizer: the inner optimizer; local between synchronizations.
        options: the interval and the outer step.
        groups: the process groups.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, options: LocalSteps, groups: ProcessGroups
    ) -> None:
        self.options, self.groups, self.optimizer = options, groups, optimizer
        self._weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
        self._buffers = [value for value in model.buffers() if value.is_floating_point()]
        self._anchors = {name: weight.clone() for name, weight in self._weights.items()}
        self._momenta = {name: torch.zeros_like(weight) for name, weight in self._weights.items()}
        self._last_sync_step = 0

    def maybe_sync(self, step: int) -> None:
        """Synchronize if this step is due."""
        assert isinstance(self.options.every, int)
        if step % self.options.every == 0:
            self._outer_step(step)

    def sync_all(self, step: int) -> None:
        """Make all processes equal for validation and checkpoints, inner optimizer state included."""
        if self._last_sync_step != step:
            self._outer_step(step)
        for value in self._inner_optimizer_state():
            self._average(value)

    @torch.no_grad()
    def _outer_step(self, step: int) -> None:
        lr, momentum = self.options.lr, self.options.momentum
        for name, weight in self._weights.items():
            anchor, velocity = self._anchors[name], self._momenta[name]
            change = self._average(anchor - weight)
            velocity.mul_(momentum).add_(change)
            anchor.sub_(change.add_(velocity, alpha=momentum), alpha=lr)
            weight.copy_(anchor)
        for value in self._buffers:
            self._average(value)
        self._last_sync_step = step

    def _average(self, value: Tensor) -> Tensor:
        return self.groups.all_reduce_dp(value).div_(self.groups.dp_size)

    def _inner_optimizer_state(self) -> Iterator[Tensor]:
        for values in self.optimizer.state.values():
            yield from (value for value in values.values() if isinstance(value, Tensor) and value.is_floating_point())

    def state_dict(self) -> dict[str, Any]:
        """Return the outer step's momentum, to resume from right after `sync_all`."""
        return {"momenta": dict(self._momenta), "met_after": self._last_sync_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; load the model's weights first."""
        self._last_sync_step = int(state["met_after"])
        for name, velocity in self._momenta.items():
            velocity.copy_(state["momenta"][name])
            self._anchors[name].copy_(self._weights[name])
