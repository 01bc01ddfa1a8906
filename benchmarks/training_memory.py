"""What each memory option costs in time and saves in memory, on the small GPT."""

import copy
import itertools
import statistics
import time
from dataclasses import replace
from typing import Any

from training_cases import Case

from danlu.core.seeds import Seed
from danlu.data.loader import Batch
from danlu.errors import RecipeError
from danlu.experiment.probe import build_probe
from danlu.experiment.setup import TrainingSetup, create_train_state
from danlu.recipe.load import check_recipe
from danlu.training.train_state import TrainState

PLAIN = "plain"
STEPS = 4
OPTIONS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "accumulate: 2": {"accumulate": 2},
    "accumulate: 4": {"accumulate": 4},
    "memory.checkpointing: selective": {"memory": {"checkpointing": "selective"}},
    "memory.checkpointing: 2": {"memory": {"checkpointing": 2}},
    "memory.checkpointing: full": {"memory": {"checkpointing": "full"}},
    "memory.loss_chunk: 256": {"memory": {"loss_chunk": 256}},
    "memory.optimizer_in_backward (no clipping)": {"memory": {"optimizer_in_backward": True}, "clip_norm": None},
    "memory.offload_activations": {"memory": {"offload_activations": True}},
    "memory.offload_optimizer": {"memory": {"offload_optimizer": True}},
    "precision: bf16": {"precision": "bf16"},
    "precision: bf16-master": {"precision": "bf16-master"},
    "precision: bf16-stochastic": {"precision": "bf16-stochastic"},
    "optimizer: adamw-8bit": {"optimizer": {"name": "adamw-8bit", "lr": 1e-3}},
    "full, loss_chunk 256, accumulate 4": {
        "memory": {"checkpointing": "full", "loss_chunk": 256},
        "accumulate": 4,
    },
}


def with_options(fitting: TrainingSetup, options: dict[str, Any]) -> TrainingSetup:
    """The same fitting with some training options changed."""
    values = fitting.context.recipe.model_dump(mode="json")
    memory = {**values["training"]["memory"], **options.get("memory", {})}
    values["training"] |= {**options, "memory": memory}
    recipe = check_recipe(values)
    changed = fitting.context.recipe.model_copy(update={"training": recipe.training})
    return replace(fitting, context=replace(fitting.context, recipe=changed), model=copy.deepcopy(fitting.model))


def seconds(machine: TrainState, batches: list[Batch]) -> float:
    """CPU seconds a step."""
    machine.model.train()
    began = time.process_time()
    for step, batch in enumerate(batches, 1):
        machine.make_step(batch, 1e-4, Seed(step), step)
    return (time.process_time() - began) / len(batches)


def compare_memory(case: Case, rounds: int) -> None:
    """Print time and peak of a step with each option beside those of a plain one."""
    feed, size = case.fitting.balanced.loader, case.batch_size
    fittings, refused = {}, {}
    for name, options in OPTIONS.items():
        try:
            fittings[name] = with_options(case.fitting, options)
        except RecipeError as error:
            refused[name] = error.problems[0].message
    peaks = {name: build_probe(fitting).measure_footprint(size).peak_bytes for name, fitting in fittings.items()}
    machines = {name: create_train_state(fitting) for name, fitting in fittings.items()}
    batches = list(itertools.islice(feed.batches(size, machines[PLAIN].device), STEPS))
    taken: dict[str, list[float]] = {name: [] for name in machines}
    for turn in range(rounds + 1):
        for name, machine in machines.items():
            found = seconds(machine, batches)
            if turn:  # the first turn warms up
                taken[name].append(found)
    print(f"\n{case.title}; weights, gradients, optimizer and activations; median of {rounds} rounds of {STEPS} steps")
    print(f"{'training.':<46}{'ms/step':>9}{'time':>8}{'peak MB':>10}{'memory':>9}")
    for name in OPTIONS:
        if name in refused:
            print(f"{name:<46}refused: {refused[name]}")
            continue
        time_ratio = statistics.median(a / b for a, b in zip(taken[name], taken[PLAIN], strict=True))
        print(
            f"{name:<46}{1e3 * statistics.median(taken[name]):>9.1f}{time_ratio:>7.2f}x"
            f"{peaks[name] / 1e6:>10.1f}{peaks[name] / peaks[PLAIN]:>8.2f}x",
            flush=True,
        )
