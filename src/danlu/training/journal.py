"""Recorders of a run: they write lines of metrics.jsonl and checkpoints, and tell the callbacks."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from torch import Tensor

from danlu.artifacts.checkpoints import Checkpoints
from danlu.artifacts.run import RunDirectory
from danlu.recipe.sections import Checkpoint
from danlu.training.alarms import Alarms
from danlu.training.callbacks import Callback, Setting
from danlu.training.machine import Kept, Machine
from danlu.training.meter import Meter
from danlu.training.watch import Watch


class Journal(Protocol):
    """Receive the loop's steps, records, validations and checkpoints."""

    def stepped(self, step: int, samples: int, loss: Tensor, norm: Tensor | None) -> None:
        """Record a step.

        Args:
            samples: number of samples it took.
            loss: a scalar on the device.
            grad_norm: the gradient's norm, a scalar on the device, where it is clipped.
        """

    def log(self, record: dict[str, float]) -> None:
        """Write a line of metrics.jsonl."""

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Mark the time within as validation."""
        yield

    def validated(self, watch: Watch) -> None:
        """Record the outcome of a validation."""

    def is_due(self, step: int) -> bool:
        """Return whether a checkpoint is due between validations."""

    def keep(self, machine: Machine, step: int, watch: Watch, judged: dict[str, Kept] | None = None) -> None:
        """Write a checkpoint in the background.

        Args:
            eval_weights: the weights just found best, where they are not the model's own.
        """

    def keep_now(self, machine: Machine, step: int, watch: Watch) -> str:
        """Write a checkpoint, wait for it, and return a message saying where it is."""


class RunJournal(Journal):
    """Record into a run's folder."""

    def __init__(
        self,
        run: RunDirectory,
        checkpoints: Checkpoints,
        options: Checkpoint,
        meter: Meter,
        alarms: Alarms,
        callbacks: Sequence[Callback],
        first: int = 0,
    ) -> None:
        self.run, self.checkpoints, self.options, self.meter, self.alarms = run, checkpoints, options, meter, alarms
        self.callbacks = (alarms, *callbacks)
        # Call only those at every step that define on_step.
        self._each_step = [call.on_step for call in self.callbacks if type(call).on_step is not Callback.on_step]
        self._kept_at = time.monotonic()
        self._kept_step = first

    @contextmanager
    def told(self, setting: Setting) -> Iterator[None]:
        """Call the callbacks' `on_start` and, however training ends, their `on_end`."""
        begun: list[Callback] = []
        try:
            for callback in self.callbacks:
                begun.append(callback)
                callback.on_start(setting)
            yield
        finally:
            for callback in begun:
                callback.on_end()

    def stepped(self, step: int, samples: int, loss: Tensor, norm: Tensor | None) -> None:
        self.meter.advance(samples)
        if norm is not None:
            self.alarms.gradient(step, norm)
        for call in self._each_step:
            call(step, loss)

    def log(self, record: dict[str, float]) -> None:
        self.run.log(record)
        self.meter.loss = record.get("train/loss", self.meter.loss)
        for callback in self.callbacks:
            callback.on_log(record)

    @contextmanager
    def validating(self) -> Iterator[None]:
        with self.meter.paused(), self.alarms.watching():
            yield

    def validated(self, watch: Watch) -> None:
        self.meter.remark = watch.note

    def is_due(self, step: int) -> bool:
        every = self.options.every_steps
        if every is not None and step // every > self._kept_step // every:
            return True
        return time.monotonic() - self._kept_at >= 60 * self.options.every_minutes

    def keep(self, machine: Machine, step: int, watch: Watch, judged: dict[str, Kept] | None = None) -> None:
        self._kept_at, self._kept_step = time.monotonic(), step
        self.checkpoints.save(machine.snapshot(step, watch, judged or {}))

    def keep_now(self, machine: Machine, step: int, watch: Watch) -> str:
        path = self.checkpoints.save_now(machine.snapshot(step, watch, {}))
        return f"saved in {path}; `danlu train --resume {self.run.path}` continues from there"

    def finish(self, machine: Machine, step: int, watch: Watch) -> None:
        """Wait until the checkpoints of the last and the best step are written."""
        self.checkpoints.flush()
        if not self.checkpoints.has(step):
            self.keep_now(machine, step, watch)


class SilentJournal(Journal):
    """Write a process's shards of checkpoints, if any; for all but the main process.

    Args:
        checkpoints: takes its shards; None where the main process has all weights.
    """

    def __init__(self, run: RunDirectory, checkpoints: Checkpoints | None) -> None:
        self.run, self.checkpoints = run, checkpoints

    def stepped(self, step: int, samples: int, loss: Tensor, norm: Tensor | None) -> None:
        """Do nothing: the main process records it."""

    def log(self, record: dict[str, float]) -> None:
        """Do nothing: the main process logs the same figures."""

    def validated(self, watch: Watch) -> None:
        """Do nothing: the main process records it."""

    def is_due(self, step: int) -> bool:
        return False

    def keep(self, machine: Machine, step: int, watch: Watch, judged: dict[str, Kept] | None = None) -> None:
        if self.checkpoints is not None:
            self.checkpoints.save(machine.snapshot(step, watch, judged or {}))

    def keep_now(self, machine: Machine, step: int, watch: Watch) -> str:
        if self.checkpoints is not None:
            self.checkpoints.save_now(machine.snapshot(step, watch, {}))
        return "saved with the other processes' shards"

    def finish(self, machine: Machine, step: int, watch: Watch) -> None:
        """Wait until this process's shards of the last step are written."""
        if self.checkpoints is not None:
            self.checkpoints.flush()
            if not self.checkpoints.has(step):
                self.keep_now(machine, step, watch)
