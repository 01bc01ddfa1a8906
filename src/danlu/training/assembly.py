"""Build the train state from a model and a recipe's `training` section: every option finds its place here.

Options that change the model itself (precision, recomputation) come first, then its optimizer, then its callers.

What changes the model itself (precision, recomputation) comes first, then its optimizer, then what calls it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from danlu.core.console import say
from danlu.core.devices import Accelerator
from danlu.core.dotted import load_dotted
from danlu.core.pieces import is_split
from danlu.data.balance.emphasis import Emphasis
from danlu.models.heads import Head, Loss
from danlu.models.transformers import project_late
from danlu.recipe.sections import Finetune, Training
from danlu.training.averaging import Average
from danlu.training.clipping import clip_by_value
from danlu.training.compiling import compiled
from danlu.training.distilling import TEMPERATURE, counted, distilled
from danlu.training.frozen import thawing
from danlu.training.groups import parameter_groups
from danlu.training.hints import hinted
from danlu.training.in_backward import InBackward
from danlu.training.machine import Machine
from danlu.training.micro import least_rows
from danlu.training.offload import ActivationOffload
from danlu.training.optimizers import Optimizer
from danlu.training.parallel.group import LONE, Together
from danlu.training.parallel.local import Meetings
from danlu.training.parallel.spread import spread
from danlu.training.penalties import Penalties
from danlu.training.precision import Precision, choose_precision
from danlu.training.recompute import recompute
from danlu.training.scaling import scaled_lr
from danlu.training.schedules import Schedule
from danlu.training.shadow import ShadowOptimizer
from danlu.training.slots import Keep
from danlu.training.step import Step


@dataclass(frozen=True)
class Task:
    """Hold the task-specific parts of training.

    Attributes:
        head: the task's loss and predictions from logits.
        name: as a recipe has it.
        loss_weighting: how the loss weights classes of unequal size.
        monitored_metric: the validation metric that decides, as `validation/loss`.
        higher_is_better: whether a larger value of it is better.
        finetune: how pretrained weights are adapted.
        tokens_per_sample: tokens per sample of a language model; else 1.
        steps: optimizer steps in all.
        steps_per_epoch: optimizer steps per epoch.
    """

    head: Head
    name: str
    emphasis: Emphasis
    watched: str
    higher_is_better: bool
    finetune: Finetune
    tokens_a_sample: int
    steps: int
    steps_an_epoch: int


def assemble(
    model: nn.Module, task: Task, options: Training, accelerator: Accelerator, together: Together = LONE
) -> Machine:
    """Build the train state of a model.

    Args:
        model: on the device, or on the host where several processes split it; changed as precision and memory options
            ask.
        task: its task-specific parts.
        options: the resolved `training` section, without any `auto` left to be tried.
        accelerator: the device.
        parallel: the processes that train.

    Raises:
        ArgumentError: the device lacks the precision, or the user's own loss cannot be loaded.
    """
    optimizer, schedule = options.optimizer, options.schedule
    assert isinstance(optimizer, Optimizer) and isinstance(schedule, Schedule)
    assert isinstance(options.batch_size, int) and isinstance(optimizer.lr, float)
    device = accelerator.torch_device
    precision = Precision(choose_precision(options.precision, device), device)
    part = -(-options.batch_size // options.accumulate)
    loss = _loss(options, task)
    chunk = "none" if options.distill is not None else options.memory.loss_chunk  # a teacher gives whole logits
    project_late(model, chunk, part * task.tokens_a_sample)  # looks at it in full precision
    own = spread(
        model, together, options, precision, task.head, loss, task.emphasis, partial(_prepare, options, precision)
    )
    stepping = _stepping(own.model, optimizer, options, precision, task.finetune.layer_decay)
    average, local = options.average, None if together.team.alone else together.options.local
    assert average is None or isinstance(average, Average)
    # Every unfreezing is another model to compile, and torch gives up after some; then the steps' last bits change.
    may_compile = options.compile if task.finetune.mode != "gradual" else False
    step = Step(
        model=own.model,
        forward=own.called if own.pipeline else compiled(own.called, may_compile, device),
        loss=loss,
        count=task.head.count if options.distill is None else counted(task.head.count, task.name),
        emphasis=task.emphasis,
        optimizer=stepping.optimizer,
        accelerator=accelerator,
        precision=precision,
        offload=ActivationOffload(own.model) if options.memory.offload_activations else None,
        before_step=stepping.before,
        after_step=stepping.after,
        clip_norm=options.clip_norm,
        clip_value=options.clip_value,
        parts=options.accumulate,
        least_rows=least_rows(own.model),
        together=together,
        spread=own,
    )
    return Machine(
        step=step,
        batch_size=options.batch_size,
        base_lr=scaled_lr(optimizer.lr, options.batch_size, options.lr_scaling),
        schedule=schedule,
        steps=task.steps,
        plateau=schedule.watcher(task.higher_is_better),
        average=None if average is None else average.begin(own.model),
        watched=task.watched,
        tokens_a_sample=task.tokens_a_sample,
        together=together,
        meetings=None if local is None else Meetings(own.model, stepping.optimizer, local, together.team),
        thawing=thawing(own.model, task.finetune, task.steps_an_epoch),
    )


def _prepare(options: Training, precision: Precision, model: nn.Module) -> None:
    """Apply precision and memory options to a model or to one stage of it."""
    precision.prepare(model)
    if recompute(model, options.memory.checkpointing) == 0 and options.memory.checkpointing != "none":
        say("training.memory.checkpointing: the model repeats no blocks, so nothing is recomputed")


@dataclass(frozen=True)
class Stepping:
    """Hold an optimizer, with hooks that run right before and after its step."""

    optimizer: torch.optim.Optimizer
    before: Callable[[], None] | None
    after: Callable[[], None] | None


def _stepping(
    model: nn.Module, optimizer: Optimizer, options: Training, precision: Precision, layer_decay: float
) -> Stepping:
    """Build the optimizer, stepping the weights where and when the recipe says."""
    groups = parameter_groups(model, optimizer.weight_decay, layer_decay)
    penalties = Penalties(model, options.l1, options.l2, options.max_norm)
    penalized, bounded = bool(options.l1 or options.l2), options.max_norm is not None
    keep: Keep | None = None
    if precision.low_weights:
        keep = "master" if precision.name == "bf16-master" else "stochastic"
    bound = penalties.bound_stepped if bounded else None
    if options.memory.optimizer_in_backward:
        before = partial(_before_each, penalties, options.clip_value)
        return Stepping(InBackward(groups, optimizer.build, keep, before, bound), None, None)
    add = penalties.add_gradients if penalized else None
    if options.memory.offload_optimizer:
        keep = "host"
    if any(is_split(weight) for weight in model.parameters()):
        keep = "held"
    if keep is not None:
        return Stepping(ShadowOptimizer(groups, optimizer.build, keep, bound), add, None)
    return Stepping(optimizer.build(groups), add, penalties.bound_weights if bounded else None)


def _before_each(penalties: Penalties, clip_value: float | None, weight: nn.Parameter) -> None:
    """Penalise and clip the gradient of a weight that is stepped by itself."""
    if penalties.l1 or penalties.l2:
        penalties.add_gradient(weight)
    if clip_value is not None:
        clip_by_value([weight], clip_value)


def _loss(options: Training, task: Task) -> Loss:
    """Return the task's loss, the loss with a teacher's outputs added, or the user's own."""
    head = task.head
    if options.distill is not None:
        temperature, weight = options.distill.temperature or TEMPERATURE, options.distill.weight
        taught, hidden = head.each(distilled(head.loss, task.name, temperature, weight)), options.distill.hidden
        return taught if hidden is None else hinted(taught, hidden.distance, hidden.weight)
    if options.loss is None:
        return head.loss
    own: Callable[[Tensor, Tensor], Tensor] = load_dotted(options.loss, "training.loss")

    def loss(logits: Tensor, target: Tensor, emphasis: Emphasis) -> tuple[Tensor, int]:
        """Sum the user's loss, which gives one value per sample or their mean."""
        count = head.count(target)
        found = own(logits, target)
        return (found * count if found.ndim == 0 else found.sum()), count

    return head.each(loss)
