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

from danlu.artifacts.files import append_jsonl, truncate_jsonl
from danlu.artifacts.run import ALARMS
from danlu.core.console import info
from danlu.core.text import format_message
from danlu.training.monitoring.callbacks import Callback, CallbackContext
from danlu.training.monitoring.messages import ALARM_MESSAGES as WORDS

NORM_WINDOW = 200  # steps that the median is taken over
MIN_NORMS = 20  # fewer norms give no reliable median
EXPLODING_RATIO = 20.0  # times the median: far beyond the noise between batches
VANISHING_NORM = 1e-7  # about the rounding of a weight near 1: smaller steps no longer move it
WATCHED_SAMPLES = 1024  # samples per validation
DEAD_AFTER = 2  # a unit that never fires in this many consecutive validations counts as dead
MIN_DEAD_SHARE = 0.1  # share of dead units in a layer that is reported; a few are usual
RELU_LIKE = (nn.ReLU, nn.ReLU6, nn.Threshold)  # give exactly 0, and no gradient, where they do not fire


class Alarms(Callback):
    """Watch gradient norms and units, and report each problem once."""

    def __init__(self) -> None:
        self.file: Path | None = None
        self.model: nn.Module | None = None
        self.step = 0
        self.reported: set[str] = set()
        self.pending_norms: list[tuple[int, Tensor]] = []
        self.norms: deque[float] = deque()
        self.sorted_norms: list[float] = []  # the same, smallest first
        self.silent_counts: dict[
            str, Tensor
        ] = {}  # layer -> consecutive validations that each unit was silent, [units]

    def on_start(self, context: CallbackContext) -> None:
        self.file, self.model = context.run.path / ALARMS, context.model
        truncate_jsonl(self.file, context.first_step)

    def record_grad_norm(self, step: int, norm: Tensor) -> None:
        """Record a step's gradient norm, before clipping.

        Args:
            step: counted from 1.
            norm: a scalar on the device, a new one each step as `clip_grad_norm_` returns it. It is not read here.
        """
        self.pending_norms.append((step, norm))

    def on_log(self, record: dict[str, float]) -> None:
        self.step = int(record["step"])
        if not self.pending_norms:
            return
        values = torch.stack([norm.detach().float() for _, norm in self.pending_norms]).tolist()
        for (step, _), value in zip(self.pending_norms, values, strict=True):
            self._check_norm(step, value)
        self.pending_norms = []
        recent = list(self.norms)[-MIN_NORMS:]
        if len(recent) == MIN_NORMS and max(recent) < VANISHING_NORM:
            self._report("vanishing-gradient", self.step, bound=VANISHING_NORM, steps=MIN_NORMS)

    def on_end(self) -> None:
        self.pending_norms = []

    @contextmanager
    def watch_units(self) -> Iterator[None]:
        """Watch the uncompiled model's units during a validation within."""
        assert self.model is not None
        fired: dict[str, Tensor] = {}
        handles: dict[str, torch.utils.hooks.RemovableHandle] = {}
        left: dict[str, int] = {}
        for name, module in self.model.named_modules():
            if isinstance(module, RELU_LIKE):
                left[name] = WATCHED_SAMPLES
                handles[name] = module.register_forward_hook(partial(_record_active_units, name, fired, handles, left))
        try:
            yield
        finally:
            for handle in handles.values():
                handle.remove()
        for name, units in fired.items():
            self._update_silent_counts(name, units)

    def _check_norm(self, step: int, norm: float) -> None:
        """Compare a norm with those before it; ignore one that is not finite.

        Whoever scales losses deals with that.
        """
        if not norm < float("inf"):
            return
        usual = self._median() if len(self.norms) >= MIN_NORMS else 0.0
        if usual > 0 and norm > EXPLODING_RATIO * usual:
            self._report("exploding-gradient", step, norm=norm, times=norm / usual, usual=usual)
        self._remember(norm)

    def _median(self) -> float:
        count = len(self.sorted_norms)
        return (self.sorted_norms[(count - 1) // 2] + self.sorted_norms[count // 2]) / 2

    def _remember(self, norm: float) -> None:
        """Insert a norm into both the ordered and the sorted window.

        Sorting them again took 10 us per step.
        """
        if len(self.norms) == NORM_WINDOW:
            del self.sorted_norms[bisect.bisect_left(self.sorted_norms, self.norms.popleft())]
        self.norms.append(norm)
        bisect.insort(self.sorted_norms, norm)

    def _update_silent_counts(self, name: str, fired: Tensor) -> None:
        before = self.silent_counts.get(name)
        silent = torch.where(fired, 0, 1 if before is None or before.shape != fired.shape else before + 1)
        self.silent_counts[name] = silent
        share = float((silent >= DEAD_AFTER).float().mean())
        if share >= MIN_DEAD_SHARE:
            self._report("dead-units", self.step, share=share, units=len(fired), layer=name, validations=DEAD_AFTER)

    def _report(self, key: str, step: int, **figures: float | str) -> None:
        """Report each kind of alarm once; a failing run would repeat it at every step."""
        kind = format_message(WORDS, f"{key}.kind", figures)
        if kind in self.reported:
            return
        self.reported.add(kind)
        message = format_message(WORDS, key, figures)
        info(f"step {step:,}: {message}")
        if self.file is not None:
            told = {"step": step, "kind": kind, "message": message, "key": key, "figures": figures}
            append_jsonl(self.file, told)


def _record_active_units(
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
