"""A running average: a copy of a model's weights and buffers that follows them and can take their place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.pieces import held, piece_like


class RunningAverage:
    """Follow a model's weights; those below 32 bits are averaged in fp32.

    Small changes would be lost otherwise. Weights that are frozen when it is built keep their values.

    Attributes:
        num_updates: number of steps' weights it holds besides the initial ones.
    """

    def __init__(self, model: nn.Module, share: Callable[[int, int, int], float | None]) -> None:
        self.taken = 0
        self._share = share
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        own = trained | dict(model.named_buffers())
        self._like = {name: value.detach() for name, value in own.items() if value.is_floating_point()}
        self._own = {name: held(value) for name, value in self._like.items()}
        self._averages = {name: _at_least_fp32(value).clone() for name, value in self._own.items()}

    @torch.no_grad()
    def update(self, step: int, steps: int) -> None:
        """Add the weights after `step` of `steps`, counted from 1."""
        share = self._share(self.taken, step, steps)
        if share is None:
            return
        self.taken += 1
        averages = list(self._averages.values())
        weights = [_at_least_fp32(value) for value in self._own.values()]
        if share == 1:
            torch._foreach_copy_(averages, weights)
        else:
            torch._foreach_lerp_(averages, weights, share)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Put the average into the model; restore its own weights afterwards, bit for bit.

        An average without any update leaves the model unchanged.
        """
        if not self.taken:
            yield
            return
        own, averages = list(self._own.values()), list(self._averages.values())
        kept = [value.clone() for value in own]
        torch._foreach_copy_(own, averages)
        try:
            yield
        finally:
            torch._foreach_copy_(own, kept)

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume: a number, and tensors by the model's names."""
        averages = {name: piece_like(value, self._like[name]) for name, value in self._averages.items()}
        return {"taken": self.taken, "averages": averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.taken = int(state["taken"])
        for name, average in self._averages.items():
            average.copy_(state["averages"][name])


def _at_least_fp32(value: Tensor) -> Tensor:
    return value.float() if value.element_size() < 4 else value
