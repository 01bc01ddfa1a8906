"""Finding the way back into a run that was stopped or killed: its data, its newest sound checkpoint, its last steps."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.checkpoints import Checkpoint, sound_checkpoints
from danlu.artifacts.environment import versions
from danlu.artifacts.files import read_json
from danlu.artifacts.run import ENVIRONMENT, RECIPE, RunDirectory
from danlu.core.console import progress, say
from danlu.core.errors import ArgumentError, ArtifactError
from danlu.recipe.load import load_recipe
from danlu.verbs.fitting import Fitting, build_machine, validator
from danlu.verbs.prepare import Opened, reopen

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Stopped:
    """A run that is not finished, with its data as it was."""

    run: RunDirectory
    opened: Opened


def open_stopped(path: str | Path) -> Stopped:
    """Open a run that was stopped.

    Raises:
        ArgumentError: it is no run, or it is finished.
        DataError: the data has changed since.
    """
    run = RunDirectory.open(path)
    if (run.model / MANIFEST).is_file():
        raise ArgumentError(f"{run.path}: is trained to its end; `danlu evaluate {run.path}` judges it")
    opened = reopen(load_recipe(run.path / RECIPE), run)
    return Stopped(run, opened)


def threads_of(run: RunDirectory) -> int:
    """The threads that torch's operators had in a run: they decide the last bits of every sum."""
    return int(read_json(run.path / ENVIRONMENT)["threads"])


def say_what_differs(run: RunDirectory, fitting: Fitting) -> None:
    """Say what else decides the last bits and is no longer what it was."""
    known, device = read_json(run.path / ENVIRONMENT), str(fitting.accelerator.torch_device)
    now = versions()
    changed = [f"{name} {old} -> {now.get(name)}" for name, old in known["versions"].items() if now.get(name) != old]
    if known["device"] != device:
        changed.append(f"device {known['device']} -> {device}")
    if changed:
        say(f"{run.path}: the run may not go on to the same bits: {', '.join(changed)}")


def newest_sound(run: RunDirectory) -> Checkpoint | None:
    """The newest checkpoint that is as it was written; says which ones are not."""
    for found in sound_checkpoints(run):
        if isinstance(found, Checkpoint):
            return found
        say(f"{found}; taking the checkpoint before it")
    say(f"{run.path}: no sound checkpoint; beginning at the first step")
    return None


def verify_steps(fitting: Fitting, run: RunDirectory, newest: Checkpoint | None, steps: int) -> None:
    """Repeat the last steps before a checkpoint from an older one, and compare weights, state and log.

    Args:
        steps: at least so many.

    Raises:
        ArgumentError: no checkpoint is that much older.
        ArtifactError: the steps do not come out as they did.
    """
    from danlu.training.loop import train
    from danlu.training.replay import Replay

    sound = [found for found in sound_checkpoints(run) if isinstance(found, Checkpoint)]
    older = [found for found in sound if newest is not None and found.step <= newest.step - steps]
    if newest is None or not older:
        furthest = newest.step - sound[-1].step if newest and sound else 0
        raise ArgumentError(
            f"--verify {steps}: the checkpoints of {run.path} reach back {furthest} steps; ask for no more than that"
            + ("" if furthest else ", or go on without --verify")
        )
    # A model of its own: what a machine does to a model, such as stepping in the backward pass, stays with it.
    fitting = replace(fitting, model=copy.deepcopy(fitting.model))
    machine, watch = build_machine(fitting), fitting.watch()
    machine.load(older[0], watch)
    count = newest.step - older[0].step
    with progress("verifying", count * machine.batch_size, "samples") as bar:
        replay, validate = Replay(bar), validator(fitting, machine)
        feed, plan = fitting.balanced.feed, fitting.plan
        train(machine, feed, plan, fitting.seed, watch, validate, replay, older[0].step, newest.step)
    logged = [line for line in run.metrics() if older[0].step < line["step"] <= newest.step]
    found = machine.snapshot(newest.step, watch, {})
    deviations = {
        f"{name}: {key}": deviation
        for name, tensors in found.tensors.items()
        for key, deviation in _deviations(tensors, dict(newest.tensors(name))).items()
    }
    worst = max(deviations, key=deviations.__getitem__, default="")
    if worst and deviations[worst] > 0:
        raise ArtifactError(
            f"{run.path}: steps {older[0].step + 1} to {newest.step} do not come out as they did: {worst} is off by "
            f"{deviations[worst]:.2g}; compare library versions and threads with those in {ENVIRONMENT}"
        )
    if replay.lines != logged:
        raise ArtifactError(f"{run.path}: steps {older[0].step + 1} to {newest.step} log other figures than they did")
    say(f"verified: steps {older[0].step + 1} to {newest.step} come out bit by bit as they did")


def _deviations(found: "Mapping[str, Tensor]", kept: "Mapping[str, Tensor]") -> dict[str, float]:
    """The largest difference of each tensor that is not bit by bit the same; infinite where one is missing."""
    import torch

    off: dict[str, float] = {}
    for name in found.keys() | kept.keys():
        if name not in found or name not in kept:
            off[name] = float("inf")
        elif not torch.equal(found[name], kept[name]):
            off[name] = float((found[name].double() - kept[name].double()).abs().max())
    return off
