"""Messages and progress while work runs: lines of the logger "danlu", and a progress bar on a terminal.

The command line prints them on stderr; stdout carries answers alone, so that it can be piped. A notebook shows the
progress as one line that is replaced. Work may report every step, however short: output is refreshed a few times per
second at most. Of several processes that train together, rank 0 alone writes.
"""

import importlib
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from danlu.core.distributed.env import dist_env
from danlu.core.text import printable

if TYPE_CHECKING:
    import logging

    from rich.progress import Progress as Rich

PLAIN_EVERY_S = 5.0
BAR_EVERY_S = 0.2  # drawing it takes about a millisecond
LINE_EVERY_S = 0.5  # in a notebook, whose file may be saved at any moment
RATE_WINDOW = 100  # redraws over which a bar's rate is averaged: twenty seconds or more

Note = str | Callable[[], str]  # text beside the progress; a function is called when it is shown

INFO, ERROR = 20, 40  # levels of the logging module, which is imported when there is something to say
_suppressed: ContextVar[bool] = ContextVar("suppressed", default=False)
_said: ContextVar[set[str] | None] = ContextVar("said", default=None)  # lines, where each is said once
_silent: ContextVar[bool] = ContextVar("silent", default=False)
_on_stderr = False
_shown: Callable[[str], str] = str  # a message as the command line shows it


def info(message: str) -> None:
    """Log one line, from rank 0 alone."""
    if not dist_env().is_main or _suppressed.get():
        return
    said = _said.get()
    if said is not None:
        if message in said:
            return
        said.add(message)
    emit(message)


@contextmanager
def each_line_once() -> Iterator[None]:
    """Let `info` say a line that comes again within the block once.

    For work that looks at the same rows in several ways.
    """
    token = _said.set(set())
    try:
        yield
    finally:
        _said.reset(token)


@contextmanager
def suppressed() -> Iterator[None]:
    """Suppress `info` within the block; progress is still shown.

    For work that is repeated and summarised in one line afterwards.
    """
    token = _suppressed.set(True)
    try:
        yield
    finally:
        _suppressed.reset(token)


@contextmanager
def silenced() -> Iterator[None]:
    """Suppress `info` and hide progress within the block.

    For work inside the work of another library, which shows its own.
    """
    token = _silent.set(True)
    try:
        with suppressed():
            yield
    finally:
        _silent.reset(token)


def emit(message: str, level: int = INFO) -> None:
    """Log one line from this process, whatever its rank.

    For example an error that it alone met.
    """
    logger = _logger()
    if level < logger.getEffectiveLevel():
        return
    if logger.hasHandlers():
        # Not by `log`: `silence_libraries` turns that off while a library loads, and danlu's own lines are not meant.
        logger.handle(logger.makeRecord(logger.name, level, "", 0, message, (), None))
    else:  # a script that has not set up logging: it sees what the command line shows
        _write(message)


def emit_traceback(error: BaseException) -> None:
    """Log an error that nobody expected, with the lines of code that led to it."""
    import traceback

    emit("".join(traceback.format_exception(error)).rstrip(), ERROR)


def log_to_stderr(shown: Callable[[str], str] = str) -> None:
    """Print messages as plain lines on stderr and nowhere else: what the command line does.

    As a library danlu logs to the logger "danlu" and leaves handlers to the program.

    Args:
        shown: returns a message in the user's language; records keep it as it is.
    """
    global _on_stderr, _shown
    _on_stderr, _shown = True, shown
    _logger.cache_clear()


@cache
def _logger() -> "logging.Logger":
    """Return the logger "danlu", at level INFO unless the program has set another."""
    import logging

    class PlainLines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            _write(_shown(record.getMessage()))

    logger = logging.getLogger("danlu")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if _on_stderr and logger.propagate:
        logger.addHandler(PlainLines())
        logger.propagate = False  # a library's handler at the root would print every line twice
    return logger


def _write(line: str) -> None:
    """Write a line in one piece, so that lines of several processes do not mix."""
    if sys.stderr is None or sys.stderr.closed:
        return
    with suppress(OSError):  # nobody can be told; the work goes on
        sys.stderr.write(f"{printable(line)}\n")
        sys.stderr.flush()


