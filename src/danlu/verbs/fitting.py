"""What training needs, built from opened data in the same way for a new run and for one that goes on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from danlu.core.console import progress, say
from danlu.core.errors import DanluError
from danlu.core.seeds import Seed
from danlu.evaluation.evaluate import truth
from danlu.evaluation.metrics import METRICS, compute_metrics
from danlu.training.optimizers import Optimizer
from danlu.training.schedules import Schedule
from danlu.verbs.feeding import examples_of_part, training_feed
from danlu.verbs.prepare import Opened, Prepared, shorten

if TYPE_CHECKING:
    from torch import nn

    from danlu.core.device import Accelerator
    from danlu.data.balance.apply import Balanced
    from danlu.data.examples import Examples
    from danlu.training.journal import Journal
    from danlu.training.loop import Outcome
    from danlu.training.machine import Machine
    from danlu.training.steps import Plan
    from danlu.training.watch import Watch


@dataclass(frozen=True)
class Fitting:
    """A model before training, and what it will be trained and validated on.

    Attributes:
        opened: its recipe leaves nothing open.
        model: on the device, with its first weights.
    """

    opened: Opened
    prepared: Prepared
    balanced: "Balanced"
    validation: "Examples"
    model: "nn.Module"
    accelerator: "Accelerator"

    @property
    def seed(self) -> Seed:
        return Seed(self.opened.recipe.seed)

    @property
    def watched(self) -> str:
        """The metric that decides which weights are kept, as `loss` or `auroc`."""
        stopping = self.opened.recipe.training.early_stopping
        return stopping.metric.removeprefix("validation/") if stopping else "loss"

    @property
    def plan(self) -> "Plan":
        from danlu.training.steps import plan_steps

        return plan_steps(self.balanced.feed.length, self.opened.recipe.training)

    def watch(self) -> "Watch":
        """A watch that has not seen anything yet."""
        from danlu.training.watch import Watch

        higher = self.watched != "loss" and METRICS[self.watched].higher_is_better
        return Watch.over(self.opened.recipe.training.early_stopping, higher)


def build_fitting(opened: Opened, prepared: Prepared, accelerator: "Accelerator", dry: bool = False) -> Fitting:
    """Prepare both splits and build the model; `dry` takes two batches of each part and two steps.

    Raises:
        DataError, RecipeError: the data cannot be had as the recipe says.
    """
    import torch

    whole, device = opened, accelerator.torch_device
    if dry:
        opened = shorten(opened)
    # Synthetic rows need neighbours, which two batches of a table may not hold.
    balanced = training_feed(whole if opened.dataset.kind == "tabular" else opened, prepared, device)
    validation = examples_of_part(opened, prepared, opened.splits.validation).settle(device)
    torch.manual_seed(Seed(opened.recipe.seed).derive("weights").value)
    model = opened.model.build(prepared.preprocessor.inputs, prepared.target.outputs).to(device)
    return Fitting(opened, prepared, balanced, validation, model, accelerator)


def build_machine(fitting: Fitting) -> "Machine":
    """The model with its optimizer, schedule and all else that changes while it is trained."""
    from danlu.models.heads import HEADS
    from danlu.training.machine import Machine
    from danlu.training.penalties import Penalties
    from danlu.training.precision import Precision
    from danlu.training.step import Step

    options = fitting.opened.recipe.training
    optimizer, schedule = options.optimizer, options.schedule
    assert isinstance(optimizer, Optimizer) and isinstance(schedule, Schedule)
    assert isinstance(optimizer.lr, float) and isinstance(options.batch_size, int)
    head = HEADS[fitting.opened.dataset.task]
    built = optimizer.build([{"params": list(fitting.model.parameters()), "lr_scale": 1.0}])
    step = Step(
        model=fitting.model,
        forward=fitting.model,
        loss=head.loss,
        count=len,
        emphasis=replace(fitting.balanced.emphasis, smoothing=options.label_smoothing),
        optimizer=built,
        accelerator=fitting.accelerator,
        precision=Precision(),
        penalties=Penalties(),
        clip_norm=options.clip_norm,
        clip_value=options.clip_value,
        parts=options.accumulate,
    )
    return Machine(
        step=step,
        batch_size=options.batch_size,
        base_lr=optimizer.lr,
        schedule=schedule,
        steps=fitting.plan.steps,
        plateau=None,
        average=None,
        watched=f"validation/{fitting.watched}",
    )


def validator(fitting: Fitting) -> Callable[[], dict[str, float]]:
    """What gives the validation metrics of the weights in the model: its loss, and the metric that is watched."""
    from danlu.models.heads import HEADS
    from danlu.models.infer import answers, mean_loss

    opened, model, device = fitting.opened, fitting.model, fitting.accelerator.torch_device
    head, watched = HEADS[opened.dataset.task], fitting.watched
    batch_size = opened.recipe.training.batch_size
    assert isinstance(batch_size, int)

    def validate() -> dict[str, float]:
        figures = {"validation/loss": mean_loss(model, head, fitting.validation, batch_size, device)}
        if watched != "loss":
            found = answers(model, head, fitting.validation, batch_size, device)
            judged = truth(opened.splits.validation, fitting.prepared.target, found, opened.dataset.content)
            # A metric may be undefined, as AUROC is where a class is absent; then there is nothing to log.
            figures |= {f"validation/{name}": value for name, value in compute_metrics((watched,), judged).items()}
        return figures

    return validate


def fit(fitting: Fitting, machine: "Machine", watch: "Watch", journal: "Journal", first: int = 0) -> "Outcome":
    """Train from step `first` on, say how it goes, and leave the best weights in the model."""
    from danlu.training.loop import train

    opened, plan, length = fitting.opened, fitting.plan, fitting.balanced.feed.length
    parameters = sum(parameter.numel() for parameter in fitting.model.parameters())
    begun = f"steps {first + 1:,} to {plan.steps:,}" if first else f"{plan.steps:,} steps"
    say(
        f"training {opened.model.name} ({parameters:,} parameters) on {length:,} samples: "
        f"{begun} of {machine.batch_size} on {fitting.accelerator.torch_device}"
    )
    with progress("training", (plan.steps - first) * machine.batch_size, "samples") as bar:
        outcome = train(
            machine,
            fitting.balanced.feed,
            plan,
            fitting.seed,
            watch,
            validator(fitting),
            journal,
            bar,
            first,
        )
    if outcome.best is None:
        raise DanluError(f"{watch.metric} was never defined on the validation split; watch another metric")
    say(
        f"trained {outcome.steps:,} steps, {outcome.ended}; kept the weights of step {outcome.best_step:,} "
        f"(validation {fitting.watched} {outcome.best:.4f})"
    )
    return outcome
