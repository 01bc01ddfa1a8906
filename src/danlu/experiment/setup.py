"""Everything that training needs (device, processes, loaders, model), built alike for new and resumed runs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.artifacts.run import RunDirectory
from danlu.core.console import info
from danlu.core.devices import open_device
from danlu.core.devices.setup import make_deterministic
from danlu.core.distributed.env import dist_env
from danlu.core.seeds import Seed
from danlu.core.threads import plan_threads, use_threads
from danlu.data.specs import tokens_per_sample
from danlu.data.targets import MultiLabelTarget, PreferenceTarget, Supervised
from danlu.errors import ArgumentError
from danlu.evaluation.metrics.base import Predictions
from danlu.evaluation.metrics.streaming import StreamingMetrics
from danlu.evaluation.metrics.table import METRICS, compute_metrics, is_higher_better, to_target_units
from danlu.evaluation.predictions import build_predictions, pair_with_truth
from danlu.experiment.data_context import (
    DataContext,
    FittedPreprocessing,
    fit_preprocessing,
    scored_text_column,
    truncate_for_dry_run,
)
from danlu.experiment.distillation import add_teacher
from danlu.experiment.dpo_reference import add_reference_log_probs, check_whole_model_per_process
from danlu.experiment.frozen_features import with_frozen_features
from danlu.experiment.loaders import build_prepared_dataset, build_train_loader
from danlu.experiment.model_summary import overparameterized_warning
from danlu.launch.processes import check_single_process
from danlu.recipe.sections.training import Finetune, Parallel, Training

if TYPE_CHECKING:
    from torch import nn

    from danlu.core.devices import Accelerator
    from danlu.core.distributed.process_groups import ProcessGroups
    from danlu.data.balance.apply import BalancedTraining
    from danlu.data.loader import PreparedDataset
    from danlu.training.distributed.parallel_context import ParallelContext
    from danlu.training.early_stopping import EarlyStopper
    from danlu.training.loop import TrainPlan
    from danlu.training.train_state import TrainState

STATE_BYTES_PER_PARAMETER = 16  # per parameter: the weight, its gradient and two optimizer moments in fp32
STATE_FRACTION = 0.6  # of device memory that these may take; the rest is for activations


@dataclass(frozen=True)
class TrainingSetup:
    """Hold an untrained model with its training and validation data.

    Attributes:
        opened: with a fully resolved recipe.
        balanced: the training loader and the loss weighting of its classes.
        validation: None without a validation split.
        model: with initial weights; on the device, or on the host if processes shard it.
        together: the processes that train, and their layout.
        whole: the complete model if `model` is only its head.
        teacher: digest of the distillation teacher; empty without one.
        until: epochs (or rounds) to train before keeping the last weights, if no split validates.
    """

    context: DataContext
    preprocessing: FittedPreprocessing
    balanced: "BalancedTraining"
    validation: "PreparedDataset | None"
    model: "nn.Module"
    accelerator: "Accelerator"
    parallel: "ParallelContext"
    full_model: "nn.Module | None" = None
    teacher_digest: str = ""
    fixed_epochs: float | None = None

    @property
    def team(self) -> "ProcessGroups":
        """The process groups for collectives."""
        return self.parallel.groups

    @property
    def seed(self) -> Seed:
        """The recipe's seed."""
        return Seed(self.context.recipe.seed)

    @property
    def monitored_metric(self) -> str:
        """Name of the metric that selects the best weights, as `loss` or `auroc`."""
        return monitored_metric(self.context.recipe.training)

    @property
    def plan(self) -> "TrainPlan":
        """Number of steps, validations and checkpoints."""
        from danlu.training.loop import plan_steps

        return plan_steps(self.balanced.loader.epoch_length, self.context.recipe.training, self.fixed_epochs)

    def new_early_stopping(self) -> "EarlyStopper":
        """Return a fresh early-stopping state.

        With a fixed length it never stops and keeps the last weights.
        """
        watch = early_stopping_for(self.context.recipe.training)
        return watch if self.fixed_epochs is None else replace(watch, patience=None, keep_last=True)


