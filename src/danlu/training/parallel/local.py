"""Copies of a model that step on their own and meet now and then, where what connects them is slow (DiLoCo).

Douillard et al. 2023. Between meetings nothing is sent. At one, the copies' mean change since the last is the gradient
of an outer step with Nesterov's momentum (Sutskever et al. 2013), and all go on from where that leads.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.team import Team
from danlu.recipe.sections import LocalSteps


class Meetings:
    """Has a process's copy of the model meet the others'.

    Args:
        model: in the same state in all processes.
        optimizer: of the inner steps; a copy's own between meetings.
        options: how often, and the outer step.
        team: the processes.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, options: LocalSteps, team: Team) -> None:
        self.options, self.team, self.optimizer = options, team, optimizer
        self._weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
        self._buffers = [value for value in model.buffers() if value.is_floating_point()]
        self._anchors = {name: weight.clone() for name, weight in self._weights.items()}
        self._momenta = {name: torch.zeros_like(weight) for name, weight in self._weights.items()}
        self._met_after = 0

    def after(self, step: int) -> None:
        """Meet, where it is time to."""
        if step % self.options.every == 0:
            self._meet(step)

    def agree(self, step: int) -> None:
        """Have everything alike in all processes, as a validation and a checkpoint want it: inner optimizers too."""
        if self._met_after != step:
            self._meet(step)
        for value in self._inner():
            self._mean(value)

    @torch.no_grad()
    def _meet(self, step: int) -> None:
        lr, momentum = self.options.lr, self.options.momentum
        for name, weight in self._weights.items():
            anchor, velocity = self._anchors[name], self._momenta[name]
            change = self._mean(anchor - weight)
            velocity.mul_(momentum).add_(change)
            anchor.sub_(change.add_(velocity, alpha=momentum), alpha=lr)
            weight.copy_(anchor)
        for value in self._buffers:
            self._mean(value)
        self._met_after = step

    def _mean(self, value: Tensor) -> Tensor:
        return self.team.sum_of_samples(value).div_(self.team.sample_ways)

    def _inner(self) -> Iterator[Tensor]:
        for values in self.optimizer.state.values():
            yield from (value for value in values.values() if isinstance(value, Tensor) and value.is_floating_point())

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on, right after `agree`: where the outer step's momentum leads."""
        return {"momenta": dict(self._momenta), "met_after": self._met_after}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave; load the model's weights first."""
        self._met_after = int(state["met_after"])
        for name, velocity in self._momenta.items():
            velocity.copy_(state["momenta"][name])
            self._anchors[name].copy_(self._weights[name])
