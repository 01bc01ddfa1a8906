"""Replace `batch_size: auto` and `lr: auto` by numbers found by trying the model on its device.

The resolved recipe holds the numbers, so a resumed run does not try again.
"""

from danlu.artifacts.files import write_text
from danlu.artifacts.run import RunDirectory
from danlu.core.console import say
from danlu.training.optimizers import Optimizer
from danlu.verbs.fitting import Fitting, with_training
from danlu.verbs.trial import trial_of

FEWEST_STEPS = 8  # per epoch; larger batches make too few updates to learn well
MEMORY_SHARE = 0.8  # of free memory that a step may use; allocators and validation need the rest
LR_PICTURE = "lr-range.svg"


def settle(fitting: Fitting, run: RunDirectory) -> Fitting:
    """Replace every `auto` by a number; write the learning-rate plot into the run.

    Raises:
        DanluError: no learning rate lowers the loss.
    """
    if fitting.opened.recipe.training.batch_size == "auto":
        size = largest_batch(fitting)
        say(f"training.batch_size: {size}, the largest that fits (with at least {FEWEST_STEPS} steps per epoch)")
        fitting = with_training(fitting, batch_size=size)
    optimizer = fitting.opened.recipe.training.optimizer
    assert isinstance(optimizer, Optimizer)
    if optimizer.lr == "auto":
        lr = _tried_rate(fitting, run)
        say(f"training.optimizer.lr: {lr:.2g}, where the loss fell fastest in the learning-rate test")
        fitting = with_training(fitting, optimizer=optimizer.model_copy(update={"lr": lr}))
    return fitting


def largest_batch(fitting: Fitting) -> int:
    """Return the largest power of two that fits, leaving enough steps per epoch."""
    free = fitting.accelerator.free_bytes()
    most = max(2, fitting.balanced.feed.length // FEWEST_STEPS)
    sizes = [1 << power for power in range(1, most.bit_length())]
    trial = trial_of(with_training(fitting, batch_size=sizes[0], optimizer=some_rate(fitting)))
    usable = [size for size in sizes if free is None or trial.foresee(size).peak_bytes <= MEMORY_SHARE * free]
    return max(usable, default=sizes[0])


def some_rate(fitting: Fitting) -> Optimizer:
    """Return the recipe's optimizer with its default learning rate in place of `auto`."""
    optimizer = fitting.opened.recipe.training.optimizer
    assert isinstance(optimizer, Optimizer)
    return optimizer.model_copy(update={"lr": optimizer.first_lr})


def _tried_rate(fitting: Fitting, run: RunDirectory) -> float:
    """Return the learning rate that the range test suggests, and write its plot."""
    from danlu.report.rate_range import rate_range
    from danlu.training.range_test import range_test

    trial = trial_of(with_training(fitting, optimizer=some_rate(fitting)))
    machine = trial.machine
    batches = fitting.balanced.feed.batches(machine.batch_size, machine.device)

    def step(rate: float) -> float:
        return float(machine.make_step(next(batches), rate, trial.seed, 1))

    found = range_test(machine.model, step)
    write_text(run.path / LR_PICTURE, rate_range(found.rates, found.losses, found.suggested))
    return found.suggested