def monitored_metric(options: Training) -> str:
    """Return the metric that selects the best weights, as `loss` or `auroc`."""
    stopping = options.early_stopping
    return stopping.metric.removeprefix("validation/") if stopping else "loss"


def early_stopping_for(options: Training) -> "EarlyStopper":
    """Return a fresh early-stopping state for these training options."""
    from danlu.training.early_stopping import EarlyStopper

    return EarlyStopper.from_options(options.early_stopping, is_higher_better(monitored_metric(options)))


def best_validation_record(run: RunDirectory, options: Training) -> dict[str, Any] | None:
    """Return the metrics.jsonl record of the kept weights.

    None if the monitored metric was never defined.
    """
    watch = early_stopping_for(options)
    lines = [line for line in run.metrics() if watch.metric in line]
    for line in lines:
        watch.update(line, line["step"])
    return next((line for line in lines if line["step"] == watch.best_step), None)


def prepare_training(
    opened: DataContext,
    dry_run: bool = False,
    compute_threads: int | None = None,
    resumes: bool = False,
    fit_preprocessor: Callable[[DataContext], FittedPreprocessing] = fit_preprocessing,
) -> TrainingSetup:
    """Open the device, set threads, join the processes, preprocess the data and build the model.

    Args:
        dry: use two batches per split and two steps.
        compute: number of torch threads of the resumed run; None follows the recipe.
        goes_on: resume a run, whose number of processes may have changed.
        prepare: fits the preprocessing, or returns a cached one.

    Raises:
        ArgumentError: the device is not available.
        DataError, RecipeError: the data does not fit the recipe.
    """
    check_single_process(opened.model, dist_env().world_size)
    if opened.dataset.kind == "words" and dist_env().world_size > 1:
        raise ArgumentError("--processes: tagging of words trains in one process; remove --processes")
    make_deterministic()
    options = opened.recipe.training
    accelerator, threads = open_device(options.device), plan_threads(options.threads)
    use_threads(threads if compute_threads is None else replace(threads, compute=compute_threads))
    together = open_parallel_context(options, opened.finetune, accelerator, resumes)
    fitting = build_setup(opened, fit_preprocessor(opened), accelerator, threads.data, dry_run, together)
    return _move_to_device(_shard_if_too_large(fitting))


def _move_to_device(fitting: TrainingSetup) -> TrainingSetup:
    """Move the model to the device.

    A sharded one stays on the host, from where each rank takes its shard.
    """
    if not fitting.parallel.is_sharded:
        fitting.model.to(fitting.accelerator.torch_device)
    return fitting


def _shard_if_too_large(fitting: TrainingSetup) -> TrainingSetup:
    """Switch `parallel: auto` to FSDP if a device cannot hold the model."""
    options, team = fitting.context.recipe.training, fitting.team
    if team.is_single_process or options.parallel != "auto":
        return fitting
    total = fitting.accelerator.total_bytes()
    on_host = fitting.accelerator.torch_device.type == "cpu"
    room = None if total is None else STATE_FRACTION * total / (team.env.local_world_size if on_host else 1)
    needed = STATE_BYTES_PER_PARAMETER * sum(weight.numel() for weight in fitting.model.parameters())
    if not team.all_reduce_max(room is not None and needed > room)[0]:
        return fitting
    info(f"training a copy of the model takes {needed / 1e9:.1f} GB, too much for one device; using parallel: shard")
    changed = with_training_options(fitting, parallel=Parallel(shard=team.env.world_size))
    options = changed.context.recipe.training
    return replace(
        changed, parallel=open_parallel_context(options, changed.context.finetune, fitting.accelerator, resumes=False)
    )


