"""What training writes down as it goes: lines of metrics.jsonl, checkpoints, and word to whoever watches."""

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
    """What the loop reports to."""

    def stepped(self, step: int, samples: int, loss: Tensor, norm: Tensor | None) -> None:
        """Word of a step: how many samples it took; loss and the gradient's norm are scalars on the device."""

    def log(self, record: dict[str, float]) -> None:
        """A line of metrics.jsonl."""

    @contextmanager
    def validating(self) -> Iterator[None]:
        """What happens within is a validation."""
        yield

    def validated(self, watch: Watch) -> None:
        """Word of how a validation went."""

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is due that no validation brings along."""

    def keep(self, machine: Machine, step: int, watch: Watch, judged: dict[str, Kept] | None = None) -> None:
        """Have a checkpoint written while training goes on.

        Args:
            judged: the weights that were just found best, where they are not the model's own.
        """

    def keep_now(self, machine: Machine, step: int, watch: Watch) -> str:
        """Write a checkpoint and wait for it; the words that say where it is and how to go on."""


class RunJournal(Journal):
    """Into a run's folder."""

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
        # Only those are called at every step that have something to do there.
        self._each_step = [call.on_step for call in self.callbacks if type(call).on_step is not Callback.on_step]
        self._kept_at = time.monotonic()
        self._kept_step = first

    @contextmanager
    def told(self, setting: Setting) -> Iterator[None]:
        """Tell the callbacks when training begins and when it ends, however it does."""
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
        return f"kept in {path}; `danlu train --resume {self.run.path}` goes on from there"

    def finish(self, machine: Machine, step: int, watch: Watch) -> None:
        """Wait until the last step is kept, and what was best."""
        self.checkpoints.flush()
        if not self.checkpoints.has(step):
            self.keep_now(machine, step, watch)


class SilentJournal(Journal):
    """Of a process that is not the main one: writes nothing but its pieces of checkpoints, where it holds any.

    Args:
        checkpoints: takes its pieces; None where the main process has all weights.
    """

    def __init__(self, run: RunDirectory, checkpoints: Checkpoints | None) -> None:
        self.run, self.checkpoints = run, checkpoints

    def stepped(self, step: int, samples: int, loss: Tensor, norm: Tensor | None) -> None:
        """The main process says so."""

    def log(self, record: dict[str, float]) -> None:
        """The main process has the same figures."""

    def validated(self, watch: Watch) -> None:
        """The main process says so."""

    def is_due(self, step: int) -> bool:
        return False

    def keep(self, machine: Machine, step: int, watch: Watch, judged: dict[str, Kept] | None = None) -> None:
        if self.checkpoints is not None:
            self.checkpoints.save(machine.snapshot(step, watch, judged or {}))

    def keep_now(self, machine: Machine, step: int, watch: Watch) -> str:
        if self.checkpoints is not None:
            self.checkpoints.save_now(machine.snapshot(step, watch, {}))
        return "kept with the other processes' pieces"

    def finish(self, machine: Machine, step: int, watch: Watch) -> None:
        """As the main process's."""
        if self.checkpoints is not None:
            self.checkpoints.flush()
            if not self.checkpoints.has(step):
                self.keep_now(machine, step, watch)
