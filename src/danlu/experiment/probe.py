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
from danlu.experiment.setup import TrainingSetup, create_train_state, with_training_options
from danlu.recipe.sections.training import Memory

if TYPE_CHECKING:
    from torch import Tensor

    from danlu.training.memory.footprint import Footprint
    from danlu.training.train_state import TrainState

PROBE_SAMPLES = 4  # samples per microbatch of the smaller measurement; the larger has twice as many
PROBE_LR = 1e-8  # small enough that the steps do not change memory or time


@dataclass(frozen=True)
class StepTiming:
    """Hold what timed steps took.

    Attributes:
        step_s: median seconds per step.
        peak_bytes: peak memory of the accelerator, or of the process on the host; None if unknown.
    """

    step_s: float
    peak_bytes: int | None


class TrainingProbe:
    """Run steps on a training state of its own; `build_probe` makes one."""

    def __init__(self, setup: TrainingSetup, state: "TrainState") -> None:
        self.setup, self.train_state = setup, state
        self.seed = Seed(setup.context.recipe.seed).derive("trial")

    def run_step(self, batch_size: int, rate: float = PROBE_LR) -> float:
        """Make a step on `batch_size` training samples and return its loss."""
        loader = self.setup.balanced.loader
        rows = np.resize(loader.order(0), batch_size)
        batch = loader.take(rows, 0, self.train_state.device)
        return float(self.train_state.make_step(batch, rate, self.seed, 1))

    def measure_footprint(self, batch_size: int) -> "Footprint":
        """Measure memory and operations of a real step on `batch_size` samples."""
        from danlu.training.memory.footprint import measure_footprint

        return measure_footprint(self.run_step, self._persistent_tensors, batch_size)

    def predict_footprint(self, batch_size: int) -> "Footprint":
        """Extrapolate memory and operations of a step from two small ones.

        Where that fails, measure a real step.
        """
        from danlu.training.memory.footprint import extrapolate_footprint

        if batch_size > 2 * self._min_batch_size:
            found = extrapolate_footprint(*self.small_footprints, batch_size)
            if found is not None:
                return found
        return self.measure_footprint(batch_size)

    @cached_property
    def small_footprints(self) -> "tuple[Footprint, Footprint]":
        """Measurements of two small batches, from which larger ones are extrapolated."""
        return self.measure_footprint(self._min_batch_size), self.measure_footprint(2 * self._min_batch_size)

    @property
    def _min_batch_size(self) -> int:
        """Number of samples that gives every microbatch some.

        Only then the operations are those of a large batch.
        """
        return PROBE_SAMPLES * self.setup.context.recipe.training.accumulate

    def time_steps(self, steps: int, max_s: float) -> StepTiming:
        """Time up to `steps` real steps, loading included, within about `max_s` seconds."""
        state, taken = self.train_state, []
        accelerator = state.step.accelerator
        batches = self.setup.balanced.loader.batches(state.batch_size, state.device)
        accelerator.empty_cache()
        accelerator.reset_peak()
        begun = before = time.perf_counter()
        for batch in itertools.islice(batches, steps + 2):
            state.make_step(batch, PROBE_LR, self.seed, 1)
            accelerator.synchronize()
            now = time.perf_counter()
            taken.append(now - before)
            before = now
            if len(taken) > 3 and now - begun > max_s:
                break
        # The first steps fill caches and allocate memory.
        return StepTiming(float(np.median(taken[2:] or taken)), accelerator.peak_bytes())

    def state_bytes(self) -> int:
        """Return the bytes that stay between steps: weights, gradients, optimizer state."""
        gradients = (weight for weight in self.train_state.model.parameters() if weight.requires_grad)
        return sum(tensor.nbytes for tensor in (*self._persistent_tensors(), *gradients))

    def checkpoint_bytes(self) -> int:
        """Return the extra host memory that writing a checkpoint takes; 0 on an accelerator.

        That is the copy that it is written from, and its largest file once more.
        """
        if self.train_state.device.type != "cpu":
            return 0
        kept: int = sum(tensor.nbytes for tensor in self._persistent_tensors())
        return kept + max(self.weight_bytes, kept - self.weight_bytes)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights and buffers.

        On the host they exist twice while probing, since the original model stays.
        """
        found: int = sum(weight.nbytes for weight in self.train_state.model.state_dict().values())
        return found

    def _persistent_tensors(self) -> "Iterator[Tensor]":
        """Yield the tensors that exist before a step: weights, optimizer state, weight average."""
        from danlu.artifacts.state_dict_io import flatten_state

        state = self.train_state
        yield from itertools.chain(state.model.parameters(), state.model.buffers())
        yield from flatten_state(state.step.optimizer.state_dict())[0].values()
        if state.average is not None:
            yield from flatten_state(state.average.state_dict())[0].values()


def build_probe(setup: TrainingSetup) -> TrainingProbe:
    """Build a probe on a copy of the model; the original stays unchanged."""
    from danlu.training.distributed.parallel_context import SINGLE_PROCESS_CONTEXT

    copied = copy.deepcopy(setup.model).train()
    state = create_train_state(replace(setup, model=copied, parallel=SINGLE_PROCESS_CONTEXT))
    state.unfreezing = None  # the fully unfrozen model needs the most memory
    return TrainingProbe(setup, state)


def flops_per_step(setup: TrainingSetup) -> float | None:
    """Return the model's FLOPs per step, or None if the device's peak FLOPs are unknown.

    Call it before a training state is built from the model. Activations recomputed to save memory do not count.
    """
    size = setup.context.recipe.training.batch_size
    assert isinstance(size, int)
    if setup.accelerator.peak_flops("fp32") is None:
        return None
    if not setup.parallel.is_sharded:
        return build_probe(with_training_options(setup, memory=Memory())).predict_footprint(size).flops
    return count_flops_on_host(setup, size) if setup.groups.is_main else None


def count_flops_on_host(setup: TrainingSetup, batch_size: int) -> float:
    """Estimate the FLOPs per step for a model that no device holds whole.

    Three times the forward pass of one sample, times the batch size: the backward pass multiplies twice as much.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    batch = setup.balanced.loader.take(np.arange(1), 0, torch.device("cpu"))
    was_training = setup.model.training
    setup.model.eval()  # batch norm cannot compute statistics of one sample
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        setup.model(**batch.inputs)
    setup.model.train(was_training)
    return float(3 * counter.get_total_flops() * batch_size)