def open_parallel_context(
    options: Training, finetune: Finetune, accelerator: "Accelerator", resumes: bool
) -> "ParallelContext":
    """Join the processes that a launcher started; alone without a launcher.

    Raises:
        ArgumentError: the recipe cannot be trained by these processes.
    """
    from danlu.training.distributed.compatibility import check_supported
    from danlu.training.distributed.layout import choose_layout, nearest_layout
    from danlu.training.distributed.parallel_context import init_distributed

    together = init_distributed(options.parallel, accelerator, nearest_layout if resumes else choose_layout)
    check_supported(options, together, finetune)
    return together


def build_setup(
    opened: DataContext,
    prepared: FittedPreprocessing,
    accelerator: "Accelerator",
    threads: int | None = None,
    dry_run: bool = False,
    parallel: "ParallelContext | None" = None,
) -> TrainingSetup:
    """Build the model on the host, the training loader and the validation data.

    Args:
        threads: number of data-loading threads.
        dry: use two batches per split and two steps.
        together: the processes that train; None for this process alone.

    Raises:
        DataError, RecipeError: the data does not fit the recipe.
    """
    import torch

    from danlu.training.distributed.parallel_context import SINGLE_PROCESS_CONTEXT
    from danlu.training.finetuning import apply_finetuning

    whole, device = opened, accelerator.torch_device
    if dry_run:
        opened = truncate_for_dry_run(opened)
    torch.manual_seed(Seed(opened.recipe.seed).derive("weights").value)
    model = opened.model.build(prepared.preprocessor.inputs, prepared.target.outputs)
    if isinstance(prepared.target, PreferenceTarget):
        check_whole_model_per_process(parallel or SINGLE_PROCESS_CONTEXT)
        opened = add_reference_log_probs(opened, prepared, model.to(device), device)
    apply_finetuning(model, opened.finetune)
    # Oversampling needs nearest neighbours, and two batches of a table may have too few.
    learned, teacher = whole if opened.dataset.kind == "tabular" else opened, ""
    balanced = build_train_loader(learned, prepared, device, threads)
    if opened.recipe.training.distill is not None:
        team = (parallel or SINGLE_PROCESS_CONTEXT).groups
        lesson = add_teacher(learned, prepared, balanced, opened.recipe.training.distill, model, device, team)
        balanced, teacher = lesson.balanced, lesson.digest
    judging = opened.splits.validation
    validation = build_prepared_dataset(opened, prepared, judging).cache(device, threads) if len(judging) else None
    fitting = TrainingSetup(
        opened,
        prepared,
        balanced,
        validation,
        model,
        accelerator,
        parallel or SINGLE_PROCESS_CONTEXT,
        teacher_digest=teacher,
    )
    if opened.finetune.mode != "head":
        return fitting
    model.to(device)  # to compute the features there
    return with_frozen_features(fitting, threads)


def with_training_options(fitting: TrainingSetup, **changes: object) -> TrainingSetup:
    """Return the setup with other values in the recipe's `training` section."""
    recipe = fitting.context.recipe
    training: Training = recipe.training.model_copy(update=changes)
    opened = replace(fitting.context, recipe=recipe.model_copy(update={"training": training}))
    return replace(fitting, context=opened)


def create_train_state(fitting: TrainingSetup) -> "TrainState":
    """Create the training state: the model with optimizer, schedule and everything else that changes."""
    from danlu.models.heads import head_for
    from danlu.training.build import TrainTask, build_train_state

    recipe = fitting.context.recipe
    options, inputs = recipe.training, fitting.preprocessing.preprocessor.inputs
    task = TrainTask(
        head=head_for(fitting.preprocessing.target),
        name=fitting.context.dataset.task,
        loss_weighting=replace(fitting.balanced.loss_weighting, smoothing=options.label_smoothing),
        monitored_metric=f"validation/{fitting.monitored_metric}",
        higher_is_better=fitting.new_early_stopping().higher_is_better,
        finetune=fitting.context.finetune,
        tokens_per_sample=tokens_per_sample(inputs),
        steps=fitting.plan.steps,
        steps_per_epoch=fitting.plan.steps_per_epoch,
    )
    return build_train_state(fitting.model, task, options, fitting.accelerator, fitting.parallel)


