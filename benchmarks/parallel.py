"""What training by several processes costs on one machine: danlu beside torch's own loops, and beside one process.

    OMP_NUM_THREADS=1 python benchmarks/parallel.py                    # all sections
    OMP_NUM_THREADS=1 python benchmarks/parallel.py scaling --rounds 5 # overhead, splitting, scaling or memory

Processes speak through gloo and have one thread and, where there are as many, one core each. All train a small llama on
the same batches of a built-in corpus. In each round every way makes as many steps, in turns and in the same processes;
the median round counts, and the slowest process. Seconds are those of the clock and of the processor: the former want a
quiet machine.
"""

import argparse
import copy
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from danlu.core.distributed.process_groups import ProcessGroups
from danlu.core.distributed.shards import to_local
from danlu.core.seeds import Seed
from danlu.experiment.data_context import load_data
from danlu.experiment.prepare import prepare_training
from danlu.experiment.setup import TrainingSetup, create_train_state
from danlu.recipe.load import check_recipe
from danlu.tasks.loss_weighting import LossWeighting
from danlu.training.optimizer_state import named_state_dict

if TYPE_CHECKING:
    from torch import nn

    from danlu.data.loader import Batch
    from danlu.training.train_state import TrainState

BATCH, STEPS, WARM = 16, 6, 2
LLAMA = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 768}
LAYOUTS: dict[str, dict[str, Any]] = {
    "data 2": {"data": 2},
    "shard 2": {"shard": 2},
    "tensor 2": {"tensor": 2},
    "pipeline 2 (1f1b)": {"pipeline": 2},
    "context 2": {"context": 2},
}
Step = Callable[["Batch"], None]


def fitting_of(layout: dict[str, Any], batch: int) -> TrainingSetup:
    """A small llama and its batches, as `danlu train` has them."""
    training = {"max_steps": 10_000, "batch_size": batch, "optimizer": {"name": "adamw", "lr": 1e-4}}
    data = {"source": "builtin:speeches-corpus", "sequence_length": 128, "vocabulary": 4000}
    recipe = {"data": data, "model": {"name": "hf:llama", "config": LLAMA}, "training": training}
    recipe["training"] = {**training, "schedule": "constant", **({"parallel": layout} if layout else {})}
    return prepare_training(load_data(check_recipe(recipe)))


def machine_of(fitting: TrainingSetup) -> "TrainState":
    """A machine that trains a copy of the model."""
    machine = create_train_state(replace(fitting, model=copy.deepcopy(fitting.model)))
    machine.model.train()
    return machine


def step_of(machine: "TrainState", seed: Seed) -> Step:
    """danlu's step."""
    made = 0

    def step(batch: "Batch") -> None:
        nonlocal made
        made += 1
        machine.make_step(batch, 1e-4, seed.derive("step", made), made)

    return step


def by_hand(fitting: TrainingSetup) -> Step:
    """A loop as torch's tutorials write it: DDP, or FSDP2 block by block, fused AdamW, clipping."""
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    head, model = fitting.context.dataset.task.head(None), copy.deepcopy(fitting.model).train()
    called: nn.Module = model
    if fitting.parallel.layout.shard > 1:
        mesh = fitting.parallel.submesh("shard")
        for block in model.network.model.layers:  # type: ignore[union-attr]
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    else:
        called = DistributedDataParallel(model, gradient_as_bucket_view=True)
    sharded = fitting.parallel.layout.shard > 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=not sharded)

    def step(batch: "Batch") -> None:
        optimizer.zero_grad(set_to_none=True)
        total, count = head.loss(called(**batch.inputs), batch.target, LossWeighting())
        (total / count).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


@dataclass(frozen=True)
class Taken:
    """Seconds a step of one process in one round."""

    wall_s: float
    cpu_s: float


def timed(step: Step, batches: list["Batch"], team: ProcessGroups) -> Taken:
    team.barrier()
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        step(batch)
    team.barrier()
    return Taken((time.perf_counter() - wall) / len(batches), (time.process_time() - cpu) / len(batches))


