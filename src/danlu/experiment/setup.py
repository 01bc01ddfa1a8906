"""One training before its first step: model, loaders, device, processes, and the state made from them.

`prepare` builds a `TrainingSetup`; what runs it is in `trainer`.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from danlu.artifacts.run import RunDirectory, best_record
from danlu.core.seeds import Seed
from danlu.experiment.data_context import (
    DataContext,
    FittedPreprocessing,
)
from danlu.recipe.durations import Pace, in_steps
from danlu.recipe.sections.training import Training
from danlu.tasks.metric_table import is_higher_better

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


@dataclass(frozen=True)
class TrainingSetup:
    """Hold an untrained model with its training and validation data.

    Attributes:
        context: with a fully resolved recipe.
        balanced: the training loader and the loss weighting of its classes.
        validation: None without a validation split.
        model: with initial weights; on the device, or on the host if processes shard it.
        parallel: the processes that train, and their layout.
        full_model: the complete model if `model` is only its head.
        teacher_digest: digest of the distillation teacher; empty without one.
        fixed_epochs: epochs (or rounds) to train before keeping the last weights, if no split validates.
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
    def groups(self) -> "ProcessGroups":
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

        options, tokens = self.context.recipe.training, self.preprocessing.preprocessor.inputs.tokens_per_sample
        return plan_steps(self.balanced.loader.epoch_length, options, self.fixed_epochs, tokens)

    @property
    def timed_options(self) -> Training:
        """The recipe's `training` section with every duration in steps or as a share."""
        options, plan = self.context.recipe.training, self.plan
        assert isinstance(options.batch_size, int)
        tokens = self.preprocessing.preprocessor.inputs.tokens_per_sample
        return in_steps(options, Pace(plan.steps_per_epoch, options.batch_size, tokens, plan.steps))

    def new_early_stopping(self) -> "EarlyStopper":
        """Return a fresh early-stopping state.

        With a fixed length it never stops and keeps the last weights; with a sparsity that rises it begins when that
        is reached.
        """
        stopper = early_stopping_for(self.context.recipe.training)
        if self.context.recipe.training.sparsity is not None:
            from danlu.training.sparsity import ends_in_steps

            sparsity = self.timed_options.sparsity
            assert sparsity is not None
            stopper = replace(stopper, first_step=ends_in_steps(sparsity, self.plan.steps)[1])
        return replace(stopper, patience=None, keep_last=True) if self.keeps_last else stopper

    @property
    def keeps_last(self) -> bool:
        """Whether the last weights are kept, since no row chooses others."""
        return self.fixed_epochs is not None or self.validation is None


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
    metric = monitored_metric(options)
    return best_record(run.metrics(), f"validation/{metric}", is_higher_better(metric))


def with_training_options(setup: TrainingSetup, **changes: object) -> TrainingSetup:
    """Return the setup with other values in the recipe's `training` section."""
    recipe = setup.context.recipe
    training: Training = recipe.training.model_copy(update=changes)
    context = replace(setup.context, recipe=recipe.model_copy(update={"training": training}))
    return replace(setup, context=context)


def create_train_state(setup: TrainingSetup) -> "TrainState":
    """Create the training state: the model with optimizer, schedule and everything else that changes."""
    from danlu.training.build import TrainTask, build_train_state

    options, inputs = setup.timed_options, setup.preprocessing.preprocessor.inputs
    task = TrainTask(
        head=setup.context.dataset.task.head(setup.preprocessing.target),
        task=setup.context.dataset.task,
        loss_weighting=replace(setup.balanced.loss_weighting, smoothing=options.label_smoothing),
        monitored_metric=f"validation/{setup.monitored_metric}",
        higher_is_better=setup.new_early_stopping().higher_is_better,
        finetune=setup.context.finetune,
        tokens_per_sample=inputs.tokens_per_sample,
        steps=setup.plan.steps,
        steps_per_epoch=setup.plan.steps_per_epoch,
        seed=setup.seed,
    )
    return build_train_state(setup.model, task, options, setup.accelerator, setup.parallel)
