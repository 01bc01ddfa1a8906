"""torchao's AdamW with 8-bit moments, adapted to the other optimizers here: rates as numbers, a plain state.

torchao needs each rate as a tensor and keeps moments in a tensor class of its own; checkpoints hold plain tensors.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torchao.optim import AdamW8bit
from torchao.optim.subclass_8bit import OptimState8bit

from danlu.training.optimizers.base import Groups

MOMENT_TENSORS = ("codes", "scale", "qmap")


class EightBitAdamW(AdamW8bit):  # type: ignore[misc]
    """Wrap AdamW8bit with rates as numbers and a state_dict of plain tensors."""

    def __init__(self, groups: Groups, betas: tuple[float, float], eps: float) -> None:
        rates = [group["lr"] for group in groups]
        super().__init__(groups, betas=betas, eps=eps)
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Make one step; `closure` is ignored.

        torchao compiles the step for each shape of weight, which pays on accelerators alone.
        """
        on_host = all(value.device.type == "cpu" for group in self.param_groups for value in group["params"])
        with _lrs_as_tensors(self), torch.compiler.set_stance("force_eager") if on_host else nullcontext():
            super().step()

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state dict, with each 8-bit moment as a dict of its tensors."""
        found = super().state_dict()
        state = {
            index: {key: _to_plain(value) for key, value in values.items()} for index, values in found["state"].items()
        }
        return {**found, "state": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        state = {
            index: {key: _from_plain(value) for key, value in values.items()}
            for index, values in state_dict["state"].items()
        }
        super().load_state_dict({**state_dict, "state": state})


@contextmanager
def _lrs_as_tensors(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    rates = [group["lr"] for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = torch.tensor(rate, dtype=torch.float32)
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def _to_plain(value: Any) -> Any:
    if not isinstance(value, OptimState8bit):
        return value
    return {**{name: getattr(value, name) for name in MOMENT_TENSORS}, "signed": value.signed}


def _from_plain(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return OptimState8bit(*(value[name].clone() for name in MOMENT_TENSORS), value["signed"], dtype=torch.float32)
