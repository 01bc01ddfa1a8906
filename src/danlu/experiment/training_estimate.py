"""Predict memory, FLOPs and time of a training, and suggest settings if it does not fit.

A few real steps with small batches are measured; the full batch is extrapolated from them, and timed if it fits.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from danlu.errors import RecipeError
from danlu.experiment.auto_settings import MEMORY_FRACTION, find_largest_batch_size, optimizer_with_default_lr
from danlu.experiment.data_context import DataContext
from danlu.experiment.model_summary import overparameterized_warning
from danlu.experiment.prepare import prepare_training
from danlu.experiment.probe import StepTiming, build_probe
from danlu.experiment.setup import TrainingSetup, with_training_options
from danlu.recipe.load import check_recipe

TIMED_STEPS, TIMED_S = 20, 10.0


# Settings that lower memory use, in the order of their cost in time.
MEMORY_SAVERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("training.memory.optimizer_in_backward=true training.clip_norm=null",
     {"memory": {"optimizer_in_backward": True}, "clip_norm": None}),
    ("training.accumulate=2", {"accumulate": 2}),
    ("training.accumulate=4", {"accumulate": 4}),
    ("training.accumulate=8", {"accumulate": 8}),
    ("training.memory.checkpointing=selective", {"memory": {"checkpointing": "selective"}}),
    ("training.memory.checkpointing=full", {"memory": {"checkpointing": "full"}}),
    ("training.memory.checkpointing=full training.accumulate=8",
     {"memory": {"checkpointing": "full"}, "accumulate": 8}),
    ("training.precision=bf16-stochastic training.memory.checkpointing=full training.accumulate=8",
     {"precision": "bf16-stochastic", "memory": {"checkpointing": "full"}, "accumulate": 8}),
)  # fmt: skip


@dataclass(frozen=True)
class TrainingEstimate:
    """Hold the predicted cost of a training.

    Attributes:
        device: the device it would run on.
        parameters: number of parameters.
        state_bytes: weights, gradients and optimizer state.
        peak_bytes: peak memory of training: tensors on an accelerator, the whole process on the host; if it does not
            fit, tensors only.
        free_bytes: available memory, None if unknown.
        fits: whether it fits, including allocator overhead.
        steps: optimizer steps in total, without early stopping.
        flops: per step, matrix products and convolutions of forward and backward.
        step_seconds: measured over a few steps; None if it does not fit.
        seconds: all steps and validations; None if it does not fit.
        cures: settings that would fit, each with its peak memory.
        warning: set if the model is far too large for the data, else None.
    """

    device: str
    parameters: int
    batch_size: int
    state_bytes: int
    peak_bytes: int
    free_bytes: int | None
    fits: bool
    steps: int
    flops: int
    step_seconds: float | None
    seconds: float | None
    cures: dict[str, int]
    warning: str | None = None


def estimate_training(context: DataContext, memory_bytes: int | None) -> TrainingEstimate:
    """Predict the cost of training on loaded data, by gradient steps.

    Args:
        context: data with its recipe.
        memory_bytes: assume a device with this much memory; None takes the free memory here.
    """
    setup = prepare_training(context)
    accelerator = setup.accelerator
    setup = with_training_options(setup, optimizer=optimizer_with_default_lr(setup))
    if setup.context.recipe.training.batch_size == "auto":
        setup = with_training_options(setup, batch_size=find_largest_batch_size(setup))
    free = memory_bytes or accelerator.free_bytes()
    size = setup.context.recipe.training.batch_size
    assert isinstance(size, int)
    probe = build_probe(setup)
    needed, state = probe.predict_footprint(size), probe.state_bytes()
    fits = free is None or needed.peak_bytes <= MEMORY_FRACTION * free
    timed = probe.time_steps(TIMED_STEPS, TIMED_S) if fits else StepTiming(math.nan, None)
    on_host = accelerator.torch_device.type == "cpu"
    peak = needed.peak_bytes + probe.checkpoint_bytes()
    if timed.peak_bytes is not None:
        untried = probe.weight_bytes if on_host else 0
        peak = timed.peak_bytes - untried + probe.checkpoint_bytes()
    del probe
    steps = setup.plan
    # A forward pass is about a third of a step; the backward pass has twice its FLOPs.
    validation = -(-len(setup.validation or ()) // size) / 3
    passes = steps.steps + -(-steps.steps // steps.validate_every) * validation
    return TrainingEstimate(
        device=accelerator.name,
        parameters=sum(parameter.numel() for parameter in setup.model.parameters()),
        batch_size=size,
        state_bytes=state,
        peak_bytes=peak,
        free_bytes=free,
        fits=fits,
        steps=steps.steps,
        flops=needed.flops,
        step_seconds=timed.step_s if fits else None,
        seconds=passes * timed.step_s if fits else None,
        cures={} if fits or free is None else _find_cures(setup, size, MEMORY_FRACTION * free),
        warning=overparameterized_warning(setup),
    )


def _find_cures(setup: TrainingSetup, size: int, room: float) -> dict[str, int]:
    """Return the entries of `MEMORY_SAVERS` that would fit, each with its peak memory."""
    found: dict[str, int] = {}
    for words, changes in MEMORY_SAVERS:
        try:
            changed = _with_options(setup, changes)
        except RecipeError:  # contradicts another key of the recipe
            continue
        peak = build_probe(changed).predict_footprint(size).peak_bytes
        if peak <= room:
            found[words] = peak
    return found


def _with_options(setup: TrainingSetup, changes: dict[str, Any]) -> TrainingSetup:
    """Replace training options and validate the recipe again."""
    values = setup.context.recipe.model_dump(mode="json", by_alias=True)
    memory = {**values["training"]["memory"], **changes.get("memory", {})}
    values["training"] |= {**changes, "memory": memory}
    recipe = check_recipe(values)
    return replace(setup, context=replace(setup.context, recipe=recipe))