def make_validation_fn(fitting: TrainingSetup, machine: "TrainState") -> Callable[[], dict[str, float]]:
    """Make the function that validates the current weights: the loss and the monitored metric.

    Without a validation split it returns an empty dict.
    """
    from danlu.models.heads import head_for
    from danlu.models.infer import eval_mode, mean_loss, predict_all, predict_batches

    opened, model, device = fitting.context, machine.model, fitting.accelerator.torch_device
    part, target = opened.splits.validation, fitting.preprocessing.target
    judge = machine.step.parallel_model.evaluator if machine.step.parallel_model else None
    head, watched = head_for(target), fitting.monitored_metric
    supervised = isinstance(target, Supervised)
    sums_up = supervised and watched != "loss" and METRICS[watched].statistic.additive
    batch_size, team = opened.recipe.training.batch_size, fitting.team
    assert isinstance(batch_size, int)

    if fitting.validation is None:
        return dict
    examples = fitting.validation

    def validate() -> dict[str, float]:
        with machine.step.precision.autocast():
            return measured()

    def measured() -> dict[str, float]:
        figures = {"validation/loss": mean_loss(model, head, examples, batch_size, device, judge, team)}
        if watched != "loss":
            # A metric may be undefined, as AUROC without positive samples; then nothing is logged.
            found = streamed() if sums_up else whole()
            figures |= {f"validation/{name}": value for name, value in found.items()}
        return figures

    def whole() -> dict[str, float]:
        found = predict_all(model, head, examples, batch_size, device, evaluator=judge, groups=team)
        return compute_metrics((watched,), build_predictions(part, target, found, scored_text_column(opened)))

    def streamed() -> dict[str, float]:
        assert isinstance(target, Supervised)
        running, zero = StreamingMetrics({watched: METRICS[watched]}), np.zeros((1, 1))
        with eval_mode(model, team):
            for rows, found in predict_batches(model, head, examples, batch_size, device, judge, team):
                if len(rows):
                    running.add(pair_with_truth(part.take(rows), target, to_target_units(target, found.cpu().numpy())))
            blank = np.full((1, target.outputs), 1 / target.outputs)
            shape = (1, target.outputs) if isinstance(target, MultiLabelTarget) else 1
            running.add_weighted(Predictions(np.zeros(shape, dtype=np.int64), to_target_units(target, blank)), zero)
        return running.compute(team, device)

    return validate


def log_model_summary(fitting: TrainingSetup, first: int) -> None:
    """Log parameters, samples, steps and device; warn if the model is large for its data."""
    opened, plan, length = fitting.context, fitting.plan, fitting.balanced.loader.epoch_length
    parameters = count_parameters(fitting.full_model or fitting.model)
    trained = count_parameters(fitting.model, trainable_only=True)
    counted = f"{parameters:,} parameters" + ("" if trained == parameters else f", {trained:,} of them trained")
    attention = getattr(getattr(getattr(fitting.model, "network", None), "config", None), "_attn_implementation", None)
    by = f", attention by {attention}" if attention else ""
    begun = f"steps {first + 1:,} to {plan.end_step:,}" if first else f"{plan.end_step:,} steps"
    info(
        f"training {opened.model.name} ({counted}) on {length:,} samples: "
        f"{begun} of {opened.recipe.training.batch_size} on {fitting.accelerator.torch_device}{by}"
    )
    warning = overparameterized_warning(fitting)
    if warning is not None:
        info(f"warning: {warning}")


def count_parameters(model: "nn.Module", trainable_only: bool = False) -> int:
    """Count parameters, or only the trainable ones; projections for distillation are excluded."""
    from danlu.models.task_model import PROJECTION_NAME

    own = (weight for name, weight in model.named_parameters() if not name.startswith(f"{PROJECTION_NAME}."))
    return sum(weight.numel() for weight in own if weight.requires_grad or not trainable_only)
