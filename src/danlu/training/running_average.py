"""A running average: a copy of a model's weights and buffers that follows them and can take their place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.distributed.shards import dtensor_like, to_local


class RunningAverage:
    """Follow a model's weights; those below 32 bits are averaged in fp32.

    Small changes would be lost otherwise. Weights that are frozen when it is built keep their values.

    Attributes:
        num_updates: number of steps' weights it holds besides the initial ones.
    """

    def __init__(self, model: nn.Module, lerp_weight: Callable[[int, int, int], float | None]) -> None:
        self.num_updates = 0
        self._lerp_weight = lerp_weight
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        own = trained | dict(model.named_buffers())
        self._tensors = {name: value.detach() for name, value in own.items() if value.is_floating_point()}
        self._values = {name: to_local(value) for name, value in self._tensors.items()}
        self._averages = {name: _at_least_fp32(value).clone() for name, value in self._values.items()}

    @torch.no_grad()
    def update(self, step: int, steps: int) -> None:
        """Add the weights after `step` of `steps`, counted from 1."""
        share = self._lerp_weight(self.num_updates, step, steps)
        if share is None:
            return
        self.num_updates += 1
        averages = list(self._averages.values())
        weights = [_at_least_fp32(value) for value in self._values.values()]
        if share == 1:
            torch._foreach_copy_(averages, weights)
        else:
            torch._foreach_lerp_(averages, weights, share)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Put the average into the model; restore its own weights afterwards, bit for bit.

        An average without any update leaves the model unchanged.
        """
        if not self.num_updates:
            yield
            return
        own, averages = list(self._values.values()), list(self._averages.values())
        kept = [value.clone() for value in own]
        torch._foreach_copy_(own, averages)
        try:
            yield
        finally:
            torch._foreach_copy_(own, kept)

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume: a number, and tensors by the model's names."""
        averages = {name: dtensor_like(value, self._tensors[name]) for name, value in self._averages.items()}
        return {"taken": self.num_updates, "averages": averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.num_updates = int(state["taken"])
        for name, average in self._averages.items():
            average.copy_(state["averages"][name])


def _at_least_fp32(value: Tensor) -> Tensor:
    return value.float() if value.element_size() < 4 else value
