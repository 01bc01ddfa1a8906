"""Training tried for a few steps on a copy of the model: what a batch takes, what a learning rate does."""

import copy
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from danlu.core.seeds import Seed
from danlu.recipe.sections import Memory
from danlu.verbs.fitting import Fitting, build_machine, with_training

if TYPE_CHECKING:
    from torch import Tensor

    from danlu.training.footprint import Footprint
    from danlu.training.machine import Machine

SMALL = 4  # samples of each part of the smaller trial; the larger takes twice as many
TRIED_RATE = 1e-8  # a step this small changes nothing that memory or time could notice


@dataclass(frozen=True)
class Timed:
    """Steps that were made for real.

    Attributes:
        step_s: the median of a step's seconds.
        peak_bytes: the most memory taken: of an accelerator, or of the process on the host; None where unknown.
    """

    step_s: float
    peak_bytes: int | None


class Trial:
    """Steps of a machine of its own. Made by `trial_of`."""

    def __init__(self, fitting: Fitting, machine: "Machine") -> None:
        self.fitting, self.machine = fitting, machine
        self.seed = Seed(fitting.opened.recipe.seed).derive("trial")

    def step(self, batch_size: int, rate: float = TRIED_RATE) -> float:
        """Make a step of so many of the training samples; its loss."""
        feed = self.fitting.balanced.feed
        rows = np.resize(feed.order(0), batch_size)
        batch = feed.take(rows, 0, self.machine.device)
        return float(self.machine.make_step(batch, rate, self.seed, 1))

    def footprint(self, batch_size: int) -> "Footprint":
        """What a step of so many samples takes, made for real and counted."""
        from danlu.training.footprint import measure

        return measure(self.step, self._held, batch_size)

    def foresee(self, batch_size: int) -> "Footprint":
        """What a step of so many samples would take, from two small ones; made for real where those tell nothing."""
        from danlu.training.footprint import foresee

        if batch_size > 2 * self._smallest:
            found = foresee(*self.small, batch_size)
            if found is not None:
                return found
        return self.footprint(batch_size)

    @cached_property
    def small(self) -> "tuple[Footprint, Footprint]":
        """What two small batches take."""
        return self.footprint(self._smallest), self.footprint(2 * self._smallest)

    @property
    def _smallest(self) -> int:
        """So many that every part has some: the operations are those of a large batch only then."""
        return SMALL * self.fitting.opened.recipe.training.accumulate

    def timed(self, steps: int, most_s: float) -> Timed:
        """Make up to so many real steps, batches included, within about `most_s` seconds."""
        machine, taken = self.machine, []
        accelerator = machine.step.accelerator
        batches = self.fitting.balanced.feed.batches(machine.batch_size, machine.device)
        accelerator.empty_cache()
        accelerator.reset_peak()
        begun = before = time.perf_counter()
        for batch in itertools.islice(batches, steps + 2):
            machine.make_step(batch, TRIED_RATE, self.seed, 1)
            accelerator.synchronize()
            now = time.perf_counter()
            taken.append(now - before)
            before = now
            if len(taken) > 3 and now - begun > most_s:
                break
        # The first ones make what later ones find.
        return Timed(float(np.median(taken[2:] or taken)), accelerator.peak_bytes())

    def state_bytes(self) -> int:
        """What stays between steps: the weights, their gradients, what the optimizer keeps."""
        gradients = (weight for weight in self.machine.model.parameters() if weight.requires_grad)
        return sum(tensor.nbytes for tensor in (*self._held(), *gradients))

    def checkpoint_bytes(self) -> int:
        """Of a model on the host: the copy that a checkpoint is written from, and its largest file once more."""
        if self.machine.device.type != "cpu":
            return 0
        kept: int = sum(tensor.nbytes for tensor in self._held())
        return kept + max(self.weight_bytes, kept - self.weight_bytes)

    @property
    def weight_bytes(self) -> int:
        """The model's weights and buffers. On the host they are there twice: the model that is not tried stays."""
        found: int = sum(weight.nbytes for weight in self.machine.model.state_dict().values())
        return found

    def _held(self) -> "Iterator[Tensor]":
        """What is there before a step: the weights, and what the optimizer and an average keep."""
        from danlu.artifacts.trees import split_tree

        machine = self.machine
        yield from itertools.chain(machine.model.parameters(), machine.model.buffers())
        yield from split_tree(machine.step.optimizer.state_dict())[0].values()
        if machine.average is not None:
            yield from split_tree(machine.average.state_dict())[0].values()


def trial_of(fitting: Fitting) -> Trial:
    """A trial on a copy of the model, which may be changed for it as training would."""
    from danlu.training.parallel.group import LONE

    copied = copy.deepcopy(fitting.model).train()
    machine = build_machine(replace(fitting, model=copied, together=LONE))
    machine.thawing = None  # what is trained last takes most
    return Trial(fitting, machine)


def flops_of_step(fitting: Fitting) -> float | None:
    """The model's own operations in a step, where the device's peak is known to compare them with.

    Of a model that no machine was built of yet. What is computed again to save memory does not count.
    """
    size = fitting.opened.recipe.training.batch_size
    assert isinstance(size, int)
    if fitting.accelerator.peak_flops("fp32") is None:
        return None
    return trial_of(with_training(fitting, memory=Memory())).foresee(size).flops
