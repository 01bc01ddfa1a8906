"""Optimizers made of several optimizers, each stepping some of the parameters through `ParamStorage`.

The groups that a loop sees hold the model's parameters; what it writes into them (`lr` above all) reaches the inner
optimizers at their next step. A state dict has torch's own form, so a checkpoint need not know how it was stepped.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from danlu.training.param_storage import CPUOffload, GradHook, ParamStorage, StepHook, StorageKind, make_storage

# Groups of parameters, each with `params` and options -> the optimizer that steps them.
OptimizerFactory = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
EXTRA_STATE = "shadow"  # key of a storage's extra state in its parameter's state; stored in checkpoints


class SubOptimizer:
    """Step some parameters with one optimizer.

    Args:
        groups: the storages with the options of their group.
        build: makes the optimizer.
        after_step: changes the stepped values before they become the model's.
    """

    def __init__(
        self,
        groups: list[tuple[list[ParamStorage], dict[str, Any]]],
        build: OptimizerFactory,
        after_step: StepHook | None,
    ) -> None:
        self.storages = {id(slot.optim_param): slot for slots, _ in groups for slot in slots}
        self.after_step = after_step
        self.optimizer = build(
            [{**options, "params": [slot.optim_param for slot in slots]} for slots, options in groups]
        )
        self.sync_device = next(
            (slot.weight.device for slot in self.storages.values() if isinstance(slot, CPUOffload)), None
        )
        self.group_pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []  # groups: the loop's, the inner optimizer's

    @torch.no_grad()
    def step(self) -> None:
        for shown, own in self.group_pairs:
            own.update({name: value for name, value in shown.items() if name != "params"})
        for slot in self.storages.values():
            slot.load_grad()
        if self.sync_device is not None and self.sync_device.type != "cpu":
            torch.accelerator.synchronize(self.sync_device)
        self.optimizer.step()
        for slot in self.storages.values():
            if self.after_step is not None and slot.optim_param.grad is not None:
                self.after_step(slot.weight, slot.optim_param.detach())
            slot.write_back()
        for shown, own in self.group_pairs:
            shown.update({name: value for name, value in own.items() if name != "params"})


class CompositeOptimizer(torch.optim.Optimizer):
    """Present several optimizers to the loop as one.

    Args:
        sub_optimizers: together they hold each parameter once.
        order: the parameters in the order of the groups given, each with its group's index.
    """

    def __init__(self, sub_optimizers: list[SubOptimizer], order: Sequence[tuple[int, nn.Parameter]]) -> None:
        self.sub_optimizers = sub_optimizers
        super().__init__(_visible_groups(sub_optimizers, order), {})
        self._link_groups()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step every parameter that has a gradient."""
        assert closure is None, "the loss is computed by the loop"
        for unit in self.sub_optimizers:
            unit.step()

    def state_dict(self) -> dict[str, Any]:
        """Return torch's form: `state` by parameter index, `param_groups` with indices for parameters.

        Where a storage keeps extra state, the parameter's state has an entry `shadow` besides the optimizer's own.
        """
        numbers = self._param_indices()
        state: dict[int, dict[str, Any]] = {}
        for unit in self.sub_optimizers:
            for stepped, values in unit.optimizer.state.items():
                state[numbers[id(unit.storages[id(stepped)].weight)]] = dict(values)
            for slot in unit.storages.values():
                kept = slot.extra_state()
                if kept is not None:
                    state.setdefault(numbers[id(slot.weight)], {})[EXTRA_STATE] = kept
        groups = [
            {**group, "params": [numbers[id(weight)] for weight in group["params"]]} for group in self.param_groups
        ]
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict of parameters in the same groups; load the model's weights first.

        Raises:
            ValueError: the groups differ.
        """
        sizes = [len(group["params"]) for group in state_dict["param_groups"]]
        if sizes != [len(group["params"]) for group in self.param_groups]:
            raise ValueError("the state dict belongs to an optimizer with other groups of parameters")
        numbers = self._param_indices()
        for shown, given in zip(self.param_groups, state_dict["param_groups"], strict=True):
            shown.update({name: value for name, value in given.items() if name != "params"})
        for unit in self.sub_optimizers:
            self._load_sub_optimizer(unit, state_dict["state"], numbers)
        self._link_groups()  # torch replaces an optimizer's groups when it loads

    def _load_sub_optimizer(
        self, sub_optimizer: SubOptimizer, state: dict[int, dict[str, Any]], numbers: dict[int, int]
    ) -> None:
        """Load one optimizer's share, renumbered to its own indices so torch moves and casts it."""
        for shown, own in sub_optimizer.group_pairs:
            own.update({name: value for name, value in shown.items() if name != "params"})
        part = sub_optimizer.optimizer.state_dict()
        stepped = [weight for group in sub_optimizer.optimizer.param_groups for weight in group["params"]]
        part["state"] = {}
        for index, weight in enumerate(stepped):
            slot = sub_optimizer.storages[id(weight)]
            values = dict(state.get(numbers[id(slot.weight)], {}))
            slot.load_extra_state(values.pop(EXTRA_STATE, None))
            if values:
                part["state"][index] = values
        sub_optimizer.optimizer.load_state_dict(part)

    def _link_groups(self) -> None:
        """Pair each inner optimizer's groups with the groups that the loop sees."""
        shown = {id(weight): group for group in self.param_groups for weight in group["params"]}
        for unit in self.sub_optimizers:
            filled = [own for own in unit.optimizer.param_groups if own["params"]]
            unit.group_pairs = [(shown[id(unit.storages[id(own["params"][0])].weight)], own) for own in filled]

    def _param_indices(self) -> dict[int, int]:
        weights = [weight for group in self.param_groups for weight in group["params"]]
        return {id(weight): number for number, weight in enumerate(weights)}


