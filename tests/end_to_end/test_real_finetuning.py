"""Real pretrained weights on real pictures beside new ones; margins are far inside those measured."""

import json
from pathlib import Path
from typing import Any

import pytest

import danlu as package
from tests.support.real_weights import efficientnet_lite0, stamps

pytestmark = pytest.mark.slow
MARGIN = 0.15  # of balanced accuracy


def figure(recipe: dict[str, Any], folder: Path, name: str, metric: str) -> float:
    run = package.train({**recipe, "evaluation": {"baselines": False}}, output=folder, name=name)
    package.evaluate(run.path)
    found: float = json.loads((run.path / "evaluation.json").read_text())["test"][metric]["value"]
    return found


def test_image_weights_beat_new_ones_in_the_same_steps_and_their_head_in_less_time(tmp_path: Path) -> None:
    recipe: dict[str, Any] = {
        "data": {"source": str(stamps()), "image_size": 64, "split": {"test": 0.3}},
        "model": {"name": "timm:tf_efficientnet_lite0", "dropout": 0.2},
        "training": {"epochs": 4, "batch_size": 32, "optimizer": {"lr": 1e-3}},
    }
    model = {**recipe["model"], "pretrained": str(efficientnet_lite0())}
    new = figure(recipe, tmp_path, "new", "balanced-accuracy")
    decayed = {**model, "finetune": {"layer_decay": 0.8}}
    full = figure({**recipe, "model": decayed}, tmp_path, "full", "balanced-accuracy")
    recipe["training"]["epochs"] = 20  # which take a third of the time of the others' four
    head = figure({**recipe, "model": {**model, "finetune": {"mode": "head"}}}, tmp_path, "head", "balanced-accuracy")
    assert full > new + MARGIN
    assert head > new + MARGIN
