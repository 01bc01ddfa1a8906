"""When a checkpoint is due, what steps tell and what is kept, without any training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.artifacts.checkpoints import CheckpointManager, Snapshot
from danlu.artifacts.run import RunDirectory
from danlu.recipe.sections.training import Checkpoint
from danlu.training.early_stopping import EarlyStopper
from danlu.training.monitoring.alarms import Alarms
from danlu.training.monitoring.callbacks import Callback
from danlu.training.recorder import RankRecorder, RunRecorder


class Counter:
    """Stands in for the meter: counts samples."""

    def __init__(self) -> None:
        self.samples, self.loss, self.remark = 0, None, ""

    def advance(self, samples: int) -> None:
        self.samples += samples


class Told(Callback):
    """Notes which steps and lines it was told of."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.lines: list[dict[str, float]] = []
        self.ends = 0

    def on_step(self, step: int, loss: Tensor) -> None:
        self.steps.append(step)

    def on_log(self, record: dict[str, float]) -> None:
        self.lines.append(record)

    def on_end(self) -> None:
        self.ends += 1


class Quiet(Callback):
    """Takes no notice."""


class Failing(Callback):
    """Cannot begin."""

    def on_start(self, setting: Any) -> None:
        raise ValueError("no")


def journal_of(folder: Path, options: Checkpoint | None = None, first: int = 0, *callbacks: Callback) -> RunRecorder:
    (folder / "checkpoints").mkdir(exist_ok=True)
    run = RunDirectory(folder)
    checkpoints = CheckpointManager(run, 2)
    meter: Any = Counter()
    return RunRecorder(run, checkpoints, options or Checkpoint(), meter, Alarms(), callbacks, first)


class Machine:
    """Gives a snapshot of nothing."""

    def snapshot(self, step: int, watch: EarlyStopper, judged: dict[str, Any]) -> Snapshot:
        return Snapshot(step, {"weights": {"w": torch.zeros(1)}}, {}, watch.best_step)


WATCH = EarlyStopper("validation/loss", None, higher_is_better=False)
MACHINE: Any = Machine()


@pytest.mark.parametrize(
    ("every", "first", "expected"),
    [
        (4, 0, [4, 5, 6, 7, 8, 9]),  # due until it was kept
        (4, 3, [4, 5, 6, 7, 8, 9]),
        (4, 4, [8, 9]),
        (1, 0, list(range(1, 10))),
        (100, 0, []),
        (None, 0, []),
    ],
)
def test_a_checkpoint_is_due_once_a_multiple_was_passed(
    every: int | None, first: int, expected: list[int], tmp_path: Path
) -> None:
    journal = journal_of(tmp_path, Checkpoint(every_steps=every), first)
    assert [step for step in range(1, 10) if journal.is_checkpoint_due(step)] == expected


def test_what_was_kept_is_not_due_again(tmp_path: Path) -> None:
    journal, due = journal_of(tmp_path, Checkpoint(every_steps=4)), []
    for step in range(1, 14):
        if step == 6:  # a validation
            journal.save_checkpoint(MACHINE, step, WATCH)
        if journal.is_checkpoint_due(step):
            due.append(step)
            journal.save_checkpoint(MACHINE, step, WATCH)
    assert due == [4, 8, 12]


def test_a_checkpoint_is_due_after_so_many_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    journal = journal_of(tmp_path, Checkpoint(every_minutes=2.0))
    now = 1119.9
    assert not journal.is_checkpoint_due(5)
    now = 1120.0
    assert journal.is_checkpoint_due(5)
    journal.save_checkpoint(MACHINE, 5, WATCH)
    assert not journal.is_checkpoint_due(6)
    now = 1240.0
    assert journal.is_checkpoint_due(6)


def test_the_usual_options() -> None:
    usual = Checkpoint()
    assert (usual.every_steps, usual.every_minutes, usual.keep) == (None, 10.0, 2)


def test_steps_and_lines_reach_the_callbacks(tmp_path: Path) -> None:
    told = Told()
    journal = journal_of(tmp_path, None, 0, told, Quiet())
    for step in (1, 2):
        journal.record_step(step, 5, torch.tensor(1.0), None)
    journal.log({"step": 2, "train/loss": 0.5})
    journal.log({"step": 2, "validation/loss": 0.7})
    meter: Any = journal.meter
    assert told.steps == [1, 2] and meter.samples == 10 and meter.loss == 0.5
    assert told.lines == journal.run.metrics() == [{"step": 2, "train/loss": 0.5}, {"step": 2, "validation/loss": 0.7}]
    journal.record_step(3, 5, torch.tensor(1.0), torch.tensor(2.0))
    assert [(step, float(norm)) for step, norm in journal.alarms.pending_norms] == [(3, 2.0)]


def test_only_callbacks_that_began_are_ended(tmp_path: Path) -> None:
    first, last = Told(), Told()
    journal = journal_of(tmp_path, None, 0, first, Failing(), last)
    setting: Any = SimpleNamespace(run=journal.run, model=None, first_step=0)
    with pytest.raises(ValueError, match="no"), journal.notify_callbacks(setting):
        pass
    assert (first.ends, last.ends) == (1, 0)


def test_the_last_step_is_kept_once(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    with journal.checkpoints:
        journal.save_checkpoint(MACHINE, 3, WATCH)
        journal.finish(MACHINE, 4, WATCH)
        assert "danlu train --resume" in journal.save_checkpoint_now(MACHINE, 4, WATCH)
    assert [path.name for path in journal.run.checkpoints()] == ["step-000003", "step-000004"]


def test_another_process_writes_nothing_of_its_own(tmp_path: Path) -> None:
    journal = RankRecorder(RunDirectory(tmp_path), None)
    journal.log({"step": 1})
    journal.save_checkpoint(MACHINE, 1, WATCH)
    journal.finish(MACHINE, 1, WATCH)
    assert not journal.is_checkpoint_due(1) and list(tmp_path.iterdir()) == []
