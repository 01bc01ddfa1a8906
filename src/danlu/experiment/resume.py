"""Reopen an interrupted run: its data, its newest valid checkpoint, and a recorder that verifies its last steps."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.checkpoints import Checkpoint, valid_checkpoints
from danlu.artifacts.environment import installed_versions
from danlu.artifacts.files import StrPath
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import ENVIRONMENT, RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.core.console import info, progress
from danlu.errors import ArgumentError, ArtifactError
from danlu.experiment.data_context import DataContext
from danlu.experiment.run_data import load_run_data
from danlu.experiment.setup import TrainingSetup, create_train_state
from danlu.experiment.validation import make_validation_fn

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class InterruptedRun:
    """Hold an unfinished run and its data, split as before."""

    run: RunDirectory
    context: DataContext


def open_interrupted_run(path: StrPath) -> InterruptedRun:
    """Open an interrupted run.

    Raises:
        ArgumentError: it is not a run, or it is finished.
        DataError: the data has changed since.
    """
    run = RunDirectory.open(path)
    if (run.model / MANIFEST).is_file():
        raise ArgumentError(f"{run.path}: training is finished; `danlu evaluate {run.path}` evaluates it", code="DL406")
    context = load_run_data(load_run_recipe(run.path / RECIPE), run)
    return InterruptedRun(run, context)


def recorded_threads(run: RunDirectory) -> int:
    """Return the number of torch threads a run used.

    It affects the last bits of every sum.
    """
    return int(run.environment()["threads"])


def warn_of_environment_changes(run: RunDirectory, setup: TrainingSetup) -> None:
    """Warn about versions and devices that changed since and may change the last bits."""
    known, device = run.environment(), str(setup.accelerator.torch_device)
    now = installed_versions()
    changed = [f"{name} {old} -> {now.get(name)}" for name, old in known["versions"].items() if now.get(name) != old]
    if known["device"] != device:
        changed.append(f"device {known['device']} -> {device}")
    if changed:
        info(f"{run.path}: the resumed run may differ in the last bits: {', '.join(changed)}")


def newest_valid_checkpoint(run: RunDirectory) -> Checkpoint | None:
    """Return the newest valid checkpoint; log the damaged ones."""
    for found in valid_checkpoints(run):
        if isinstance(found, Checkpoint):
            return found
        info(f"{found}; using the checkpoint before it")
    info(f"{run.path}: no valid checkpoint; starting at the first step")
    return None


def verify_steps(setup: TrainingSetup, run: RunDirectory, newest: Checkpoint | None, steps: int) -> None:
    """Replay the last steps from an older checkpoint; compare weights, state and log.

    Args:
        steps: minimum number of steps to recorder.

    Raises:
        ArgumentError: no checkpoint is that much older.
        ArtifactError: the recorder differs.
    """
    from danlu.training.loop import train
    from danlu.training.recorder import ReplayRecorder

    sound = [found for found in valid_checkpoints(run) if isinstance(found, Checkpoint)]
    older = [found for found in sound if newest is not None and found.step <= newest.step - steps]
    if newest is None or not older:
        furthest = newest.step - sound[-1].step if newest and sound else 0
        raise ArgumentError(
            f"--verify {steps}: the checkpoints of {run.path} reach back {furthest} steps; use at most that many"
            + ("" if furthest else ", or resume without --verify"),
            code="DL406",
        )
    # A copy, since a training state changes its model for good, as with hooks that step in the backward pass.
    setup = replace(setup, model=copy.deepcopy(setup.model))
    state, stopper = create_train_state(setup), setup.new_early_stopping()
    state.load_checkpoint(older[0], stopper)
    count = newest.step - older[0].step
    with progress("verifying", count * state.batch_size, "samples") as bar:
        recorder = ReplayRecorder(bar)
        train(
            state,
            loader=setup.balanced.loader,
            plan=setup.plan,
            seed=setup.seed,
            early_stopping=stopper,
            validate=make_validation_fn(setup, state),
            recorder=recorder,
            start_step=older[0].step,
            end_step=newest.step,
        )
    logged = [line for line in run.metrics() if older[0].step < line["step"] <= newest.step]
    found = state.snapshot(newest.step, stopper, {})
    deviations = {
        f"{name}: {key}": deviation
        for name, tensors in found.tensors.items()
        for key, deviation in _deviations(tensors, dict(newest.tensors(name))).items()
    }
    worst = max(deviations, key=deviations.__getitem__, default="")
    if worst and deviations[worst] > 0:
        raise ArtifactError(
            f"{run.path}: steps {older[0].step + 1} to {newest.step} are not reproduced: {worst} differs by "
            f"{deviations[worst]:.2g}; compare library versions and threads with those in {ENVIRONMENT}",
            code="DL312",
        )
    if recorder.records != logged:
        raise ArtifactError(
            f"{run.path}: steps {older[0].step + 1} to {newest.step} log other values than before", code="DL312"
        )
    info(f"verified: steps {older[0].step + 1} to {newest.step} are reproduced bit for bit")


def _deviations(found: "Mapping[str, Tensor]", kept: "Mapping[str, Tensor]") -> dict[str, float]:
    """Return the largest difference of each tensor that differs.

    Infinite if it is missing on one side.
    """
    import torch

    off: dict[str, float] = {}
    for name in found.keys() | kept.keys():
        if name not in found or name not in kept:
            off[name] = float("inf")
        elif not torch.equal(found[name], kept[name]):
            off[name] = float((found[name].double() - kept[name].double()).abs().max())
    return off
