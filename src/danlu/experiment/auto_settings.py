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


def resolve_auto_settings(setup: TrainingSetup, run: RunDirectory) -> TrainingSetup:
    """Replace every `auto` by a number; write the learning-rate plot into the run.

    Raises:
        DanluError: no learning rate lowers the loss.
    """
    if setup.context.recipe.training.batch_size == "auto":
        size = find_largest_batch_size(setup)
        info(
            f"training.batch_size: {size}, the largest that fits (with at least {MIN_STEPS_PER_EPOCH} steps per epoch)"
        )
        setup = with_training_options(setup, batch_size=size)
    optimizer = setup.context.recipe.training.optimizer
    if optimizer.lr == "auto":
        lr = _find_lr(setup, run)
        info(f"training.optimizer.lr: {lr:.2g}, where the loss fell fastest in the learning-rate test")
        setup = with_training_options(setup, optimizer=optimizer.model_copy(update={"lr": lr}))
    return setup


def find_largest_batch_size(setup: TrainingSetup) -> int:
    """Return the largest power of two that fits, leaving enough steps per epoch."""
    free = setup.accelerator.free_bytes()
    most = max(2, setup.balanced.loader.epoch_length // MIN_STEPS_PER_EPOCH)
    sizes = [1 << power for power in range(1, most.bit_length())]
    probe = build_probe(with_training_options(setup, batch_size=sizes[0], optimizer=optimizer_with_default_lr(setup)))
    usable = [
        size for size in sizes if free is None or probe.predict_footprint(size).peak_bytes <= MEMORY_FRACTION * free
    ]
    return max(usable, default=sizes[0])


def optimizer_with_default_lr(setup: TrainingSetup) -> Optimizer:
    """Return the recipe's optimizer with its default learning rate in place of `auto`."""
    optimizer = Optimizer.of(setup.context.recipe.training.optimizer)
    return optimizer if isinstance(optimizer.lr, float) else optimizer.model_copy(update={"lr": optimizer.default_lr})


def _find_lr(setup: TrainingSetup, run: RunDirectory) -> float:
    """Return the learning rate that the range test suggests, and write its plot."""
    from danlu.reporting.figures.lr_finder import lr_finder_plot
    from danlu.training.lr_finder import find_lr

    probe = build_probe(with_training_options(setup, optimizer=optimizer_with_default_lr(setup)))
    state = probe.train_state
    batches = setup.balanced.loader.batches(state.batch_size, state.device)

    def step(rate: float) -> float:
        return float(state.make_step(next(batches), rate, probe.seed, 1))

    found = find_lr(state.model, step)
    write_text(run.path / LR_FINDER_FILE, lr_finder_plot(found.lrs, found.losses, found.suggested_lr))
    return found.suggested_lr