def _visible_groups(
    sub_optimizers: list[SubOptimizer], order: Sequence[tuple[int, nn.Parameter]]
) -> list[dict[str, Any]]:
    """Return the inner groups over the model's parameters; merge those with equal options.

    Only groups that come from the same given group are merged.
    """
    origins = {id(weight): origin for origin, weight in order}
    places = {id(weight): place for place, (_, weight) in enumerate(order)}
    shown: list[tuple[int, dict[str, Any], list[nn.Parameter]]] = []
    for unit in sub_optimizers:
        for own in unit.optimizer.param_groups:
            weights = [unit.storages[id(stepped)].weight for stepped in own["params"]]
            options = {name: value for name, value in own.items() if name != "params"}
            origin = origins[id(weights[0])] if weights else -1
            alike = next((theirs for other, same, theirs in shown if (other, same) == (origin, options)), None)
            if alike is not None:
                alike += weights
            elif weights:
                shown.append((origin, options, weights))
    for _, _, weights in shown:
        weights.sort(key=lambda weight: places[id(weight)])
    shown.sort(key=lambda group: (group[0], places[id(group[2][0])]))
    return [{**options, "params": weights} for _, options, weights in shown]


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


def _buckets(
    storages: list[list[ParamStorage]], bucket_numel: int | None
) -> Iterator[list[tuple[int, list[ParamStorage]]]]:
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


class OptimizerInBackward(CompositeOptimizer):
    """Step each parameter from within `backward`, with one optimizer per parameter.

    The gradients of a whole model are never in memory together (Lv et al. 2023, LOMO,
    https://arxiv.org/abs/2306.09782). Options that need all of them at once (the gradient's norm, accumulation, loss
    scaling) are impossible; the recipe's check of contradictions rejects them.

    The loop sets `lr` before the backward pass rather than after it, and checks the loss before too: a loss that is not
    finite has spoiled the weights by the time `step` would be called. `step` and `zero_grad` do nothing. Call `remove`
    before any other backward pass through the model.

    Args:
        groups: dicts with `params` and options, as `build` takes them.
        build: makes the optimizer of some groups.
        kind: how weights kept in bf16 are stepped; None steps them in place.
        before_step: called with each parameter when its gradient is complete, which it may change (l1, l2, clip_value).
        after_step: called with each parameter and the tensor stepped for it, to change that in place (max_norm).
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        build: OptimizerFactory,
        kind: StorageKind | None = None,
        before_step: GradHook | None = None,
        after_step: StepHook | None = None,
    ) -> None:
        units, order = [], []
        for index, group in enumerate(groups):
            options = {name: value for name, value in group.items() if name != "params"}
            for weight in group["params"]:
                units.append(SubOptimizer([([make_storage(weight, kind)], options)], build, after_step))
                order.append((index, weight))
        super().__init__(units, order)
        self._hooks = [
            weight.register_post_accumulate_grad_hook(_backward_hook(unit, before_step))
            for unit, (_, weight) in zip(units, order, strict=True)
            if weight.requires_grad
        ]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing: every parameter was stepped when its gradient was complete."""

    def remove(self) -> None:
        """Remove the hooks, so that backward passes step no longer."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _backward_hook(sub_optimizer: SubOptimizer, before_step: GradHook | None) -> Callable[[nn.Parameter], None]:
    def on_gradient(weight: nn.Parameter) -> None:
        if before_step is not None:
            before_step(weight)
        sub_optimizer.step()
        weight.grad = None

    return on_gradient
