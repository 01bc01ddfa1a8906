"""The formulae of `danlu plan --estimate` beside what one to four processes send one another and keep.

    OMP_NUM_THREADS=1 python benchmarks/paper.py              # both sections
    OMP_NUM_THREADS=1 python benchmarks/paper.py messages     # messages or activations
    unshare --net bash -c 'ip link set lo up && OMP_NUM_THREADS=1 python benchmarks/paper.py'   # nobody else's bytes

Messages are counted by the loopback device that they go through, headers and all, so whatever else speaks over it at
the time is counted too; in a network namespace of its own nothing does. gloo scatters by an all-reduce, which sends
twice what a ring like NCCL's does; the second column has that, and is what the ratio is to. Activations are what
autograd keeps for the backward pass: the most at any moment of a step, each storage once, weights left out.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import parallel
import torch

from danlu.core.distributed.shards import to_local
from danlu.training.distributed.communication import comm_volume, ring_fraction
from danlu.training.distributed.layout import Layout
from danlu.training.distributed.memory_estimate import (
    PRECISION_BYTES,
    DecoderShape,
    StepBatch,
    estimate_memory,
    stage_parameters,
)

STEPS = 4
SEQUENCE, VOCABULARY = 128, 4000
LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "data 2": (2, {"data": 2}),
    "data 4": (4, {"data": 4}),
    "shard 2": (2, {"shard": 2}),
    "shard 4": (4, {"shard": 4}),
    "data 2, shard 2": (4, {"data": 2, "shard": 2}),
    "tensor 2": (2, {"tensor": 2}),
    "tensor 2, tokens whole": (2, {"tensor": 2, "sequence": False}),
    "tensor 4": (4, {"tensor": 4}),
    "pipeline 2": (2, {"pipeline": 2}),
    "pipeline 4": (4, {"pipeline": 4}),
    "context 2": (2, {"context": 2}),
    "shard 2, tensor 2": (4, {"shard": 2, "tensor": 2}),
    "pipeline 2, tensor 2": (4, {"pipeline": 2, "tensor": 2}),
}
DIRECTIONS = ("data", "shard", "tensor", "pipeline", "context")


def work(layout: dict[str, Any], batch: int) -> dict[str, Any]:
    """In one of several processes: bytes through the loopback device a step, and the most that autograd keeps."""
    fitting = parallel.fitting_of(layout, batch)
    feed = fitting.balanced.loader.batches(batch, fitting.accelerator.torch_device, groups=fitting.groups)
    machine = parallel.machine_of(fitting)
    step = parallel.step_of(machine, fitting.seed)
    for _ in range(parallel.WARM):
        step(next(feed))
    batches = [next(feed) for _ in range(STEPS)]
    fitting.groups.barrier()
    before = through_loopback()
    for one in batches:
        step(one)
    fitting.groups.barrier()
    sent = through_loopback() - before
    weights = {to_local(weight).untyped_storage().data_ptr() for weight in machine.model.parameters()}
    with kept_for_backward(weights) as kept:
        step(batches[0])
    return {"sent": sent / STEPS, "kept": kept.most}


def through_loopback() -> int:
    """Bytes that the loopback device has carried."""
    lines = Path("/proc/self/net/dev").read_text(encoding="ascii").splitlines()
    return next(int(line.split(":")[1].split()[8]) for line in lines if line.strip().startswith("lo:"))


class Kept:
    """Storages that autograd keeps; `most` bytes at any moment."""

    def __init__(self) -> None:
        self.users: dict[int, int] = {}
        self.now = self.most = 0

    def add(self, value: torch.Tensor) -> "Saved":
        storage = value.untyped_storage()
        pointer, size = storage.data_ptr(), storage.nbytes()
        if not self.users.get(pointer):
            self.now += size
            self.most = max(self.most, self.now)
        self.users[pointer] = self.users.get(pointer, 0) + 1
        return Saved(self, pointer, size)

    def drop(self, pointer: int, size: int) -> None:
        self.users[pointer] -= 1
        if not self.users[pointer]:
            self.now -= size


class Saved:
    """One tensor that is kept."""

    def __init__(self, kept: Kept, pointer: int, size: int) -> None:
        self.kept, self.pointer, self.size = kept, pointer, size
        self.tensor: torch.Tensor | None = None

    def __del__(self) -> None:
        self.kept.drop(self.pointer, self.size)


@contextmanager
def kept_for_backward(weights: set[int]) -> Iterator[Kept]:
    kept = Kept()

    def pack(tensor: torch.Tensor) -> object:
        if isinstance(tensor, torch.nn.Parameter) or isinstance(tensor._base, torch.nn.Parameter):
            return tensor
        value = to_local(tensor)
        if value.untyped_storage().nbytes() == 0 or value.untyped_storage().data_ptr() in weights:
            return tensor
        saved = kept.add(value)
        saved.tensor = tensor
        return saved

    def unpack(packed: object) -> torch.Tensor:
        found = packed.tensor if isinstance(packed, Saved) else packed
        assert isinstance(found, torch.Tensor)
        return found

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield kept


def on_paper(options: dict[str, Any]) -> tuple[DecoderShape, Layout, StepBatch, bool]:
    """The benchmark's llama, layout and batch as the formulae take them."""
    ways = {name: options[name] for name in DIRECTIONS if name in options}
    layout = Layout(**ways)
    config = parallel.LLAMA
    model = DecoderShape(
        config["num_hidden_layers"], config["hidden_size"], config["num_attention_heads"],
        config["num_attention_heads"], config["intermediate_size"], VOCABULARY, SEQUENCE,
    )  # fmt: skip
    microbatches = 2 * layout.pipeline if layout.pipeline > 1 else 1
    own = parallel.BATCH // layout.dp_size
    return model, layout, StepBatch(own // microbatches, microbatches), options.get("sequence", True)


def messages() -> None:
    print(f"\nMB that a process sends in a step (mean of all), {parallel.BATCH} blocks of {SEQUENCE} tokens, fp32")
    print(f"{'':<24}{'foreseen':>10}{'by gloo':>10}{'sent':>10}{'ratio':>8}")
    for name, (processes, options) in LAYOUTS.items():
        model, layout, batch, sequence = on_paper(options)
        each = comm_volume(model, layout, batch, PRECISION_BYTES["fp32"], sequence_parallel=sequence)
        # The formula is a middle stage's, which has neighbours on both sides; the first and the last have one.
        foreseen = each.total - each.pipeline / layout.pipeline
        weights = stage_parameters(model, layout, 0)
        by_gloo = (
            foreseen
            + ring_fraction(layout.shard) * weights * 4
            + each.context / 2
            + (each.tensor / 2 if sequence else 0)
        )
        found = parallel.together(processes, __file__, [options, parallel.BATCH])
        sent = max(one["sent"] for one in found) / processes
        figures = f"{foreseen / 1e6:>10.2f}{by_gloo / 1e6:>10.2f}{sent / 1e6:>10.2f}"
        print(f"{name:<24}{figures}{sent / by_gloo:>8.3f}", flush=True)


def activations() -> None:
    print("\nMB that autograd keeps in the process that keeps most, logits and what the loss keeps included")
    print(f"{'':<24}{'foreseen':>10}{'kept':>10}{'ratio':>8}")
    for name, (processes, options) in {"one process": (1, {}), **LAYOUTS}.items():
        model, layout, batch, sequence = on_paper(options)
        needed = estimate_memory(model, layout, batch, PRECISION_BYTES["fp32"], sequence_parallel=sequence)
        found = parallel.together(processes, __file__, [options, parallel.BATCH])
        kept, foreseen = max(one["kept"] for one in found), needed.activations + needed.logits / 2
        print(f"{name:<24}{foreseen / 1e6:>10.2f}{kept / 1e6:>10.2f}{kept / foreseen:>8.3f}", flush=True)


SECTIONS = {"messages": messages, "activations": activations}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="both when left out")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        parallel.answer_as_worker(asked.worker[0], lambda: work(*asked.worker[1:]))
    for name in asked.sections or SECTIONS:
        SECTIONS[name]()


if __name__ == "__main__":
    main()
