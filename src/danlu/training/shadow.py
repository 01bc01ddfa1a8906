"""An optimizer that steps copies of the weights: fp32 ones of bf16 weights, ones on the host, or local shards.

In: groups of the model's weights and an optimizer factory. Out: an optimizer to the loop.
"""

from collections.abc import Iterator
from typing import Any

from danlu.training.several import Build, Several, Unit
from danlu.training.slots import After, Keep, Slot, slot_of

# Entries whose temporary copies are made at the same time: 64 MiB in fp32.
WEIGHTS_AT_ONCE = 1 << 24


class ShadowOptimizer(Several):
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
        build: Build,
        keep: Keep,
        after: After | None = None,
        at_once: int = WEIGHTS_AT_ONCE,
    ) -> None:
        slots = [[slot_of(weight, keep) for weight in group["params"]] for group in groups]
        options = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        units = [
            Unit([(few, options[index]) for index, few in some], build, after)
            for some in _buckets(slots, None if keep in ("host", "held") else at_once)
        ]
        order = [(index, slot.weight) for index, some in enumerate(slots) for slot in some]
        super().__init__(units, order)


def _buckets(slots: list[list[Slot]], at_once: int | None) -> Iterator[list[tuple[int, list[Slot]]]]:
    """Split the groups' storages into buckets of limited size, each with its group's index.

    Without a limit there is a single bucket.
    """
    run: list[tuple[int, list[Slot]]] = []
    held = 0
    for index, some in enumerate(slots):
        for slot in some:
            size = slot.weight.numel()
            if run and at_once is not None and held + size > at_once:
                yield run
                run, held = [], 0
            if not run or run[-1][0] != index:
                run.append((index, []))
            run[-1][1].append(slot)
            held += size
    if run:
        yield run
