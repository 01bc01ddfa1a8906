"""What a person sees while something takes long: a progress bar on a terminal, plain lines elsewhere. On stderr only.

stdout is for answers alone, so that it can be piped.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as Rich

PLAIN_EVERY_S = 5.0


def say(message: str) -> None:
    """One line for the person who waits."""
    print(message, file=sys.stderr, flush=True)


class Progress(Protocol):
    """Something that shows how far work has come."""

    def advance(self, amount: int, note: str = "") -> None:
        """Report work done, and what to show beside it."""


class PlainProgress:
    """A line every few seconds, for logs and pipes."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = 0
        self.started = self.shown = time.monotonic()

    def advance(self, amount: int, note: str = "") -> None:
        self.done += amount
        now = time.monotonic()
        if now - self.shown >= PLAIN_EVERY_S:
            self.shown = now
            rate = self.done / (now - self.started)
            left = (self.total - self.done) / rate if rate else 0.0
            say(f"{self.title}: {self.done}/{self.total} {self.unit}, {rate:.0f}/s, {left:.0f} s left  {note}")


class BarProgress:
    """A bar that stays in its line."""

    def __init__(self, bar: "Rich", title: str, total: int, unit: str) -> None:
        self.bar = bar
        self.task = bar.add_task(title, total=total, note="", unit=unit)

    def advance(self, amount: int, note: str = "") -> None:
        self.bar.update(self.task, advance=amount, note=note)


@contextmanager
def progress(title: str, total: int, unit: str) -> Iterator[Progress]:
    """Show the progress of `total` units of work.

    Args:
        title: what is being done.
        total: how much there is.
        unit: what is counted, e.g. "samples".
    """
    if not sys.stderr.isatty():
        yield PlainProgress(title, total, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Rich

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
    )
    with Rich(*columns, console=Console(stderr=True), transient=True) as bar:
        yield BarProgress(bar, title, total, unit)
