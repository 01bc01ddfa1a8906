"""The training loop, the same for every task and device: batches in; steps, validations and checkpoints out.

Every random choice is a function of (seed, epoch) or (seed, step), so step s sees the same samples and the same dropout
masks however the run got there. A run that starts at step s from the state of step s continues bit by bit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from danlu.core.seeds import Seed
from danlu.data.loader import Batch, TrainLoader, batch_bounds
from danlu.errors import DanluError, Stopped
from danlu.recipe.durations import Pace
from danlu.recipe.sections.training import Training
from danlu.training.early_stopping import EarlyStopper
from danlu.training.recorder import Recorder
from danlu.training.stop_signals import catch_stop_signals
from danlu.training.train_state import TrainState

NUM_LOGGED_STEPS = 200  # about as many lines of training loss are written, however long the run
MIN_VALIDATIONS = 10  # a run of fewer epochs validates within them too
SYNC_EVERY = 16  # steps between exchanges of requests (checkpoint, stop) among processes on accelerators


@dataclass(frozen=True)
class TrainPlan:
    """Hold the length of a run and its validation and logging intervals, in optimizer steps.

    Attributes:
        steps: length that the schedule is stretched over.
        end_step: last step; earlier than `steps` where training is to end after a known number of epochs.
    """

    steps: int
    end_step: int
    steps_per_epoch: int
    validate_every: int
    log_every: int


def plan_steps(
    samples: int, options: Training, until_epoch: float | None = None, tokens_per_sample: int = 1
) -> TrainPlan:
    """Turn a resolved `training` section into steps for a number of training samples.

    Args:
        until_epoch: epochs to end after, at most those of the schedule.
        tokens_per_sample: of a language model's blocks; else 1.

    Raises:
        RecipeError: `max_steps` counts tokens, and samples have no fixed number of these.
    """
    assert options.epochs is not None and isinstance(options.batch_size, int)
    an_epoch = len(batch_bounds(samples, options.batch_size))
    most = options.max_steps
    if isinstance(most, str):
        most = Pace(an_epoch, options.batch_size, tokens_per_sample).steps_of(most, "training.max_steps")
    steps = min(options.epochs * an_epoch, most or options.epochs * an_epoch)
    return TrainPlan(
        steps=steps,
        end_step=steps if until_epoch is None else min(steps, max(1, round(until_epoch * an_epoch))),
        steps_per_epoch=an_epoch,
        validate_every=min(an_epoch, max(1, math.ceil(steps / MIN_VALIDATIONS))),
        log_every=max(1, steps // NUM_LOGGED_STEPS),
    )


@dataclass(frozen=True)
class TrainResult:
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
    stop_reason: str


def train(
    train_state: TrainState,
    *,
    loader: TrainLoader,
    plan: TrainPlan,
    seed: Seed,
    early_stopping: EarlyStopper,
    validate: Callable[[], dict[str, float]],
    recorder: Recorder,
    start_step: int = 0,
    end_step: int | None = None,
) -> TrainResult:
    """Train a model.

    Args:
        train_state: the model and everything that changes with it, in the state of step `start_step`.
        loader: the training batches.
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
    step = start_step
    team = train_state.parallel.groups
    loader.log_dropped_row(train_state.batch_size)
    batches = loader.batches(train_state.batch_size, train_state.device, start_step, team)
    train_state.model.train()
    with catch_stop_signals() as stop, train_state.step.precision.matmul_precision():
        while step < (end_step or plan.end_step) and not early_stopping.should_stop:
            step += 1
            if not team.is_single_process:
                team.set_status(f"step {step}")
            with train_state.step.profiler.label("data"):
                batch = next(batches)
            lr = train_state.lr(step - 1)
            loss = train_state.make_step(batch, lr, seed.derive("step", step - 1), step)
            logged = step % plan.log_every == 0
            if train_state.step.on_host or logged:  # elsewhere, reading the loss waits for the device
                _check_loss_finite(loss, batch, step, lr, train_state)
            recorder.record_step(step, batch.samples, loss, train_state.step.grad_norm)
            train_state.step.profiler.step()
            epoch = step / plan.steps_per_epoch
            if logged:
                recorder.log({"step": step, "epoch": epoch, "train/loss": float(loss), "lr": lr})
            if step % plan.validate_every == 0 or step == plan.end_step:
                team.set_status(f"the validation after step {step}")
                _validate(train_state, early_stopping, validate, recorder, {"step": step, "epoch": epoch}, lr)
            due, stopping = _sync_requests(recorder.is_checkpoint_due(step), bool(stop), step, train_state)
            if due or stopping:
                _save(train_state, early_stopping, recorder, step, plan.end_step, due, stopping)
    return TrainResult(step, early_stopping.best_step, early_stopping.best, _stop_reason(early_stopping))


