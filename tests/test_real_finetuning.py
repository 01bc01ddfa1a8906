"""Real pretrained weights on real pictures and texts beside new ones; margins are far inside those measured."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu as package
from tests.real_weights import efficientnet_lite0, food_reviews, minilm, stamps

pytestmark = pytest.mark.slow
MARGIN = 0.15  # of balanced accuracy and of AUROC


def figure(recipe: dict[str, Any], folder: Path, name: str, metric: str) -> float:
    run = package.train({**recipe, "evaluation": {"baselines": False}}, folder, name)
    package.evaluate(run.path)
    found: float = json.loads((run.path / "evaluation.json").read_text())["test"][metric]["value"]
    return found


def test_image_weights_beat_new_ones_in_the_same_steps_and_their_head_in_fewer(tmp_path: Path) -> None:
    recipe: dict[str, Any] = {
        "data": {"source": str(stamps()), "image_size": 96, "split": {"test": 0.3}},
        "model": {"name": "timm:tf_efficientnet_lite0", "dropout": 0.2},
        "training": {"epochs": 4, "batch_size": 32, "optimizer": {"lr": 1e-3}},
    }
    model = {**recipe["model"], "pretrained": str(efficientnet_lite0())}
    new = figure(recipe, tmp_path, "new", "balanced-accuracy")
    full = figure({**recipe, "model": model}, tmp_path, "full", "balanced-accuracy")
    head = figure({**recipe, "model": {**model, "finetune": {"mode": "head"}}}, tmp_path, "head", "balanced-accuracy")
    assert full > new + MARGIN
    assert head > new + MARGIN


@pytest.mark.parametrize("finetune", [{"mode": "head"}, {"mode": "lora", "rank": 8}])
def test_a_sentence_encoder_beats_new_weights_in_the_same_steps(tmp_path: Path, finetune: dict[str, Any]) -> None:
    reviews = food_reviews()
    parts = [
        (reviews.filter(pl.col("part") == "train")[:960], "train"),
        (reviews.filter(pl.col("part") == "train")[960:1120], "validation"),
        (reviews.filter(pl.col("part") == "test")[:500], "test"),
    ]
    file = tmp_path / "reviews.jsonl"
    pl.concat([rows.with_columns(part=pl.lit(part)) for rows, part in parts]).write_ndjson(file)
    folder = minilm()
    config = json.loads((folder / "config.json").read_text())
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    recipe: dict[str, Any] = {
        "data": {
            "source": str(file),
            "text": "review",
            "target": "score",
            "sequence_length": 32,
            "split": {"by": {"column": "part"}},
        },
        "training": {"epochs": 1, "batch_size": 32, "optimizer": {"lr": 1e-3}},
    }
    new = {"name": "hf:bert", "config": {key: config[key] for key in sizes}, "pooling": "mean"}
    scratch = figure(
        {**recipe, "model": new, "training": {**recipe["training"], "epochs": 1}}, tmp_path, "new", "auroc"
    )
    tuned = figure({**recipe, "model": {"name": f"hf:{folder}", "finetune": finetune}}, tmp_path, "tuned", "auroc")
    assert tuned > scratch + MARGIN
