"""Repeat steps for comparison: nothing is written, log records are kept in memory."""

from typing import Any

from torch import Tensor

from danlu.core.console import Progress
from danlu.training.journal import Recorder
from danlu.training.machine import ShardCopy, TrainState
from danlu.training.watch import EarlyStopper


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

    def save_checkpoint(self, train_state: TrainState, step: int, early_stopping: EarlyStopper, eval_weights: dict[str, ShardCopy] | None = None) -> None:
        """Do nothing."""

    def save_checkpoint_now(self, train_state: TrainState, step: int, early_stopping: EarlyStopper) -> str:
        return "nothing was changed"
