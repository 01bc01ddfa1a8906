"""Everything that training needs (device, processes, loaders, model), built alike for new and resumed runs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.artifacts.run import RunDirectory
from danlu.core.console import say
from danlu.core.device import make_deterministic
from danlu.core.devices import open_device
from danlu.core.errors import ArgumentError
from danlu.core.seeds import Seed
from danlu.core.threads import plan_threads, use_threads
from danlu.core.world import this_world
from danlu.data.specs import tokens_a_sample
from danlu.data.targets import Labels, PreferredAnswer, Supervised
from danlu.evaluation.evaluate import supervised_truth, truth
from danlu.evaluation.metric import Truth
from danlu.evaluation.metrics import METRICS, compute_metrics, grows, in_units
from danlu.evaluation.streaming import Running
from danlu.recipe.sections import Finetune, Parallel, Training
from danlu.verbs.capacity import crowded
from danlu.verbs.features import on_features
from danlu.verbs.feeding import examples_of_part, training_feed
from danlu.verbs.prepare import Opened, Prepared, fit_preparation, judged_content, shorten
from danlu.verbs.reference import refuse_parts_of_a_model, with_reference
from danlu.verbs.teaching import with_teacher
from danlu.verbs.unstepped import refuse_processes

if TYPE_CHECKING:
    from torch import nn

    from danlu.core.devices import Accelerator
    from danlu.core.team import Team
    from danlu.data.balance.apply import Balanced
    from danlu.data.examples import Examples
    from danlu.training.machine import Machine
    from danlu.training.parallel.group import Together
    from danlu.training.steps import Plan
    from danlu.training.watch import Watch

STATE_BYTES = 16  # per parameter: the weight, its gradient and two optimizer moments in fp32
STATE_SHARE = 0.6  # of device memory that these may take; the rest is for activations


@dataclass(frozen=True)
class Fitting:
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

    opened: Opened
    prepared: Prepared
    balanced: "Balanced"
    validation: "Examples | None"
    model: "nn.Module"
    accelerator: "Accelerator"
    together: "Together"
    whole: "nn.Module | None" = None
    teacher: str = ""
    until: float | None = None

    @property
    def team(self) -> "Team":
        """The process groups for collectives."""
        return self.together.team

    @property
    def seed(self) -> Seed:
        """The recipe's seed."""
        return Seed(self.opened.recipe.seed)

    @property
    def watched(self) -> str:
        """Name of the metric that selects the best weights, as `loss` or `auroc`."""
        return watched_metric(self.opened.recipe.training)

    @property
    def plan(self) -> "Plan":
        """Number of steps, validations and checkpoints."""
        from danlu.training.steps import plan_steps

        return plan_steps(self.balanced.feed.length, self.opened.recipe.training, self.until)

    def watch(self) -> "Watch":
        """Return a fresh early-stopping state.

        With a fixed length it never stops and keeps the last weights.
        """
        watch = watch_of(self.opened.recipe.training)
        return watch if self.until is None else replace(watch, patience=None, latest=True)


def watched_metric(options: Training) -> str:
    """Return the metric that selects the best weights, as `loss` or `auroc`."""
    stopping = options.early_stopping
    return stopping.metric.removeprefix("validation/") if stopping else "loss"


def watch_of(options: Training) -> "Watch":
    """Return a fresh early-stopping state for these training options."""
    from danlu.training.watch import Watch

    return Watch.over(options.early_stopping, grows(watched_metric(options)))


def kept_line(run: RunDirectory, options: Training) -> dict[str, Any] | None:
    """Return the metrics.jsonl record of the kept weights.

    None if the monitored metric was never defined.
    """
    watch = watch_of(options)
    lines = [line for line in run.metrics() if watch.metric in line]
    for line in lines:
        watch.look(line, line["step"])
    return next((line for line in lines if line["step"] == watch.best_step), None)


def begin(
    opened: Opened,
    dry: bool = False,
    compute: int | None = None,
    goes_on: bool = False,
    prepare: Callable[[Opened], Prepared] = fit_preparation,
) -> Fitting:
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
    refuse_processes(opened.model, this_world().size)
    if opened.dataset.kind == "words" and this_world().size > 1:
        raise ArgumentError("--processes: tagging of words trains in one process; remove --processes")
    make_deterministic()
    options = opened.recipe.training
    accelerator, threads = open_device(options.device), plan_threads(options.threads)
    use_threads(threads if compute is None else replace(threads, compute=compute))
    together = join(options, opened.finetune, accelerator, goes_on)
    fitting = build_fitting(opened, prepare(opened), accelerator, threads.data, dry, together)
    return _placed(_shared_if_too_large(fitting))


