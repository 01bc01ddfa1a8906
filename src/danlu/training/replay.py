"""Repeat steps for comparison: nothing is written, log records are kept in memory."""

from typing import Any

from torch import Tensor

from danlu.core.console import Progress
from danlu.training.journal import Journal
from danlu.training.machine import Kept, Machine
from danlu.training.watch import Watch


class Replay(Journal):
    """Keep log records in memory and write nothing."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.lines: list[dict[str, Any]] = []

    def stepped(self, step: int, samples: int, loss: Tensor, norm: Tensor | None) -> None:
        self.bar.advance(samples)

    def log(self, record: dict[str, float]) -> None:
        self.lines.append(record)

    def validated(self, watch: Watch) -> None:
        """Do nothing."""

    def is_due(self, step: int) -> bool:
        return False

    def keep(self, machine: Machine, step: int, watch: Watch, judged: dict[str, Kept] | None = None) -> None:
        """Do nothing."""

    def keep_now(self, machine: Machine, step: int, watch: Watch) -> str:
        return "nothing was changed"
