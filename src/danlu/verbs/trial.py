"""A training probe: a few real steps on a copy of the model, to measure memory, time and learning rates."""

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

SMALL = 4  # samples per microbatch of the smaller measurement; the larger has twice as many
TRIED_RATE = 1e-8  # small enough that the steps do not change memory or time


@dataclass(frozen=True)
class Timed:
    """Hold what timed steps took.

    Attributes:
        step_s: median seconds per step.
        peak_bytes: peak memory of the accelerator, or of the process on the host; None if unknown.
    """

    step_s: float
    peak_bytes: int | None


class Trial:
    """Run steps on a training state of its own; `build_probe` makes one."""

    def __init__(self, fitting: Fitting, machine: "Machine") -> None:
        self.fitting, self.machine = fitting, machine
        self.seed = Seed(fitting.opened.recipe.seed).derive("trial")

    def step(self, batch_size: int, rate: float = TRIED_RATE) -> float:
        """Make a step on `batch_size` training samples and return its loss."""
        feed = self.fitting.balanced.feed
        rows = np.resize(feed.order(0), batch_size)
        batch = feed.take(rows, 0, self.machine.device)
        return float(self.machine.make_step(batch, rate, self.seed, 1))

    def footprint(self, batch_size: int) -> "Footprint":
        """Measure memory and operations of a real step on `batch_size` samples."""
        from danlu.training.footprint import measure

        return measure(self.step, self._held, batch_size)

    def foresee(self, batch_size: int) -> "Footprint":
        """Extrapolate memory and operations of a step from two small ones.

        Where that fails, measure a real step.
        """
        from danlu.training.footprint import foresee

        if batch_size > 2 * self._smallest:
            found = foresee(*self.small, batch_size)
            if found is not None:
                return found
        return self.footprint(batch_size)

    @cached_property
    def small(self) -> "tuple[Footprint, Footprint]":
        """Measurements of two small batches, from which larger ones are extrapolated."""
        return self.footprint(self._smallest), self.footprint(2 * self._smallest)

    @property
    def _smallest(self) -> int:
        """Number of samples that gives every microbatch some.

        Only then the operations are those of a large batch.
        """
        return SMALL * self.fitting.opened.recipe.training.accumulate

    def timed(self, steps: int, most_s: float) -> Timed:
        """Time up to `steps` real steps, loading included, within about `max_s` seconds."""
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
        # The first steps fill caches and allocate memory.
        return Timed(float(np.median(taken[2:] or taken)), accelerator.peak_bytes())

    def state_bytes(self) -> int:
        """Return the bytes that stay between steps: weights, gradients, optimizer state."""
        gradients = (weight for weight in self.machine.model.parameters() if weight.requires_grad)
        return sum(tensor.nbytes for tensor in (*self._held(), *gradients))

    def checkpoint_bytes(self) -> int:
        """Return the extra host memory that writing a checkpoint takes; 0 on an accelerator.

        That is the copy that it is written from, and its largest file once more.
        """
        if self.machine.device.type != "cpu":
            return 0
        kept: int = sum(tensor.nbytes for tensor in self._held())
        return kept + max(self.weight_bytes, kept - self.weight_bytes)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights and buffers.

        On the host they exist twice while probing, since the original model stays.
        """
        found: int = sum(weight.nbytes for weight in self.machine.model.state_dict().values())
        return found

    def _held(self) -> "Iterator[Tensor]":
        """Yield the tensors that exist before a step: weights, optimizer state, weight average."""
        from danlu.artifacts.trees import split_tree

        machine = self.machine
        yield from itertools.chain(machine.model.parameters(), machine.model.buffers())
        yield from split_tree(machine.step.optimizer.state_dict())[0].values()
        if machine.average is not None:
            yield from split_tree(machine.average.state_dict())[0].values()


def trial_of(fitting: Fitting) -> Trial:
    """Build a probe on a copy of the model; the original stays unchanged."""
    from danlu.training.parallel.group import LONE

    copied = copy.deepcopy(fitting.model).train()
    machine = build_machine(replace(fitting, model=copied, together=LONE))
    machine.thawing = None  # the fully unfrozen model needs the most memory
    return Trial(fitting, machine)


def flops_of_step(fitting: Fitting) -> float | None:
    """Return the model's FLOPs per step, or None if the device's peak FLOPs are unknown.

    Call it before a training state is built from the model. Activations recomputed to save memory do not count.
    """
    size = fitting.opened.recipe.training.batch_size
    assert isinstance(size, int)
    if fitting.accelerator.peak_flops("fp32") is None:
        return None
    if not fitting.together.splits_weights:
        return trial_of(with_training(fitting, memory=Memory())).foresee(size).flops
    return flops_on_host(fitting, size) if fitting.team.is_main else None


def flops_on_host(fitting: Fitting, batch_size: int) -> float:
    """Estimate the FLOPs per step for a model that no device holds whole.

    Three times the forward pass of one sample, times the batch size: the backward pass multiplies twice as much.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    batch = fitting.balanced.feed.take(np.arange(1), 0, torch.device("cpu"))
    was_training = fitting.model.training
    fitting.model.eval()  # batch norm cannot compute statistics of one sample
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        fitting.model(**batch.inputs)
    fitting.model.train(was_training)
    return float(3 * counter.get_total_flops() * batch_size)