def _placed(fitting: Fitting) -> Fitting:
    """Move the model to the device.

    A sharded one stays on the host, from where each rank takes its shard.
    """
    if not fitting.together.splits_weights:
        fitting.model.to(fitting.accelerator.torch_device)
    return fitting


def _shared_if_too_large(fitting: Fitting) -> Fitting:
    """Switch `parallel: auto` to FSDP if a device cannot hold the model."""
    options, team = fitting.opened.recipe.training, fitting.team
    if team.alone or options.parallel != "auto":
        return fitting
    total = fitting.accelerator.total_bytes()
    on_host = fitting.accelerator.torch_device.type == "cpu"
    room = None if total is None else STATE_SHARE * total / (team.world.local_size if on_host else 1)
    needed = STATE_BYTES * sum(weight.numel() for weight in fitting.model.parameters())
    if not team.most(room is not None and needed > room)[0]:
        return fitting
    say(f"training a copy of the model takes {needed / 1e9:.1f} GB, too much for one device; using parallel: shard")
    changed = with_training(fitting, parallel=Parallel(shard=team.world.size))
    options = changed.opened.recipe.training
    return replace(changed, together=join(options, changed.opened.finetune, fitting.accelerator, goes_on=False))


def join(options: Training, finetune: Finetune, accelerator: "Accelerator", goes_on: bool) -> "Together":
    """Join the processes that a launcher started; alone without a launcher.

    Raises:
        ArgumentError: the recipe cannot be trained by these processes.
    """
    from danlu.training.parallel.group import open_together
    from danlu.training.parallel.layout import choose_layout, nearest_layout
    from danlu.training.parallel.limits import refuse_impossible

    together = open_together(options.parallel, accelerator, nearest_layout if goes_on else choose_layout)
    refuse_impossible(options, together, finetune)
    return together


def build_fitting(
    opened: Opened,
    prepared: Prepared,
    accelerator: "Accelerator",
    threads: int | None = None,
    dry: bool = False,
    together: "Together | None" = None,
) -> Fitting:
    """Build the model on the host, the training loader and the validation data.

    Args:
        threads: number of data-loading threads.
        dry: use two batches per split and two steps.
        together: the processes that train; None for this process alone.

    Raises:
        DataError, RecipeError: the data does not fit the recipe.
    """
    import torch

    from danlu.training.finetuning import begin_finetuning
    from danlu.training.parallel.group import LONE

    whole, device = opened, accelerator.torch_device
    if dry:
        opened = shorten(opened)
    torch.manual_seed(Seed(opened.recipe.seed).derive("weights").value)
    model = opened.model.build(prepared.preprocessor.inputs, prepared.target.outputs)
    if isinstance(prepared.target, PreferredAnswer):
        refuse_parts_of_a_model(together or LONE)
        opened = with_reference(opened, prepared, model.to(device), device)
    begin_finetuning(model, opened.finetune)
    # Oversampling needs nearest neighbours, and two batches of a table may have too few.
    learned, teacher = whole if opened.dataset.kind == "tabular" else opened, ""
    balanced = training_feed(learned, prepared, device, threads)
    if opened.recipe.training.distill is not None:
        team = (together or LONE).team
        lesson = with_teacher(learned, prepared, balanced, opened.recipe.training.distill, model, device, team)
        balanced, teacher = lesson.balanced, lesson.digest
    judging = opened.splits.validation
    validation = examples_of_part(opened, prepared, judging).settle(device, threads) if len(judging) else None
    fitting = Fitting(opened, prepared, balanced, validation, model, accelerator, together or LONE, teacher=teacher)
    if opened.finetune.mode != "head":
        return fitting
    model.to(device)  # to compute the features there
    return on_features(fitting, threads)


def with_training(fitting: Fitting, **changes: object) -> Fitting:
    """Return the setup with other values in the recipe's `training` section."""
    recipe = fitting.opened.recipe
    training: Training = recipe.training.model_copy(update=changes)
    opened = replace(fitting.opened, recipe=recipe.model_copy(update={"training": training}))
    return replace(fitting, opened=opened)


