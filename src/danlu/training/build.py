"""Build the train state from a model and a recipe's `training` section: every option finds its place here.

Options that change the model itself (precision, recomputation) come first, then its optimizer, then its callers.

What changes the model itself (precision, recomputation) comes first, then its optimizer, then what calls it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from danlu.core.console import info
from danlu.core.devices import Accelerator
from danlu.core.distributed.shards import is_dtensor
from danlu.core.imports import load_dotted
from danlu.core.seeds import Seed
from danlu.models.text.hf_wrapper import enable_chunked_loss
from danlu.recipe.durations import Pace, in_steps
from danlu.recipe.sections.training import Finetune, Training
from danlu.tasks.base import Head, Loss, Task
from danlu.tasks.loss_weighting import LossWeighting
from danlu.training.averaging import WeightAverage
from danlu.training.compiling import maybe_compile
from danlu.training.composite_optimizer import OptimizerInBackward, ParamStorageOptimizer
from danlu.training.distillation import (
    DEFAULT_TEMPERATURE,
    distillation_loss,
    distillation_num_targets,
    feature_distillation_loss,
)
from danlu.training.distributed.diloco import DiLoCo
from danlu.training.distributed.parallel_context import SINGLE_PROCESS_CONTEXT, ParallelContext
from danlu.training.distributed.parallelize import parallelize_model
from danlu.training.finetuning import make_unfreezing
from danlu.training.memory.activation_checkpointing import apply_activation_checkpointing
from danlu.training.memory.microbatch import min_microbatch_rows
from danlu.training.memory.offload import ActivationOffload
from danlu.training.optimizers import Optimizer
from danlu.training.param_groups import parameter_groups
from danlu.training.param_storage import StorageKind
from danlu.training.precision import Precision, choose_precision
from danlu.training.regularization import WeightRegularizer, clip_grad_value
from danlu.training.rounded_weights import WeightRounding
from danlu.training.schedules import Schedule, scaled_lr
from danlu.training.sparsity import Sparsifier
from danlu.training.step import TrainStep
from danlu.training.train_state import TrainState


@dataclass(frozen=True)
class TrainTask:
    """Hold the task-specific parts of training.

    Attributes:
        head: the task's loss and predictions from logits.
        task: what is predicted.
        loss_weighting: how the loss weights classes of unequal size.
        monitored_metric: the validation metric that decides, as `validation/loss`.
        higher_is_better: whether a larger value of it is better.
        finetune: how pretrained weights are adapted.
        tokens_per_sample: tokens per sample of a language model; else 1.
        steps: optimizer steps in all.
        steps_per_epoch: optimizer steps per epoch.
        seed: the recipe's.
    """

    head: Head
    task: Task
    loss_weighting: LossWeighting
    monitored_metric: str
    higher_is_better: bool
    finetune: Finetune
    tokens_per_sample: int
    steps: int
    steps_per_epoch: int
    seed: Seed


def build_train_state(
    model: nn.Module,
    task: TrainTask,
    options: Training,
    accelerator: Accelerator,
    parallel: ParallelContext = SINGLE_PROCESS_CONTEXT,
) -> TrainState:
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
    optimizer, schedule = Optimizer.of(options.optimizer), Schedule.of(options.schedule)
    assert isinstance(options.batch_size, int) and isinstance(optimizer.lr, float)
    device = accelerator.torch_device
    precision = Precision(choose_precision(options.precision, device), device)
    part = -(-options.batch_size // options.accumulate)
    loss = _build_loss(options, task)
    chunk = "none" if options.distill is not None else options.memory.loss_chunk  # a teacher gives whole logits
    enable_chunked_loss(model, chunk, part * task.tokens_per_sample)  # looks at it in full precision
    own = parallelize_model(
        model,
        parallel,
        options,
        precision,
        task.head,
        loss,
        task.loss_weighting,
        partial(_prepare_model, options, precision),
    )
    base_lr = scaled_lr(optimizer.lr, options.batch_size, options.lr_scaling)
    hooks = _build_optimizer(own.model, optimizer, base_lr, options, precision, task.finetune.layer_decay)
    average, local = options.average, None if parallel.groups.is_single_process else parallel.options.local
    if local is not None:
        pace = Pace(task.steps_per_epoch, options.batch_size, task.tokens_per_sample, task.steps)
        local = in_steps(local, pace, "training.parallel.local")
    assert average is None or isinstance(average, WeightAverage)
    # Every unfreezing is another model to compile, and torch gives up after some; then the steps' last bits change.
    may_compile = options.compile if task.finetune.mode != "gradual" else False
    step = TrainStep(
        model=own.model,
        forward=own.training_model if own.pipeline else maybe_compile(own.training_model, may_compile, device),
        loss=loss,
        num_targets=task.head.num_targets
        if options.distill is None
        else distillation_num_targets(task.head.num_targets, task.task),
        loss_weighting=task.loss_weighting,
        optimizer=hooks.optimizer,
        accelerator=accelerator,
        precision=precision,
        offload=ActivationOffload(own.model) if options.memory.offload_activations else None,
        before_step=hooks.before_step,
        after_step=hooks.after_step,
        clip_norm=options.clip_norm,
        clip_value=options.clip_value,
        num_microbatches=options.accumulate,
        min_microbatch_rows=min_microbatch_rows(own.model),
        parallel=parallel,
        parallel_model=own,
        rounding=None if options.rounding is None else WeightRounding(own.model, options.rounding),
    )
    return TrainState(
        step=step,
        batch_size=options.batch_size,
        base_lr=base_lr,
        schedule=schedule,
        steps=task.steps,
        plateau=schedule.plateau_reducer(task.higher_is_better),
        average=None if average is None else average.build(own.model),
        monitored_metric=task.monitored_metric,
        tokens_per_sample=task.tokens_per_sample,
        parallel=parallel,
        diloco=None if local is None else DiLoCo(own.model, hooks.optimizer, local, parallel.groups),
        unfreezing=make_unfreezing(own.model, task.finetune, task.steps_per_epoch),
        sparsifier=None
        if options.sparsity is None
        else Sparsifier(own.model, options.sparsity, task.steps, task.seed.derive("training")),
    )


def _prepare_model(options: Training, precision: Precision, model: nn.Module) -> None:
    """Apply precision and memory options to a model or to one stage of it."""
    precision.prepare(model)
    mode = options.memory.checkpointing
    if apply_activation_checkpointing(model, mode) == 0 and mode != "none":
        info("training.memory.checkpointing: the model repeats no blocks, so nothing is recomputed")


@dataclass(frozen=True)
class OptimizerHooks:
    """Hold an optimizer, with hooks that run right before and after its step."""

    optimizer: torch.optim.Optimizer
    before_step: Callable[[], None] | None
    after_step: Callable[[], None] | None


def _build_optimizer(
    model: nn.Module, optimizer: Optimizer, lr: float, options: Training, precision: Precision, layer_decay: float
) -> OptimizerHooks:
    """Build the optimizer, stepping the weights where and when the recipe says."""
    groups = parameter_groups(model, optimizer.weight_decay, layer_decay)
    build = partial(optimizer.build, lr=lr)
    regularizer = WeightRegularizer(model, options.l1, options.l2, options.max_norm)
    penalized, bounded = bool(options.l1 or options.l2), options.max_norm is not None
    kind: StorageKind | None = None
    if precision.bf16_weights:
        kind = "master" if precision.name == "bf16-master" else "stochastic"
    bound = regularizer.apply_max_norm_to if bounded else None
    if options.memory.optimizer_in_backward:
        before = partial(_before_param_step, regularizer, options.clip_value)
        return OptimizerHooks(OptimizerInBackward(groups, build, kind, before, bound), None, None)
    add = regularizer.add_penalty_grads if penalized else None
    if options.memory.offload_optimizer:
        kind = "host"
    if any(is_dtensor(weight) for weight in model.parameters()):
        kind = "held"
    if kind is not None:
        return OptimizerHooks(ParamStorageOptimizer(groups, build, kind, bound), add, None)
    return OptimizerHooks(build(groups), add, regularizer.apply_max_norm if bounded else None)


def _before_param_step(regularizer: WeightRegularizer, clip_value: float | None, weight: nn.Parameter) -> None:
    """Penalise and clip the gradient of a weight that is stepped by itself."""
    if regularizer.l1 or regularizer.l2:
        regularizer.add_penalty_grad(weight)
    if clip_value is not None:
        clip_grad_value([weight], clip_value)


def _build_loss(options: Training, task: TrainTask) -> Loss:
    """Return the task's loss, the loss with a teacher's outputs added, or the user's own."""
    head = task.head
    if options.distill is not None:
        temperature, weight = options.distill.temperature or DEFAULT_TEMPERATURE, options.distill.weight
        distilled = head.adapt_loss(distillation_loss(head.loss, task.task, temperature, weight))
        hidden = options.distill.hidden
        return distilled if hidden is None else feature_distillation_loss(distilled, hidden.distance, hidden.weight)
    if options.loss is None:
        return head.loss
    own: Callable[[Tensor, Tensor], Tensor] = load_dotted(options.loss, "training.loss")

    def loss(logits: Tensor, target: Tensor, loss_weighting: LossWeighting) -> tuple[Tensor, int]:
        """Sum the user's loss, which gives one value per sample or their mean."""
        count = head.num_targets(target)
        found = own(logits, target)
        return (found * count if found.ndim == 0 else found.sum()), count

    return head.adapt_loss(loss)
