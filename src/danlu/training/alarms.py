"""Alarms while the loss still is finite: gradients that explode or vanish, and dead units.

Costs next to nothing: norms stay on the device and are read when a line is logged; units are watched in a few hundred
samples of each validation. Each alarm is reported once in a line, and kept in alarms.jsonl for the report.
"""

import bisect
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from danlu.artifacts.lines import ALARMS, append_line, keep_until
from danlu.core.console import say
from danlu.core.sentences import sentence
from danlu.training.callbacks import Callback, Setting
from danlu.training.sentences import ALARMS as WORDS

REMEMBERED = 200  # steps that the median is taken over
LEAST = 20  # fewer norms give no reliable median
SUDDEN = 20.0  # times the median: far beyond the noise between batches
VANISHED = 1e-7  # about the rounding of a weight near 1: smaller steps no longer move it
LOOKED_AT = 1024  # samples per validation
SILENT = 2  # a unit that never fires in this many consecutive validations counts as dead
MANY = 0.1  # share of dead units in a layer that is reported; a few are usual
RELU_LIKE = (nn.ReLU, nn.ReLU6, nn.Threshold)  # give exactly 0, and no gradient, where they do not fire


class Alarms(Callback):
    """Watch gradient norms and units, and report each problem once."""

    def __init__(self) -> None:
        self.file: Path | None = None
        self.model: nn.Module | None = None
        self.step = 0
        self.told: set[str] = set()
        self.unread: list[tuple[int, Tensor]] = []
        self.norms: deque[float] = deque()
        self.ordered: list[float] = []  # the same, smallest first
        self.silent: dict[str, Tensor] = {}  # layer -> consecutive validations that each unit was silent, [units]

    def on_start(self, setting: Setting) -> None:
        self.file, self.model = setting.run.path / ALARMS, setting.model
        keep_until(self.file, setting.first_step)

    def gradient(self, step: int, norm: Tensor) -> None:
        """Record a step's gradient norm, before clipping.

        Args:
            step: counted from 1.
            norm: a scalar on the device, a new one each step as `clip_grad_norm_` returns it. It is not read here.
        """
        self.unread.append((step, norm))

    def on_log(self, record: dict[str, float]) -> None:
        self.step = int(record["step"])
        if not self.unread:
            return
        values = torch.stack([norm.detach().float() for _, norm in self.unread]).tolist()
        for (step, _), value in zip(self.unread, values, strict=True):
            self._look(step, value)
        self.unread = []
        recent = list(self.norms)[-LEAST:]
        if len(recent) == LEAST and max(recent) < VANISHED:
            self._tell("vanishing-gradient", self.step, bound=VANISHED, steps=LEAST)

    def on_end(self) -> None:
        self.unread = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the uncompiled model's units during a validation within."""
        assert self.model is not None
        fired: dict[str, Tensor] = {}
        handles: dict[str, torch.utils.hooks.RemovableHandle] = {}
        left: dict[str, int] = {}
        for name, module in self.model.named_modules():
            if isinstance(module, RELU_LIKE):
                left[name] = LOOKED_AT
                handles[name] = module.register_forward_hook(partial(_note, name, fired, handles, left))
        try:
            yield
        finally:
            for handle in handles.values():
                handle.remove()
        for name, units in fired.items():
            self._count(name, units)

    def _look(self, step: int, norm: float) -> None:
        """Compare a norm with those before it; ignore one that is not finite.

        Whoever scales losses deals with that.
        """
        if not norm < float("inf"):
            return
        usual = self._median() if len(self.norms) >= LEAST else 0.0
        if usual > 0 and norm > SUDDEN * usual:
            self._tell("exploding-gradient", step, norm=norm, times=norm / usual, usual=usual)
        self._remember(norm)

    def _median(self) -> float:
        count = len(self.ordered)
        return (self.ordered[(count - 1) // 2] + self.ordered[count // 2]) / 2

    def _remember(self, norm: float) -> None:
        """Insert a norm into both the ordered and the sorted window.

        Sorting them again took 10 us per step.
        """
        if len(self.norms) == REMEMBERED:
            del self.ordered[bisect.bisect_left(self.ordered, self.norms.popleft())]
        self.norms.append(norm)
        bisect.insort(self.ordered, norm)

    def _count(self, name: str, fired: Tensor) -> None:
        before = self.silent.get(name)
        silent = torch.where(fired, 0, 1 if before is None or before.shape != fired.shape else before + 1)
        self.silent[name] = silent
        share = float((silent >= SILENT).float().mean())
        if share >= MANY:
            self._tell("dead-units", self.step, share=share, units=len(fired), layer=name, validations=SILENT)

    def _tell(self, key: str, step: int, **figures: float | str) -> None:
        """Report each kind of alarm once; a failing run would repeat it at every step."""
        kind = sentence(WORDS, f"{key}.kind", figures)
        if kind in self.told:
            return
        self.told.add(kind)
        message = sentence(WORDS, key, figures)
        say(f"step {step:,}: {message}")
        if self.file is not None:
            told = {"step": step, "kind": kind, "message": message, "key": key, "figures": figures}
            append_line(self.file, told)


def _note(
    name: str,
    fired: dict[str, Tensor],
    handles: dict[str, "torch.utils.hooks.RemovableHandle"],
    left: dict[str, int],
    module: nn.Module,
    args: object,
    output: Tensor,
) -> None:
    """Record which units of a layer fire in a batch, [units].

    Units are the channels of images, else the last dimension.
    """
    units = output.detach().transpose(1, -1) if output.dim() >= 4 else output.detach()
    active = (units != 0).flatten(0, -2).any(dim=0)
    fired[name] = active | fired[name] if name in fired else active
    left[name] -= len(output)
    if left[name] <= 0:
        handles[name].remove()
