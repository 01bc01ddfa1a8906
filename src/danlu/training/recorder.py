"""Recorders of a run: they write lines of metrics.jsonl and checkpoints, and tell the callbacks."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor

from danlu.artifacts.checkpoints import CheckpointManager
from danlu.artifacts.run import RunDirectory
from danlu.core.console import Progress
from danlu.recipe.sections.training import Checkpoint
from danlu.training.early_stopping import EarlyStopper
from danlu.training.monitoring.alarms import Alarms
from danlu.training.monitoring.callbacks import Callback, CallbackContext
from danlu.training.monitoring.meter import Meter
from danlu.training.train_state import ShardCopy, TrainState


class Recorder(Protocol):
    """Receive the loop's steps, records, validations and checkpoints."""

    def record_step(self, step: int, samples: int, loss: Tensor, grad_norm: Tensor | None) -> None:
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

    def record_validation(self, early_stopping: EarlyStopper) -> None:
        """Record the outcome of a validation."""

    def is_checkpoint_due(self, step: int) -> bool:
        """Return whether a checkpoint is due between validations."""

    def save_checkpoint(
        self,
        train_state: TrainState,
        step: int,
        early_stopping: EarlyStopper,
        eval_weights: dict[str, ShardCopy] | None = None,
    ) -> None:
        """Write a checkpoint in the background.

        Args:
            eval_weights: the weights just found best, where they are not the model's own.
        """

    def save_checkpoint_now(self, train_state: TrainState, step: int, early_stopping: EarlyStopper) -> str:
        """Write a checkpoint, wait for it, and return a message saying where it is."""


class RunRecorder(Recorder):
    """Record into a run's folder."""

    def __init__(
        self,
        run: RunDirectory,
        checkpoints: CheckpointManager,
        options: Checkpoint,
        meter: Meter,
        alarms: Alarms,
        callbacks: Sequence[Callback],
        start_step: int = 0,
    ) -> None:
        self.run, self.checkpoints, self.options, self.meter, self.alarms = run, checkpoints, options, meter, alarms
        self.callbacks = (alarms, *callbacks)
        # Call only those at every step that define on_step.
        self._step_callbacks = [call.on_step for call in self.callbacks if type(call).on_step is not Callback.on_step]
        self._last_save_time = time.monotonic()
        self._last_save_step = start_step

    @contextmanager
    def notify_callbacks(self, context: CallbackContext) -> Iterator[None]:
        """Call the callbacks' `on_start` and, however training ends, their `on_end`."""
        begun: list[Callback] = []
        try:
            for callback in self.callbacks:
                begun.append(callback)
                callback.on_start(context)
            yield
        finally:
            for callback in begun:
                callback.on_end()

    def record_step(self, step: int, samples: int, loss: Tensor, grad_norm: Tensor | None) -> None:
        self.meter.advance(samples)
        if grad_norm is not None:
            self.alarms.record_grad_norm(step, grad_norm)
        for call in self._step_callbacks:
            call(step, loss)

    def log(self, record: dict[str, float]) -> None:
        self.run.log(record)
        self.meter.loss = record.get("train/loss", self.meter.loss)
        for callback in self.callbacks:
            callback.on_log(record)

    @contextmanager
    def validating(self) -> Iterator[None]:
        with self.meter.paused(), self.alarms.watch_units():
            yield

    def record_validation(self, early_stopping: EarlyStopper) -> None:
        self.meter.remark = early_stopping.progress_note

    def is_checkpoint_due(self, step: int) -> bool:
        every = self.options.every_steps
        if every is not None and step // every > self._last_save_step // every:
            return True
        return time.monotonic() - self._last_save_time >= 60 * self.options.every_minutes

    def save_checkpoint(
        self,
        train_state: TrainState,
        step: int,
        early_stopping: EarlyStopper,
        eval_weights: dict[str, ShardCopy] | None = None,
    ) -> None:
        self._last_save_time, self._last_save_step = time.monotonic(), step
        self.checkpoints.save(train_state.snapshot(step, early_stopping, eval_weights or {}))

    def save_checkpoint_now(self, train_state: TrainState, step: int, early_stopping: EarlyStopper) -> str:
        path = self.checkpoints.save_now(train_state.snapshot(step, early_stopping, {}))
        return f"saved in {path}; `danlu train --resume {self.run.path}` continues from there"

    def finish(self, train_state: TrainState, step: int, early_stopping: EarlyStopper) -> None:
        """Wait until the checkpoints of the last and the best step are written."""
        self.checkpoints.flush()
        if not self.checkpoints.has(step):
            self.save_checkpoint_now(train_state, step, early_stopping)


class RankRecorder(Recorder):
    """Write a process's shards of checkpoints, if any; for all but the main process.

    Args:
        checkpoints: takes its shards; None where the main process has all weights.
    """

    def __init__(self, run: RunDirectory, checkpoints: CheckpointManager | None) -> None:
        self.run, self.checkpoints = run, checkpoints

    def record_step(self, step: int, samples: int, loss: Tensor, grad_norm: Tensor | None) -> None:
        """Do nothing: the main process records it."""

    def log(self, record: dict[str, float]) -> None:
        """Do nothing: the main process logs the same figures."""

    def record_validation(self, early_stopping: EarlyStopper) -> None:
        """Do nothing: the main process records it."""

    def is_checkpoint_due(self, step: int) -> bool:
        return False

    def save_checkpoint(
        self,
        train_state: TrainState,
        step: int,
        early_stopping: EarlyStopper,
        eval_weights: dict[str, ShardCopy] | None = None,
    ) -> None:
        if self.checkpoints is not None:
            self.checkpoints.save(train_state.snapshot(step, early_stopping, eval_weights or {}))

    def save_checkpoint_now(self, train_state: TrainState, step: int, early_stopping: EarlyStopper) -> str:
        if self.checkpoints is not None:
            self.checkpoints.save_now(train_state.snapshot(step, early_stopping, {}))
        return "saved with the other processes' shards"

    def finish(self, train_state: TrainState, step: int, early_stopping: EarlyStopper) -> None:
        """Wait until this process's shards of the last step are written."""
        if self.checkpoints is not None:
            self.checkpoints.flush()
            if not self.checkpoints.has(step):
                self.save_checkpoint_now(train_state, step, early_stopping)


class ReplayRecorder(Recorder):
    """Keep log records in memory and write nothing."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.records: list[dict[str, Any]] = []

    def record_step(self, step: int, samples: int, loss: Tensor, grad_norm: Tensor | None) -> None:
        self.bar.advance(samples)

    def log(self, record: dict[str, float]) -> None:
        self.records.append(record)

    def record_validation(self, early_stopping: EarlyStopper) -> None:
        """Do nothing."""

    def is_checkpoint_due(self, step: int) -> bool:
        return False

    def save_checkpoint(
        self,
        train_state: TrainState,
        step: int,
        early_stopping: EarlyStopper,
        eval_weights: dict[str, ShardCopy] | None = None,
    ) -> None:
        """Do nothing."""

    def save_checkpoint_now(self, train_state: TrainState, step: int, early_stopping: EarlyStopper) -> str:
        return "nothing was changed"
