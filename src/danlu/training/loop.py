"""The training loop, the same for every task and device: batches in; steps, validations and checkpoints out.

Every random choice is a function of (seed, epoch) or (seed, step), so step s sees the same samples and the same dropout
masks however the run got there. A run that starts at step s from the state of step s continues bit by bit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from danlu.core.errors import DanluError, Stopped
from danlu.core.seeds import Seed
from danlu.data.feed import Batch, Feed
from danlu.training.journal import Journal
from danlu.training.machine import Machine
from danlu.training.steps import Plan
from danlu.training.stopping import stop_requests
from danlu.training.watch import Watch

AGREED_EVERY = 16  # steps between exchanges of requests (checkpoint, stop) among processes on accelerators


@dataclass(frozen=True)
class Outcome:
    """Hold how training ended.

    Attributes:
        steps: optimizer steps done.
        best_step: step whose weights the model is to keep.
        best: monitored metric at that step; None when it was never defined.
        stop_reason: why training ended, in words.
    """

    steps: int
    best_step: int
    best: float | None
    ended: str


def train(
    machine: Machine,
    feed: Feed,
    plan: Plan,
    seed: Seed,
    watch: Watch,
    validate: Callable[[], dict[str, float]],
    journal: Journal,
    first: int = 0,
    last: int | None = None,
) -> Outcome:
    """Train a model.

    Args:
        train_state: the model and everything that changes with it, in the state of step `start_step`.
        feed: the training batches.
        plan: length of the run and intervals.
        seed: the recipe's.
        early_stopping: in the state of step `start_step`; decides which step is best and when to stop early.
        validate: returns the validation metrics of the current weights, named `validation/…`; an empty dict without a
            validation split.
        recorder: takes log records, checkpoints and a call per step.
        start_step: steps done already.
        end_step: step to end after, where that is earlier than planned.

    Raises:
        DanluError: the loss is not finite.
        Stopped: a signal asked training to stop.
    """
    step = first
    team = machine.together.team
    batches = feed.batches(machine.batch_size, machine.device, first, team)
    machine.model.train()
    with stop_requests() as stop, machine.step.precision.running():
        while step < (last or plan.ends) and not watch.exhausted:
            step += 1
            if not team.alone:
                team.is_at(f"step {step}")
            with machine.step.profiler.label("data"):
                batch = next(batches)
            lr = machine.lr(step - 1)
            loss = machine.make_step(batch, lr, seed.derive("step", step - 1), step)
            logged = step % plan.log_every == 0
            if machine.step.on_host or logged:  # elsewhere, reading the loss waits for the device
                _require_finite(loss, batch, step, lr, machine)
            journal.stepped(step, batch.samples, loss, machine.step.norm)
            machine.step.profiler.step()
            epoch = step / plan.steps_an_epoch
            if logged:
                journal.log({"step": step, "epoch": epoch, "train/loss": float(loss), "lr": lr})
            if step % plan.validate_every == 0 or step == plan.ends:
                team.is_at(f"the validation after step {step}")
                _validate(machine, watch, validate, journal, {"step": step, "epoch": epoch}, lr)
            due, stopping = _agreed(journal.is_due(step), bool(stop), step, machine)
            if due or stopping:
                machine.agree()
            if due:
                journal.keep(machine, step, watch)
            if stopping:
                raise Stopped(f"stopped at step {step} of {plan.ends}, {journal.keep_now(machine, step, watch)}")
    ended = "as planned"
    if watch.exhausted:
        ended = f"stopped early: {watch.metric} had not improved in {watch.patience} validations"
    return Outcome(steps=step, best_step=watch.best_step, best=watch.best, ended=ended)


def _validate(
    machine: Machine,
    watch: Watch,
    validate: Callable[[], dict[str, float]],
    journal: Journal,
    record: dict[str, float],
    lr: float,
) -> None:
    """Evaluate the weights, log the metrics and save a checkpoint.

    Without a validation split it only saves.
    """
    step = int(record["step"])
    with journal.validating(), machine.judged_weights():
        figures = validate()
        _require_finite_loss(figures, step, lr)
        better = watch.look(figures, step)
        judged = machine.judged_copy() if better else {}
    if figures:
        machine.observe(figures)
        journal.log({**record, **figures})
        journal.validated(watch)
    journal.keep(machine, step, watch, judged)


def _agreed(due: bool, stop: bool, step: int, machine: Machine) -> tuple[bool, bool]:
    """Combine the processes' requests to save or stop, so all act after the same step.

    On accelerators they are exchanged every few steps only, so that the device is not kept waiting.
    """
    team = machine.together.team
    if team.alone:
        return due, stop
    if not machine.step.on_host and step % AGREED_EVERY:
        return False, False
    wanted = team.most(due, stop)
    return bool(wanted[0]), bool(wanted[1])


def _require_finite_loss(figures: dict[str, float], step: int, lr: float) -> None:
    loss = figures.get("validation/loss", 0.0)
    if not math.isfinite(loss):
        raise DanluError(
            f"the validation loss is {loss} after step {step}: lower training.optimizer.lr (it "
            f"is {lr:.2g}), or look for extreme values in the data"
        )


def _require_finite(loss: Tensor, batch: Batch, step: int, lr: float, machine: Machine) -> None:
    if math.isfinite(float(loss)):
        return
    raise DanluError(
        f"the training loss is {float(loss)} at step {step}: {machine.where_not_finite(batch)}. Lower "
        f"training.optimizer.lr (it is {lr:.2g}), or look for extreme values in the data"
    )