def build_machine(fitting: Fitting) -> "Machine":
    """Create the training state: the model with optimizer, schedule and everything else that changes."""
    from danlu.models.heads import head_for
    from danlu.training.assembly import Task, assemble

    recipe = fitting.opened.recipe
    options, inputs = recipe.training, fitting.prepared.preprocessor.inputs
    task = Task(
        head=head_for(fitting.prepared.target),
        name=fitting.opened.dataset.task,
        emphasis=replace(fitting.balanced.emphasis, smoothing=options.label_smoothing),
        watched=f"validation/{fitting.watched}",
        higher_is_better=fitting.watch().higher_is_better,
        finetune=fitting.opened.finetune,
        tokens_a_sample=tokens_a_sample(inputs),
        steps=fitting.plan.steps,
        steps_an_epoch=fitting.plan.steps_an_epoch,
    )
    return assemble(fitting.model, task, options, fitting.accelerator, fitting.together)


def validator(fitting: Fitting, machine: "Machine") -> Callable[[], dict[str, float]]:
    """Make the function that validates the current weights: the loss and the monitored metric.

    Without a validation split it returns an empty dict.
    """
    from danlu.models.heads import head_for
    from danlu.models.infer import answer_batches, answers, judging, mean_loss

    opened, model, device = fitting.opened, machine.model, fitting.accelerator.torch_device
    part, target = opened.splits.validation, fitting.prepared.target
    judge = machine.step.spread.judge if machine.step.spread else None
    head, watched = head_for(target), fitting.watched
    supervised = isinstance(target, Supervised)
    sums_up = supervised and watched != "loss" and METRICS[watched].statistic.additive
    batch_size, team = opened.recipe.training.batch_size, fitting.team
    assert isinstance(batch_size, int)

    if fitting.validation is None:
        return dict
    examples = fitting.validation

    def validate() -> dict[str, float]:
        with machine.step.precision.computing():
            return measured()

    def measured() -> dict[str, float]:
        figures = {"validation/loss": mean_loss(model, head, examples, batch_size, device, judge, team)}
        if watched != "loss":
            # A metric may be undefined, as AUROC without positive samples; then nothing is logged.
            found = streamed() if sums_up else whole()
            figures |= {f"validation/{name}": value for name, value in found.items()}
        return figures

    def whole() -> dict[str, float]:
        found = answers(model, head, examples, batch_size, device, judge=judge, team=team)
        return compute_metrics((watched,), truth(part, target, found, judged_content(opened)))

    def streamed() -> dict[str, float]:
        assert isinstance(target, Supervised)
        running, zero = Running({watched: METRICS[watched]}), np.zeros((1, 1))
        with judging(model, team):
            for rows, found in answer_batches(model, head, examples, batch_size, device, judge, team):
                if len(rows):
                    running.add(supervised_truth(part.some(rows), target, in_units(target, found.cpu().numpy())))
            blank = np.full((1, target.outputs), 1 / target.outputs)
            shape = (1, target.outputs) if isinstance(target, Labels) else 1
            running.add_weighted(Truth(np.zeros(shape, dtype=np.int64), in_units(target, blank)), zero)
        return running.figures(team, device)

    return validate


def say_what_is_trained(fitting: Fitting, first: int) -> None:
    """Log parameters, samples, steps and device; warn if the model is large for its data."""
    opened, plan, length = fitting.opened, fitting.plan, fitting.balanced.feed.length
    parameters = count(fitting.whole or fitting.model)
    trained = count(fitting.model, trained=True)
    counted = f"{parameters:,} parameters" + ("" if trained == parameters else f", {trained:,} of them trained")
    attention = getattr(getattr(getattr(fitting.model, "network", None), "config", None), "_attn_implementation", None)
    by = f", attention by {attention}" if attention else ""
    begun = f"steps {first + 1:,} to {plan.ends:,}" if first else f"{plan.ends:,} steps"
    say(
        f"training {opened.model.name} ({counted}) on {length:,} samples: "
        f"{begun} of {opened.recipe.training.batch_size} on {fitting.accelerator.torch_device}{by}"
    )
    warning = crowded(fitting)
    if warning is not None:
        say(f"warning: {warning}")


def count(model: "nn.Module", trained: bool = False) -> int:
    """Count parameters, or only the trainable ones; projections for distillation are excluded."""
    from danlu.models.parts import HINT

    own = (weight for name, weight in model.named_parameters() if not name.startswith(f"{HINT}."))
    return sum(weight.numel() for weight in own if weight.requires_grad or not trained)
