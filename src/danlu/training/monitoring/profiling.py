"""Where the time of a step goes: torch's profiler over a few steps, as a trace to view and a table to read.

In: steps whose phases are labelled. Out: `profile/trace.json` (open it at chrome://tracing or ui.perfetto.dev) and
`profile/table.txt` in the run's folder, and a short table on the console. Costs nothing where it is off.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import torch

from danlu.artifacts.files import translate_write_errors, write_text
from danlu.artifacts.run import RunDirectory
from danlu.core.console import info

if TYPE_CHECKING:
    from torch.profiler import profile

FOLDER, TRACE, TABLE = "profile", "trace.json", "table.txt"
WAIT_STEPS, WARMUP_STEPS, ACTIVE_STEPS = (
    2,
    1,
    5,
)  # steps: caches fill in the first two, the profiler itself starts up in the third
LABELS = ("data", "forward", "backward", "optimizer")
NUM_OPERATORS = 30  # of the long table

_NOTHING: AbstractContextManager[None] = nullcontext()


class Profiler(Protocol):
    """Receive the phases of a step and its end."""

    def label(self, name: str) -> AbstractContextManager[Any]:
        """Return the context of one phase of a step, one of LABELS."""

    def step(self) -> None:
        """Mark the end of a step."""


class NullProfiler:
    """Do nothing."""

    def label(self, name: str) -> AbstractContextManager[Any]:
        return _NOTHING

    def step(self) -> None:
        return


class StepProfiler:
    """Profile the steps after the first few, then stop."""

    def __init__(self, recording: "profile", done: Callable[[], None]) -> None:
        self.recording, self.done = recording, done
        self.steps = 0

    def label(self, name: str) -> AbstractContextManager[Any]:
        return (
            _NOTHING if self.steps >= WAIT_STEPS + WARMUP_STEPS + ACTIVE_STEPS else torch.profiler.record_function(name)
        )

    def step(self) -> None:
        self.steps += 1
        if self.steps < WAIT_STEPS + WARMUP_STEPS + ACTIVE_STEPS:
            self.recording.step()
        elif self.steps == WAIT_STEPS + WARMUP_STEPS + ACTIVE_STEPS:
            self.done()


@contextmanager
def profile_steps(run: RunDirectory, enabled: bool = True) -> Iterator[Profiler]:
    """Profile some of the steps made within.

    Args:
        run: takes the files.
        enabled: whether to profile at all.

    Raises:
        ArtifactError: a file cannot be written.
    """
    if not enabled:
        yield NullProfiler()
        return
    from torch.profiler import ProfilerActivity, profile, schedule, supported_activities

    here = set(supported_activities())  # type: ignore[no-untyped-call]
    known = {ProfilerActivity.CPU, ProfilerActivity.CUDA, ProfilerActivity.XPU} & here
    recording = profile(
        activities=known,
        schedule=schedule(wait=WAIT_STEPS, warmup=WARMUP_STEPS, active=ACTIVE_STEPS, repeat=1),
        acc_events=True,
    )
    recording.start()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            recording.stop()

    shown = StepProfiler(recording, stop)
    try:
        yield shown
    finally:
        stop()
    seen = min(shown.steps, WAIT_STEPS + WARMUP_STEPS + ACTIVE_STEPS) - WAIT_STEPS - WARMUP_STEPS
    if seen < 1:
        info(f"no profile: training ended before step {WAIT_STEPS + WARMUP_STEPS + 1}, the first profiled step")
        return
    _write(recording, run, seen)


def _write(recording: "profile", run: RunDirectory, steps: int) -> None:
    folder = run.path / FOLDER
    with translate_write_errors(folder):
        folder.mkdir(exist_ok=True)
        recording.export_chrome_trace(str(folder / TRACE))
    averages = recording.key_averages()
    short = _summary_table(list(averages), steps)
    on_device = any(event.self_device_time_total for event in averages)
    order = "self_device_time_total" if on_device else "self_cpu_time_total"
    write_text(folder / TABLE, f"{short}\n\n{averages.table(sort_by=order, row_limit=NUM_OPERATORS)}\n")
    info(f"{short}\nwrote {folder / TABLE} and {folder / TRACE}")


def _summary_table(events: list[Any], steps: int) -> str:
    """Return a table of a step's phases: host time, which launches work, and device time."""
    found = {event.key: event for event in events if event.key in LABELS}
    whole = sum(event.cpu_time_total for event in events if event.key.startswith("ProfilerStep"))
    parts = [(name, found[name].cpu_time_total, found[name].device_time_total) for name in LABELS if name in found]
    parts.append(("other", max(0.0, whole - sum(host for _, host, _ in parts)), 0.0))
    on_device = any(device for _, _, device in parts)
    lines = [f"{'part of a step':<16}{'ms':>10}{'share':>8}" + (f"{'device ms':>12}" if on_device else "")]
    for name, host, device in parts:
        share = host / whole if whole else 0.0
        line = f"{name:<16}{host / steps / 1000:>10.3f}{share:>8.1%}"
        lines.append(line + (f"{device / steps / 1000:>12.3f}" if on_device else ""))
    return "\n".join(lines)
