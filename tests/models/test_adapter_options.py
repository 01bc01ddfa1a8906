"""What peft is asked for, and which weights are trained beside an adapter."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from danlu.errors import ArgumentError
from danlu.models import adapters
from danlu.models.task_model import TaskModel
from danlu.recipe.sections.training import Finetune


class Network(TaskModel):
    """Two layers below a head."""

    def __init__(self) -> None:
        super().__init__()
        self.head_parts = ("head",)
        self.body, self.filters = nn.Linear(4, 4), nn.Conv2d(1, 1, 3)
        self.grouped = nn.Conv2d(2, 2, 3, groups=2)
        self.head = nn.Linear(4, 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a peft that does nothing but freeze is told; the real one takes seconds to import."""
    seen: list[dict[str, Any]] = []
    stand_in: Any = ModuleType("peft")
    stand_in.LoraConfig = lambda **options: options

    def inject(config: dict[str, Any], model: nn.Module) -> None:
        seen.append(config)
        model.requires_grad_(False)

    stand_in.inject_adapter_in_model = inject
    monkeypatch.setitem(sys.modules, "peft", stand_in)
    monkeypatch.setattr(adapters, "require_extra", lambda *words: None)
    monkeypatch.setattr(adapters, "patch_torchvision", lambda: None)
    return seen


@pytest.mark.parametrize(
    ("options", "rank", "alpha"),
    [
        ({}, 16, 32),
        ({"rank": 4}, 4, 8),  # alpha is twice the rank when left out
        ({"rank": 4, "alpha": 5}, 4, 5),
        ({"alpha": 8}, 16, 8),
    ],
)
def test_rank_and_alpha(options: dict[str, int], rank: int, alpha: int, asked: list[dict[str, Any]]) -> None:
    adapters.add_adapters(Network(), Finetune(mode="lora", **options))  # type: ignore[arg-type]
    assert (asked[0]["r"], asked[0]["lora_alpha"]) == (rank, alpha)
    assert (asked[0]["lora_dropout"], asked[0]["use_dora"]) == (0.0, False)


def test_dora_dropout_and_targets(asked: list[dict[str, Any]]) -> None:
    adapters.add_adapters(Network(), Finetune(mode="dora", dropout=0.25, targets=("filters",)))
    assert (asked[0]["lora_dropout"], asked[0]["use_dora"]) == (0.25, True)
    assert asked[0]["target_modules"] == ["filters"]


def test_all_layers_but_the_head_get_one_and_the_head_is_trained(asked: list[dict[str, Any]]) -> None:
    model = Network()
    adapters.add_adapters(model, Finetune(mode="lora"))
    assert asked[0]["target_modules"] == ["body", "filters"]  # no adapter fits grouped filters
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == {"head.weight", "head.bias"}


def test_layers_that_share_a_matrix_are_refused(asked: list[dict[str, Any]]) -> None:
    model = Network()
    model.other = nn.Linear(4, 4)
    model.other.weight = model.body.weight
    with pytest.raises(ArgumentError, match="shares its weights"):
        adapters.add_adapters(model, Finetune(mode="lora"))


def test_a_model_without_layers_is_refused(asked: list[dict[str, Any]]) -> None:
    model = TaskModel()
    model.scale = nn.Parameter(torch.ones(1))
    with pytest.raises(ArgumentError, match="no layer"):
        adapters.add_adapters(model, Finetune(mode="lora"))