def work(layout: dict[str, Any], batch: int, rounds: int, peers: bool) -> dict[str, Any]:
    """In one of several processes: seconds of each way in each round, and bytes that this process holds."""
    fitting = fitting_of(layout, batch)
    feed = fitting.balanced.loader.batches(batch, fitting.accelerator.torch_device, groups=fitting.groups)
    batches = [next(feed) for _ in range(STEPS)]
    ways = {"danlu": step_of(machine_of(fitting), fitting.seed), **({"by hand": by_hand(fitting)} if peers else {})}
    for step in ways.values():
        timed(step, batches[:WARM], fitting.groups)
    found: dict[str, list[Taken]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, step in ways.items():
            found[name].append(timed(step, batches, fitting.groups))
    return {
        "ways": {name: [vars(taken) for taken in all_taken] for name, all_taken in found.items()},
        "bytes": bytes_held(fitting),
        "whole": sum(weight.numel() for weight in fitting.model.parameters()),
    }


def bytes_held(fitting: TrainingSetup) -> int:
    """What a process holds of weights, gradients and the optimizer's state after a step."""
    machine = machine_of(fitting)
    batch = next(fitting.balanced.loader.batches(machine.batch_size, machine.device, groups=fitting.groups))
    machine.make_step(batch, 1e-4, fitting.seed, 1)
    weights = list(machine.model.parameters())
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    state = named_state_dict(machine.step.optimizer, machine.model)["state"]
    moments = [value for values in state.values() for value in values.values() if isinstance(value, torch.Tensor)]
    return sum(to_local(value).nbytes for value in (*weights, *gradients, *moments))


def together(processes: int, script: str, arguments: Sequence[object]) -> list[dict[str, Any]]:
    """What each process's `work` of a script gave, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = []
    for rank in range(processes):
        own = {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank)}
        if processes == 1:
            own = {}
        command = [sys.executable, script, "--worker", json.dumps([rank, *arguments])]
        environment = {**shared, **own, "LOCAL_WORLD_SIZE": str(processes)}
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit(f"a process failed: exit codes {[process.returncode for process in running]}")
    return [json.loads(text.strip().splitlines()[-1]) for text in said]


def slowest(found: list[dict[str, Any]], way: str, what: str) -> list[float]:
    """Of each round the seconds of the slowest process."""
    return [max(values) for values in zip(*([taken[what] for taken in one["ways"][way]] for one in found), strict=True)]


def summed(found: list[dict[str, Any]], way: str) -> list[float]:
    """Of each round the processor's seconds of all processes."""
    rounds = zip(*([taken["cpu_s"] for taken in one["ways"][way]] for one in found), strict=True)
    return [sum(values) for values in rounds]


def ratio(one: list[float], other: list[float]) -> float:
    """The median over rounds of how many times as long the one took as the other."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def overhead(rounds: int) -> None:
    print(f"\ndanlu's step beside the same by hand, 2 processes, {BATCH} blocks of 128 tokens a step")
    print(f"{'':<22}{'by hand ms':>12}{'danlu ms':>10}{'wall':>9}{'CPU':>9}")
    for name in ("data 2", "shard 2"):
        found = together(2, __file__, [LAYOUTS[name], BATCH, rounds, True])
        hand, own = slowest(found, "by hand", "wall_s"), slowest(found, "danlu", "wall_s")
        cpu = ratio(summed(found, "danlu"), summed(found, "by hand"))
        times = f"{1e3 * statistics.median(hand):>12.1f}{1e3 * statistics.median(own):>10.1f}"
        print(f"{name:<22}{times}{ratio(own, hand):>8.3f}x{cpu:>8.3f}x", flush=True)


def splitting(rounds: int) -> None:
    print(f"\n2 processes beside 1, the same {BATCH} blocks a step")
    print(f"{'':<22}{'ms a step':>10}{'faster':>9}{'CPU of all':>12}")
    alone = together(1, __file__, [{}, BATCH, rounds, False])
    base = slowest(alone, "danlu", "wall_s")
    print(f"{'one process':<22}{1e3 * statistics.median(base):>10.1f}{1:>8.2f}x{1:>11.2f}x", flush=True)
    for name, layout in LAYOUTS.items():
        found = together(2, __file__, [layout, BATCH, rounds, False])
        own = slowest(found, "danlu", "wall_s")
        cpu = ratio(summed(found, "danlu"), summed(alone, "danlu"))
        print(f"{name:<22}{1e3 * statistics.median(own):>10.1f}{ratio(base, own):>8.2f}x{cpu:>11.2f}x", flush=True)


def scaling(rounds: int) -> None:
    print("\nsamples a second of 2 processes (data 2) beside twice those of 1; one thread each")
    alone = slowest(together(1, __file__, [{}, BATCH, rounds, False]), "danlu", "wall_s")
    weak = slowest(together(2, __file__, [LAYOUTS["data 2"], 2 * BATCH, rounds, False]), "danlu", "wall_s")
    strong = slowest(together(2, __file__, [LAYOUTS["data 2"], BATCH, rounds, False]), "danlu", "wall_s")
    print(f"twice the batch: {ratio(alone, weak):.3f}   the same batch: {ratio(alone, strong) / 2:.3f}", flush=True)


def memory(rounds: int) -> None:
    print(
        "\nbytes of weights, gradients and AdamW's state in a process, beside 16 a weight over the ways that split them"
    )
    print(f"{'':<22}{'foreseen MB':>12}{'held MB':>9}{'ratio':>8}")
    for name, layout in {"one process": {}, **LAYOUTS}.items():
        found = together(2 if layout else 1, __file__, [layout, BATCH, 1, False])
        ways = next((count for key, count in layout.items() if key in ("shard", "tensor", "pipeline")), 1)
        foreseen, most = 16 * found[0]["whole"] / ways, max(one["bytes"] for one in found)
        print(f"{name:<22}{foreseen / 1e6:>12.2f}{most / 1e6:>9.2f}{most / foreseen:>8.3f}", flush=True)


SECTIONS = {"overhead": overhead, "splitting": splitting, "scaling": scaling, "memory": memory}


def answer_as_worker(rank: int, work: Callable[[], dict[str, Any]]) -> NoReturn:
    """Print what a process found, on a core and a thread of its own, and end."""
    torch.set_num_threads(1)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
    print(json.dumps(work()), flush=True)
    os._exit(0)  # while Python ends, threads of gloo's abort now and then


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="all when left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        answer_as_worker(asked.worker[0], lambda: work(*asked.worker[1:]))
    print(f"torch {torch.__version__}, gloo; {STEPS} steps a round after {WARM}, median of {asked.rounds} rounds")
    for name in asked.sections or SECTIONS:
        SECTIONS[name](asked.rounds)


if __name__ == "__main__":
    main()