def _save(
    train_state: TrainState,
    early_stopping: EarlyStopper,
    recorder: Recorder,
    step: int,
    end_step: int,
    due: bool,
    stopping: bool,
) -> None:
    """Save the checkpoint that is due between validations, or the last one before a stop.

    Raises:
        Stopped: a signal asked training to stop.
    """
    train_state.sync_replicas()
    if due:
        recorder.save_checkpoint(train_state, step, early_stopping)
    if stopping:
        saved = recorder.save_checkpoint_now(train_state, step, early_stopping)
        raise Stopped(f"stopped at step {step} of {end_step}, {saved}", code="DL510")


def _stop_reason(early_stopping: EarlyStopper) -> str:
    if not early_stopping.should_stop:
        return "as planned"
    return f"stopped early: {early_stopping.stop_reason} in {early_stopping.patience} validations"


def _validate(
    train_state: TrainState,
    early_stopping: EarlyStopper,
    validate: Callable[[], dict[str, float]],
    recorder: Recorder,
    record: dict[str, float],
    lr: float,
) -> None:
    """Evaluate the weights, log the metrics and save a checkpoint.

    Without a validation split it only saves.
    """
    step = int(record["step"])
    with recorder.validating(), train_state.eval_weights():
        figures = validate()
        _check_validation_finite(figures, step, lr)
        better = early_stopping.update(figures, step)
        judged = train_state.eval_weights_copy() if better else {}
    if figures:
        train_state.update_plateau(figures)
        recorder.log({**record, **figures})
        recorder.record_validation(early_stopping)
    recorder.save_checkpoint(train_state, step, early_stopping, judged)


def _sync_requests(checkpoint_due: bool, stop: bool, step: int, train_state: TrainState) -> tuple[bool, bool]:
    """Combine the processes' requests to save or stop, so all act after the same step.

    On accelerators they are exchanged every few steps only, so that the device is not kept waiting.
    """
    team = train_state.parallel.groups
    if team.is_single_process:
        return checkpoint_due, stop
    if not train_state.step.on_host and step % SYNC_EVERY:
        return False, False
    wanted = team.all_reduce_max(checkpoint_due, stop)
    return bool(wanted[0]), bool(wanted[1])


def _check_validation_finite(figures: dict[str, float], step: int, lr: float) -> None:
    loss = figures.get("validation/loss", 0.0)
    if not math.isfinite(loss):
        raise DanluError(
            f"the validation loss is {loss} after step {step}: lower training.optimizer.lr (it "
            f"is {lr:.2g}), or look for extreme values in the data",
            code="DL504",
        )


def _check_loss_finite(loss: Tensor, batch: Batch, step: int, lr: float, train_state: TrainState) -> None:
    if math.isfinite(float(loss)):
        return
    raise DanluError(
        f"the training loss is {float(loss)} at step {step}: {train_state.locate_nonfinite(batch)}. Lower "
        f"training.optimizer.lr (it is {lr:.2g}), or look for extreme values in the data",
        code="DL504",
    )