class Progress(Protocol):
    """Show how far work has come."""

    def advance(self, amount: int, note: Note | None = None) -> None:
        """Report work done and the text beside it; None keeps the text."""


class NoProgress:
    """Show nothing: in processes other than rank 0, and where the logger is silenced."""

    def advance(self, amount: int, note: Note | None = None) -> None:
        pass


class PlainProgress:
    """Print a line every few seconds, for logs and pipes."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self.before = done
        self.note: Note = ""
        self.started = time.monotonic()
        self.due = self.started + PLAIN_EVERY_S

    def advance(self, amount: int, note: Note | None = None) -> None:
        self.done += amount
        if note is not None:
            self.note = note
        now = time.monotonic()
        if now >= self.due:
            self._show(now)

    def _show(self, now: float) -> None:
        self.due = now + PLAIN_EVERY_S
        emit(self._line(now))

    def _line(self, now: float) -> str:
        rate = (self.done - self.before) / max(now - self.started, 1e-9)
        left = format_duration((self.total - self.done) / rate) if rate else "?"
        return f"{self.title}: {self.done}/{self.total} {self.unit}, {rate:.0f}/s, {left} left  {_text(self.note)}"


class NotebookProgress(PlainProgress):
    """Show one line in the cell's output, replaced as the work goes on."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0) -> None:
        super().__init__(title, total, unit, done)
        # IPython is no dependency: who runs in its kernel has it.
        self.due, self.handle = self.started, importlib.import_module("IPython.display").DisplayHandle()
        self.is_shown = False

    def _show(self, now: float) -> None:
        self.due = now + LINE_EVERY_S
        show = self.handle.update if self.is_shown else self.handle.display
        show({"text/plain": self._line(now)}, raw=True)
        self.is_shown = True

    def finish(self) -> None:
        """Show how far the work came: the last line of the cell."""
        self._show(time.monotonic())


class BarProgress:
    """Draw a bar that stays on one line."""

    def __init__(self, bar: "Rich", title: str, total: int, unit: str, done: int = 0) -> None:
        self.bar, self.done = bar, done
        self.note: Note = ""
        self.task = bar.add_task(title, total=total, completed=done, note="", unit=unit, rate="")
        self.due = time.monotonic()
        self.recent: deque[tuple[float, int]] = deque([(self.due, done)], maxlen=RATE_WINDOW)

    def advance(self, amount: int, note: Note | None = None) -> None:
        self.done += amount
        if note is not None:
            self.note = note
        if time.monotonic() >= self.due:
            self.show()

    def show(self) -> None:
        """Draw the current state of the bar."""
        now = time.monotonic()
        (since, then), self.due = self.recent[0], now + BAR_EVERY_S
        self.recent.append((now, self.done))
        rate = (self.done - then) / (now - since) if now > since else 0.0
        shown = f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
        self.bar.update(self.task, completed=self.done, note=_text(self.note), rate=shown if rate else "")
        self.bar.refresh()


def in_notebook() -> bool:
    """Return whether this program is the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")  # a kernel has imported it; danlu does not
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def format_duration(seconds: float) -> str:
    """Format seconds for people: `90 s`, `12:05 min`, `3:20 h`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60}:{whole % 60:02} min" if whole < 7200 else f"{whole // 3600}:{whole // 60 % 60:02} h"


def _text(note: Note) -> str:
    return note if isinstance(note, str) else note()


@contextmanager
def progress(title: str, total: int, unit: str, done: int = 0) -> Iterator[Progress]:
    """Show the progress of `total` units of work.

    Args:
        title: what is being done.
        total: the amount of work.
        unit: what is counted, e.g. "samples".
        done: the amount done before, by a run that is resumed.
    """
    if _silent.get() or not (dist_env().is_main and _logger().isEnabledFor(INFO)):
        yield NoProgress()
        return
    if in_notebook():
        line = NotebookProgress(title, total, unit, done)
        try:
            yield line
        finally:
            line.finish()
        return
    if not sys.stderr.isatty():
        yield PlainProgress(title, total, unit, done)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Rich

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
    )
    # No refresh thread: it would take time from the work even when nothing has changed.
    with Rich(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        shown = BarProgress(bar, title, total, unit, done)
        yield shown
        shown.show()
