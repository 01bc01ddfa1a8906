"""An optimizer that steps copies of the weights: fp32 ones of bf16 weights, ones on the host, or local shards.

In: groups of the model's weights and an optimizer factory. Out: an optimizer to the loop.
"""

from collections.abc import Iterator
from typing import Any

from danlu.training.several import OptimizerFactory, CompositeOptimizer, SubOptimizer
from danlu.training.slots import StepHook, StorageKind, ParamStorage, make_storage

# Entries whose temporary copies are made at the same time: 64 MiB in fp32.
BUCKET_NUMEL = 1 << 24


class ParamStorageOptimizer(CompositeOptimizer):
    """Step copies of the parameters.

    Args:
        groups: dicts with `params` and options, as `build` takes them.
        build: makes the optimizer of some groups.
        kind: `master` keeps fp32 copies of bf16 weights; `stochastic` makes them for the step alone, in which random
            bits come from the default generator of the device, so seed it before each step; `host` keeps fp32 copies
            and the optimizer's state in host memory; `held` makes none, and steps this process's shards.
        after_step: called with each parameter and the tensor stepped for it, to change that in place (max_norm).
        bucket_numel: number of entries whose temporary copies are in memory at the same time.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        build: OptimizerFactory,
        kind: StorageKind,
        after_step: StepHook | None = None,
        bucket_numel: int = BUCKET_NUMEL,
    ) -> None:
        slots = [[make_storage(weight, kind) for weight in group["params"]] for group in groups]
        options = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        units = [
            SubOptimizer([(few, options[index]) for index, few in some], build, after_step)
            for some in _buckets(slots, None if kind in ("host", "held") else bucket_numel)
        ]
        order = [(index, slot.weight) for index, some in enumerate(slots) for slot in some]
        super().__init__(units, order)


def _buckets(storages: list[list[ParamStorage]], bucket_numel: int | None) -> Iterator[list[tuple[int, list[ParamStorage]]]]:
    """Split the groups' storages into buckets of limited size, each with its group's index.

    Without a limit there is a single bucket.
    """
    run: list[tuple[int, list[ParamStorage]]] = []
    held = 0
    for index, some in enumerate(storages):
        for slot in some:
            size = slot.weight.numel()
            if run and bucket_numel is not None and held + size > bucket_numel:
                yield run
                run, held = [], 0
            if not run or run[-1][0] != index:
                run.append((index, []))
            run[-1][1].append(slot)
            held += size
    if run:
        yield run
