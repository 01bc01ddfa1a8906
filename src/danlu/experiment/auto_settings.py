"""Replace `batch_size: auto` and `lr: auto` by numbers found by trying the model on its device.

The resolved recipe holds the numbers, so a resumed run does not try again.
"""

from danlu.artifacts.files import write_text
from danlu.artifacts.run import RunDirectory
from danlu.core.console import info
from danlu.experiment.probe import build_probe
from danlu.experiment.setup import TrainingSetup, with_training_options
from danlu.training.optimizers import Optimizer

MIN_STEPS_PER_EPOCH = 8  # per epoch; larger batches make too few updates to learn well
MEMORY_FRACTION = 0.8  # of free memory that a step may use; allocators and validation need the rest
LR_FINDER_FILE = "lr-range.svg"


def resolve_auto_settings(fitting: TrainingSetup, run: RunDirectory) -> TrainingSetup:
    """Replace every `auto` by a number; write the learning-rate plot into the run.

    Raises:
        DanluError: no learning rate lowers the loss.
    """
    if fitting.context.recipe.training.batch_size == "auto":
        size = find_largest_batch_size(fitting)
        info(
            f"training.batch_size: {size}, the largest that fits (with at least {MIN_STEPS_PER_EPOCH} steps per epoch)"
        )
        fitting = with_training_options(fitting, batch_size=size)
    optimizer = fitting.context.recipe.training.optimizer
    assert isinstance(optimizer, Optimizer)
    if optimizer.lr == "auto":
        lr = _find_lr(fitting, run)
        info(f"training.optimizer.lr: {lr:.2g}, where the loss fell fastest in the learning-rate test")
        fitting = with_training_options(fitting, optimizer=optimizer.model_copy(update={"lr": lr}))
    return fitting


def find_largest_batch_size(fitting: TrainingSetup) -> int:
    """Return the largest power of two that fits, leaving enough steps per epoch."""
    free = fitting.accelerator.free_bytes()
    most = max(2, fitting.balanced.loader.epoch_length // MIN_STEPS_PER_EPOCH)
    sizes = [1 << power for power in range(1, most.bit_length())]
    trial = build_probe(
        with_training_options(fitting, batch_size=sizes[0], optimizer=optimizer_with_default_lr(fitting))
    )
    usable = [
        size for size in sizes if free is None or trial.predict_footprint(size).peak_bytes <= MEMORY_FRACTION * free
    ]
    return max(usable, default=sizes[0])


def optimizer_with_default_lr(fitting: TrainingSetup) -> Optimizer:
    """Return the recipe's optimizer with its default learning rate in place of `auto`."""
    optimizer = fitting.context.recipe.training.optimizer
    assert isinstance(optimizer, Optimizer)
    return optimizer.model_copy(update={"lr": optimizer.initial_lr})


def _find_lr(fitting: TrainingSetup, run: RunDirectory) -> float:
    """Return the learning rate that the range test suggests, and write its plot."""
    from danlu.reporting.figures.lr_finder import lr_finder_plot
    from danlu.training.lr_finder import find_lr

    trial = build_probe(with_training_options(fitting, optimizer=optimizer_with_default_lr(fitting)))
    machine = trial.train_state
    batches = fitting.balanced.loader.batches(machine.batch_size, machine.device)

    def step(rate: float) -> float:
        return float(machine.make_step(next(batches), rate, trial.seed, 1))

    found = find_lr(machine.model, step)
    write_text(run.path / LR_FINDER_FILE, lr_finder_plot(found.lrs, found.losses, found.suggested_lr))
    return found.suggested_lr
