"""`check_optimizer`: danlu's own optimizers pass, and each broken one is told what is wrong with it."""

import random
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import pytest
import torch
from pydantic import ConfigDict

import danlu
from danlu.core.imports import missing_packages
from danlu.testing import CheckFailed, check_optimizer
from danlu.training.optimizers import OPTIMIZERS
from danlu.training.optimizers.options import SGD, AdamW


class Mine(danlu.Optimizer):
    """A plugin's optimizer as it should be."""

    default_lr: ClassVar[float] = 1e-2
    name: Literal["mine"] = "mine"

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, momentum=0.9)


def with_step(step: Callable[[Any], None]) -> type[Mine]:
    """A plugin whose optimizer steps in its own way."""

    class Own(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            step(self)

    class Broken(Mine):
        def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
            return Own(groups)

    return Broken


def descend(optimizer: Any, factor: Callable[[dict[str, Any]], float] = lambda group: group["lr"]) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(parameter.grad, alpha=-factor(group))


def rise(optimizer: Any) -> None:
    descend(optimizer, lambda group: -group["lr"])


def draw(optimizer: Any) -> None:
    descend(optimizer, lambda group: group["lr"] * random.random())


def ignore_rate(optimizer: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.mul_(1 - 1e-2 * group["weight_decay"]).add_(parameter.grad, alpha=-1e-2)


def ignore_decay(optimizer: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=-group["lr"])


def touch_all(optimizer: Any) -> None:
    descend(optimizer)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.mul_(0.999)


def count_outside_of_the_state(optimizer: Any) -> None:
    optimizer.steps = getattr(optimizer, "steps", 0) + 1
    descend(optimizer, lambda group: group["lr"] / optimizer.steps)


def keep_an_object(optimizer: Any) -> None:
    descend(optimizer)
    optimizer.param_groups[0]["helper"] = object()


class DropsNames(Mine):
    """Give torch only the entries that it knows."""

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD([{key: group[key] for key in ("params", "lr", "weight_decay")} for group in groups])


class DropsGroups(Mine):
    """Forget all groups but the first."""

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups[:1])


class OwnDecay(Mine):
    """Decay every weight by the recipe's number, biases included."""

    def make(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            [{**group, "weight_decay": group["weight_decay"] + self.weight_decay} for group in groups]
        )


class TakesAnything(Mine):
    """Ignore misspelt options."""

    model_config = ConfigDict(extra="allow")


class Changeable(Mine):
    """Let options be changed."""

    model_config = ConfigDict(frozen=False)


class NoAverage(Mine):
    """Claim an average and have none."""

    averages_itself: ClassVar[bool] = True


class Abstract(danlu.Optimizer):
    """Lack `make`."""

    name: Literal["abstract"] = "abstract"


class NoName(Mine):
    """Lack a default name."""

    name: Literal["mine"]  # type: ignore[assignment]


BROKEN: list[tuple[Any, str]] = [
    (with_step(rise), "does not fall"),
    (with_step(draw), "the same seed gave other weights"),
    (with_step(ignore_rate), "changing `lr` of its param_groups changes nothing"),
    (with_step(ignore_decay), "weight_decay of its groups changes nothing"),
    (with_step(touch_all), "changes a weight that has no gradient"),
    (with_step(count_outside_of_the_state), "resumed from its state_dict"),
    (with_step(keep_an_object), "cannot be written to a checkpoint"),
    (DropsNames, "lack 'lr_scale'"),
    (DropsGroups, "each must be there once"),
    (OwnDecay, "decays weights whose group says weight_decay 0"),
    (TakesAnything, "takes an option that it does not have"),
    (Changeable, "can be changed"),
    (NoAverage, r"needs the methods eval\(\) and train\(\)"),
    (Abstract, "Abstract lacks make"),
    (NoName, "has no default for name"),
    (dict, "is not derived from danlu.Optimizer"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_danlus_own_optimizers_pass(name: str) -> None:
    if name == "adamw-8bit" and missing_packages("low-bit"):
        pytest.skip("torchao is not installed")
    check_optimizer(OPTIMIZERS[name])


def test_a_plugin_and_options_of_any_kind_pass() -> None:
    check_optimizer(Mine)
    check_optimizer(SGD(lr=0.02, momentum=0.0, weight_decay=0.1), seed=3)
    check_optimizer(AdamW(betas=(0.8, 0.99)))


@pytest.mark.parametrize(("optimizer", "told"), BROKEN, ids=[told for _, told in BROKEN])
def test_a_broken_optimizer_is_told_what_is_wrong(optimizer: Any, told: str) -> None:
    with pytest.raises(CheckFailed, match=told):
        check_optimizer(optimizer)


def test_a_failed_check_is_an_assertion_error() -> None:
    assert issubclass(CheckFailed, AssertionError)
