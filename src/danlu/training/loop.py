"""The training loop, the same for every task: batches in, gradients down, the best weights out.

Every random choice is a function of (seed, epoch) or (seed, step), so step s sees the same samples and the same
dropout masks however the run came there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from danlu.artifacts.checkpoints import Checkpoints
from danlu.artifacts.run import RunDirectory
from danlu.core.console import Progress
from danlu.core.errors import DanluError
from danlu.core.seeds import Seed
from danlu.data.balance.emphasis import Emphasis
from danlu.data.feed import Batch, Feed, batch_bounds
from danlu.models.heads import Head
from danlu.recipe.sections import Training
from danlu.training.groups import parameter_groups
from danlu.training.optimizers import Optimizer
from danlu.training.schedules import Schedule
from danlu.training.stopping import stop_requests

LOGGED_STEPS = 200  # about as many lines of training loss are written, however long the run
LEAST_VALIDATIONS = 10  # a run of fewer epochs validates within them too


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    Attributes:
        steps: optimizer steps done.
        best_step: the step whose weights the model has now.
        best: the watched metric then.
        ended: why training ended, in words.
    """

    steps: int
    best_step: int
    best: float
    ended: str


@dataclass(frozen=True)
class Plan:
    """How long a run is, worked out before it starts."""

    steps: int
    steps_an_epoch: int
    validate_every: int
    log_every: int


def plan_steps(samples: int, options: Training) -> Plan:
    """The steps that a resolved `training` section means for so many training samples."""
    assert options.epochs is not None and options.batch_size is not None
    an_epoch = len(batch_bounds(samples, options.batch_size))
    steps = min(options.epochs * an_epoch, options.max_steps or options.epochs * an_epoch)
    return Plan(
        steps=steps,
        steps_an_epoch=an_epoch,
        validate_every=min(an_epoch, max(1, math.ceil(steps / LEAST_VALIDATIONS))),
        log_every=max(1, steps // LOGGED_STEPS),
    )


def train(
    model: nn.Module,
    head: Head,
    feed: Feed,
    emphasis: Emphasis,
    options: Training,
    seed: Seed,
    device: torch.device,
    validate: Callable[[nn.Module], dict[str, float]],
    higher_is_better: bool,
    run: RunDirectory,
    progress: Progress,
) -> Outcome:
    """Train a model in place and leave it with the best weights found.

    Args:
        model: on `device`.
        head: the task's loss.
        feed: the training batches.
        emphasis: what the loss makes of classes of unequal size.
        options: the resolved `training` section.
        seed: the recipe's.
        validate: gives the validation split's metrics, named `validation/…`.
        higher_is_better: whether the metric that early stopping watches is to grow.
        run: takes metrics.jsonl and the checkpoints.
        progress: is advanced by the samples of each step.

    Raises:
        DanluError: the loss is no longer a number, or a signal asked to stop.
    """
    assert isinstance(options.optimizer, Optimizer) and isinstance(options.schedule, Schedule)
    assert options.batch_size is not None and isinstance(options.optimizer.lr, float)
    plan = plan_steps(feed.length, options)
    optimizer = options.optimizer.build(parameter_groups(model, options.optimizer.weight_decay))
    checkpoints = Checkpoints(run)
    watch = _Watch(options, higher_is_better)
    step = 0
    model.train()
    with stop_requests() as stop:
        batches = feed.batches(options.batch_size, device)
        for step, batch in zip(range(1, plan.steps + 1), batches, strict=False):
            lr = options.optimizer.lr * options.schedule.factor(step - 1, plan.steps)
            loss = _step(model, head, optimizer, batch, lr, emphasis, options, seed.derive("step", step - 1))
            _require_finite(loss, step, lr)
            progress.advance(len(batch.rows), f"loss {loss:.4f}" if step % plan.log_every == 0 else watch.note)
            epoch = step / plan.steps_an_epoch
            if step % plan.log_every == 0:
                run.log({"step": step, "epoch": epoch, "train/loss": loss, "lr": lr})
            if step % plan.validate_every == 0 or step == plan.steps:
                figures = validate(model)
                better = watch.look(figures, step)
                run.log({"step": step, "epoch": epoch, **figures})
                checkpoints.write(model, step, figures, best=better)
            if stop:
                raise _stopped(checkpoints, model, step, plan)
            if watch.exhausted:
                break
    if checkpoints.best is None:
        raise DanluError(f"{watch.metric} was never defined on the validation split; watch another metric")
    checkpoints.load_best(model)
    ended = "as many as planned"
    if watch.exhausted:
        ended = f"stopped early since {watch.metric} had not improved in {watch.patience} validations"
    return Outcome(steps=step, best_step=watch.best_step, best=watch.best, ended=ended)


def _require_finite(loss: float, step: int, lr: float) -> None:
    if not math.isfinite(loss):
        raise DanluError(
            f"the training loss is {loss} at step {step}: lower training.optimizer.lr (it is {lr:.2g}) "
            "or look for extreme values in the data"
        )


def _stopped(checkpoints: Checkpoints, model: nn.Module, step: int, plan: Plan) -> DanluError:
    """Keep the weights of the step just done, and the error that says where they are."""
    path = checkpoints.write(model, step, {}, best=False)
    return DanluError(f"stopped at step {step} of {plan.steps}; its weights are in {path}, no bundle was made")


def _step(
    model: nn.Module,
    head: Head,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    lr: float,
    emphasis: Emphasis,
    options: Training,
    seed: Seed,
) -> float:
    """One optimizer step; the mean loss of its batch."""
    torch.manual_seed(seed.value)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
    optimizer.zero_grad(set_to_none=True)
    total, count = head.loss(model(**batch.inputs), batch.target, emphasis)
    mean = total / max(1, count)
    mean.backward()  # type: ignore[no-untyped-call]
    if options.clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
    optimizer.step()
    return float(mean.detach())


class _Watch:
    """Remembers the best value of one validation metric and how long ago it was."""

    def __init__(self, options: Training, higher_is_better: bool) -> None:
        stopping = options.early_stopping
        self.metric = stopping.metric if stopping else "validation/loss"
        self.patience = stopping.patience if stopping else None
        self.sign = -1.0 if higher_is_better else 1.0
        self.best, self.best_step, self.since = math.inf * self.sign, 0, 0
        self.note = ""

    def look(self, figures: dict[str, float], step: int) -> bool:
        """Whether these figures are the best so far; an undefined one never is."""
        value = figures.get(self.metric)
        better = value is not None and self.sign * value < self.sign * self.best
        if value is not None and better:
            self.best, self.best_step, self.since = value, step, 0
        else:
            self.since += 1
        self.note = f"best {self.metric} {self.best:.4f}"
        return better

    @property
    def exhausted(self) -> bool:
        return self.patience is not None and self.since >= self.patience
