"""What training writes down as it goes: lines of metrics.jsonl, checkpoints, and word to the callbacks."""

import time
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from danlu.artifacts.checkpoints import Checkpoints, checkpoint_folder
from danlu.artifacts.run import RunDirectory
from danlu.recipe.sections import Checkpoint
from danlu.training.callbacks import Callback
from danlu.training.machine import Machine
from danlu.training.watch import Watch


class Journal(Protocol):
    """What the loop reports to."""

    def stepped(self, step: int, loss: Tensor) -> None:
        """Word of a step; `loss` is a scalar on the device."""

    def log(self, record: dict[str, float]) -> None:
        """A line of metrics.jsonl."""

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is due that no validation brings along."""

    def keep(self, machine: Machine, step: int, watch: Watch, judged: dict[str, Tensor] | None = None) -> None:
        """Have a checkpoint written while training goes on.

        Args:
            judged: the weights that were just found best, where they are not the model's own.
        """

    def keep_now(self, machine: Machine, step: int, watch: Watch) -> str:
        """Write a checkpoint and wait for it; the words that say where it is and how to go on."""


class RunJournal(Journal):
    """Into a run's folder."""

    def __init__(
        self, run: RunDirectory, checkpoints: Checkpoints, options: Checkpoint, callbacks: Sequence[Callback]
    ) -> None:
        self.run, self.checkpoints, self.options, self.callbacks = run, checkpoints, options, callbacks
        # Only those are called at every step that have something to do there.
        self._each_step = [call.on_step for call in callbacks if type(call).on_step is not Callback.on_step]
        self._kept_at = time.monotonic()

    def stepped(self, step: int, loss: Tensor) -> None:
        for call in self._each_step:
            call(step, loss)

    def log(self, record: dict[str, float]) -> None:
        self.run.log(record)
        for callback in self.callbacks:
            callback.on_log(record)

    def is_due(self, step: int) -> bool:
        if self.options.every_steps is not None and step % self.options.every_steps == 0:
            return True
        return time.monotonic() - self._kept_at >= 60 * self.options.every_minutes

    def keep(self, machine: Machine, step: int, watch: Watch, judged: dict[str, Tensor] | None = None) -> None:
        self._kept_at = time.monotonic()
        self.checkpoints.save(machine.snapshot(step, watch, judged or {}))

    def keep_now(self, machine: Machine, step: int, watch: Watch) -> str:
        path = self.checkpoints.save_now(machine.snapshot(step, watch, {}))
        return f"kept in {path}; `danlu train --resume {self.run.path}` goes on from there"

    def finish(self, machine: Machine, step: int, watch: Watch) -> None:
        """Wait until the last step is kept, and what was best."""
        self.checkpoints.flush()
        if not checkpoint_folder(self.run, step).exists():
            self.keep_now(machine, step, watch)
