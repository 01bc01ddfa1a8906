"""What only the model on its device can tell: `batch_size: auto` and `lr: auto`, found by trying.

Afterwards the recipe has numbers in their places, and so a run that goes on does not try again.
"""

from danlu.artifacts.files import write_text
from danlu.artifacts.run import RunDirectory
from danlu.core.console import say
from danlu.training.optimizers import Optimizer
from danlu.verbs.fitting import Fitting, with_training
from danlu.verbs.trial import trial_of

FEWEST_STEPS = 8  # an epoch: a batch that takes in more of the data learns too slowly
MEMORY_SHARE = 0.8  # of the free memory that a step may take: allocators waste some, and so does validation
LR_PICTURE = "lr-range.svg"


def settle(fitting: Fitting, run: RunDirectory) -> Fitting:
    """The same with a number for each `auto`; the picture of the learning rates that were tried goes into the run.

    Raises:
        DanluError: no learning rate lowers the loss.
    """
    if fitting.opened.recipe.training.batch_size == "auto":
        size = largest_batch(fitting)
        say(f"batch_size: {size}, as many as fit (at least {FEWEST_STEPS} steps an epoch)")
        fitting = with_training(fitting, batch_size=size)
    optimizer = fitting.opened.recipe.training.optimizer
    assert isinstance(optimizer, Optimizer)
    if optimizer.lr == "auto":
        lr = _tried_rate(fitting, run)
        say(f"training.optimizer.lr: {lr:.2g}, where the loss fell fastest of the rates tried")
        fitting = with_training(fitting, optimizer=optimizer.model_copy(update={"lr": lr}))
    return fitting


def largest_batch(fitting: Fitting) -> int:
    """The largest power of two whose step fits into the free memory and leaves enough steps an epoch."""
    free = fitting.accelerator.free_bytes()
    most = max(2, fitting.balanced.feed.length // FEWEST_STEPS)
    sizes = [1 << power for power in range(1, most.bit_length())]
    trial = trial_of(with_training(fitting, batch_size=sizes[0], optimizer=some_rate(fitting)))
    usable = [size for size in sizes if free is None or trial.foresee(size).peak_bytes <= MEMORY_SHARE * free]
    return max(usable, default=sizes[0])


def some_rate(fitting: Fitting) -> Optimizer:
    """The recipe's optimizer with a rate, where the recipe leaves that to be tried later."""
    optimizer = fitting.opened.recipe.training.optimizer
    assert isinstance(optimizer, Optimizer)
    return optimizer.model_copy(update={"lr": optimizer.first_lr})


def _tried_rate(fitting: Fitting, run: RunDirectory) -> float:
    """The rate that the range test suggests."""
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
