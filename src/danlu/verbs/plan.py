"""`danlu plan`: the memory, arithmetic and time of a training before it is paid for, and what would fit if it does not.

Some steps are made for real at a small size and counted; a step of the whole batch is foreseen from them, and timed
where it fits. Nothing is written.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from danlu.core.errors import ArgumentError, RecipeError
from danlu.models.base import FitsItself
from danlu.recipe.load import as_recipe, check_recipe
from danlu.recipe.schema import Recipe
from danlu.verbs.capacity import crowded
from danlu.verbs.fitting import Fitting, begin, with_training
from danlu.verbs.prepare import open_data
from danlu.verbs.settle import MEMORY_SHARE, largest_batch, some_rate
from danlu.verbs.trial import Timed, trial_of

TIMED_STEPS, TIMED_S = 20, 10.0
# What lowers the memory, in the order of what it costs in time.
CURES: tuple[tuple[str, dict[str, Any]], ...] = (
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
class Prediction:
    """What a training will take.

    Attributes:
        device: that it would run on.
        parameters: of the model.
        state_bytes: the weights, their gradients and what the optimizer keeps.
        peak_bytes: the most memory that training takes: of an accelerator its tensors, on the host the process;
            where it does not fit, of its tensors alone.
        free_bytes: memory that may be used, None where it cannot be asked.
        fits: whether it does, with what allocators waste.
        steps: optimizer steps in all, if early stopping does not end them.
        flops: operations a step, of matrix products and convolutions; forward and backward.
        step_seconds: measured here over some steps; None where it does not fit.
        seconds: of all steps and validations together; None where it does not fit.
        cures: settings that would fit, each with its peak.
        warning: where the model is far too large for the data; None where it is not.
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


def plan(recipe: Recipe | Mapping[str, Any] | str | Path, memory_bytes: int | None = None) -> Prediction:
    """Foresee what training a recipe takes on this machine.

    Args:
        recipe: a Recipe, plain values, a file or a built-in's name.
        memory_bytes: plan for a device with so much memory in place of what is free here.

    Raises:
        RecipeError, DataError, MissingExtra: as training would.
        ArgumentError: the model is trained in no steps.
    """
    opened = open_data(as_recipe(recipe))
    if isinstance(opened.model, FitsItself):
        raise ArgumentError(
            f"model.name: {opened.model.name} fits itself, in no steps that could be counted and timed; its training "
            "shows how far it is and ends early, and a plan is of networks"
        )
    fitting = begin(opened)
    accelerator = fitting.accelerator
    fitting = with_training(fitting, optimizer=some_rate(fitting))
    if fitting.opened.recipe.training.batch_size == "auto":
        fitting = with_training(fitting, batch_size=largest_batch(fitting))
    free = memory_bytes or accelerator.free_bytes()
    size = fitting.opened.recipe.training.batch_size
    assert isinstance(size, int)
    trial = trial_of(fitting)
    needed, state = trial.foresee(size), trial.state_bytes()
    fits = free is None or needed.peak_bytes <= MEMORY_SHARE * free
    timed = trial.timed(TIMED_STEPS, TIMED_S) if fits else Timed(math.nan, None)
    on_host = accelerator.torch_device.type == "cpu"
    peak = needed.peak_bytes + trial.checkpoint_bytes()
    if timed.peak_bytes is not None:
        untried = trial.weight_bytes if on_host else 0
        peak = timed.peak_bytes - untried + trial.checkpoint_bytes()
    del trial
    steps = fitting.plan
    # A forward pass alone is about a third of a step, whose backward pass multiplies twice as much.
    validation = -(-len(fitting.validation or ()) // size) / 3
    passes = steps.steps + -(-steps.steps // steps.validate_every) * validation
    return Prediction(
        device=accelerator.name,
        parameters=sum(parameter.numel() for parameter in fitting.model.parameters()),
        batch_size=size,
        state_bytes=state,
        peak_bytes=peak,
        free_bytes=free,
        fits=fits,
        steps=steps.steps,
        flops=needed.flops,
        step_seconds=timed.step_s if fits else None,
        seconds=passes * timed.step_s if fits else None,
        cures={} if fits or free is None else _cures(fitting, size, MEMORY_SHARE * free),
        warning=crowded(fitting),
    )


def _cures(fitting: Fitting, size: int, room: float) -> dict[str, int]:
    """The settings of CURES that would fit, each with its peak."""
    found: dict[str, int] = {}
    for words, changes in CURES:
        try:
            changed = _changed(fitting, changes)
        except RecipeError:  # contradicts what the recipe says besides
            continue
        peak = trial_of(changed).foresee(size).peak_bytes
        if peak <= room:
            found[words] = peak
    return found


def _changed(fitting: Fitting, changes: dict[str, Any]) -> Fitting:
    """The same with other training options, checked as if the user had written them."""
    values = fitting.opened.recipe.model_dump(mode="json", by_alias=True)
    memory = {**values["training"]["memory"], **changes.get("memory", {})}
    values["training"] |= {**changes, "memory": memory}
    recipe = check_recipe(values)
    return replace(fitting, opened=replace(fitting.opened, recipe=recipe))
