"""The training loop: it learns, keeps the best, stops early, and every choice follows from the seed."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import danlu as package
from danlu.artifacts.checkpoints import open_checkpoint
from danlu.artifacts.run import RunDirectory
from danlu.core.seeds import Seed
from danlu.data.loader import batch_bounds, shuffled_order
from danlu.errors import DanluError
from danlu.recipe.load import check_recipe
from danlu.training.loop import plan_steps
from tests.support.warm import stopped_command


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 2**31), st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_an_epoch_takes_every_sample_once_in_an_order_of_its_own(count: int, size: int, seed: int, epoch: int) -> None:
    order = shuffled_order(count, Seed(seed))(epoch)
    bounds = batch_bounds(count, size)
    rows = np.concatenate([order[start:end] for start, end in bounds]).tolist()
    assert len(set(rows)) == len(rows)
    assert len(rows) >= (count if size == 1 else count - 1)
    assert all(1 <= end - start <= size for start, end in bounds)
    assert shuffled_order(count, Seed(seed))(epoch).tolist() == order.tolist()


def test_epochs_have_different_orders() -> None:
    order = shuffled_order(100, Seed(0))
    assert order(0).tolist() != order(1).tolist()


def test_steps_are_planned_before_training() -> None:
    recipe = check_recipe({"data": {"source": "x"}, "training": {"epochs": 4, "batch_size": 10}})
    plan = plan_steps(105, recipe.training)
    assert (plan.steps, plan.steps_per_epoch, plan.validate_every) == (44, 11, 5)
    limited = check_recipe({"data": {"source": "x"}, "training": {"epochs": 4, "batch_size": 10, "max_steps": 7}})
    assert plan_steps(105, limited.training).steps == 7


def lines(run: Path, key: str) -> list[dict[str, Any]]:
    return [line for line in RunDirectory.open(run).metrics() if key in line]


def test_training_lowers_the_loss_and_keeps_the_best_weights(table_run: Path) -> None:
    validation = lines(table_run, "validation/loss")
    assert validation[-1]["validation/loss"] < validation[0]["validation/loss"]
    best = min(validation, key=lambda line: line["validation/loss"])
    run = RunDirectory.open(table_run)
    newest = open_checkpoint(run, validation[-1]["step"])
    assert newest.best_step == best["step"]
    assert newest.state["watch"]["best"] == best["validation/loss"]
    weights = (open_checkpoint(run, best["step"]).folder / "weights.safetensors").read_bytes()
    assert weights == (table_run / "model" / "weights.safetensors").read_bytes()


def test_training_stops_when_nothing_improves(table_recipe: dict[str, Any], tmp_path: Path) -> None:
    training = {"epochs": 200, "early_stopping": {"metric": "validation/accuracy", "patience": 3}}
    run = package.train({**table_recipe, "training": training}, output=tmp_path)
    validation = lines(run.path, "validation/accuracy")
    assert len(validation) < 100
    best = max(line["validation/accuracy"] for line in validation)
    since = [line["validation/accuracy"] for line in validation[-3:]]
    assert all(value <= best for value in since)
    assert validation[-4]["validation/accuracy"] == best


def test_a_loss_that_is_no_number_ends_the_run_with_advice(table_recipe: dict[str, Any], tmp_path: Path) -> None:
    training = {"epochs": 5, "clip_norm": None, "optimizer": {"name": "sgd", "lr": 1e30}}
    with pytest.raises(DanluError, match=r"the training loss is .* at step \d+: .*\. Lower training\.optimizer\.lr"):
        package.train({**table_recipe, "training": training}, output=tmp_path)
    assert [path for path in tmp_path.iterdir() if not list((path / "checkpoints").iterdir())] == []


def test_a_linear_model_matches_scikit_learns(tmp_path: Path) -> None:
    overrides = ["model=linear", "training.epochs=150", "training.optimizer={name: adamw, lr: 1e-2, weight_decay: 0}"]
    figures = package.run(package.load_recipe("wine", overrides=overrides), output=tmp_path).evaluation()
    model, reference = figures["test"], figures["baselines"]["logistic-regression"]["test"]
    assert abs(model["accuracy"]["value"] - reference["accuracy"]["value"]) < 0.08
    assert abs(model["log-loss"]["value"] - reference["log-loss"]["value"]) < 0.1


def test_weights_of_a_local_file_are_loaded_and_the_classifier_replaced(
    image_recipe: dict[str, Any], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    from danlu.core.imports import patch_torchvision

    patch_torchvision()
    import timm

    donor = timm.create_model("test_resnet", num_classes=1000, in_chans=3)
    save_file(donor.state_dict(), tmp_path / "weights.safetensors")
    model = {"name": "timm:test_resnet", "pretrained": str(tmp_path / "weights.safetensors")}
    frozen = {"epochs": 1, "max_steps": 1, "optimizer": {"name": "sgd", "lr": 1e-12}}
    run = package.train({**image_recipe, "model": model, "training": frozen}, output=tmp_path)
    network = package.load(run.path).model.network
    own = network.state_dict()
    weights = {key: value for key, value in donor.named_parameters() if not key.startswith("fc.")}
    assert len(weights) > 20
    for key, value in weights.items():
        torch.testing.assert_close(own[key].cpu(), value.detach(), atol=1e-6, rtol=1e-6)
    assert json.loads((run.path / "model" / "config.json").read_text())["pretrained"] is None


def test_weights_of_another_network_are_refused(image_recipe: dict[str, Any], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"stem.weight": torch.zeros(3)}, tmp_path / "weights.safetensors")
    model = {"name": "timm:test_resnet", "pretrained": str(tmp_path / "weights.safetensors")}
    with pytest.raises(DanluError, match="the weights of another network"):
        package.train({**image_recipe, "model": model}, output=tmp_path / "runs")


def test_a_local_folder_of_a_text_model_is_loaded_and_made_portable(
    text_run: Path, text_recipe: dict[str, Any], tmp_path: Path
) -> None:
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    folder = tmp_path / "donor"
    config = BertConfig(
        vocab_size=1024, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    donor = BertForMaskedLM(config)
    donor.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(text_run / "model" / "tokenizer.json"), pad_token="<pad>", sep_token="</s>", cls_token="<s>"
    )
    tokenizer.save_pretrained(folder)
    frozen = {"epochs": 1, "max_steps": 1, "optimizer": {"name": "sgd", "lr": 1e-12}}
    run = package.train({**text_recipe, "model": f"hf:{folder}", "training": frozen}, output=tmp_path)
    written = json.loads((run.path / "model" / "config.json").read_text())
    assert written["name"] == "hf:bert"
    import shutil

    shutil.rmtree(folder)
    predictor = package.load(run.path)
    torch.testing.assert_close(
        predictor.model.network.bert.embeddings.word_embeddings.weight.cpu(),
        donor.bert.embeddings.word_embeddings.weight,
    )
    assert predictor.predict(["The Union is strong."]).height == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_says_where_its_weights_are(number: signal.Signals, tmp_path: Path) -> None:
    settings = ("--set", "training.epochs=100000", "--set", "training.checkpoint.every_steps=8")
    done = stopped_command(number, 8, "train", "wine", "-o", tmp_path, "--name", "run", *settings)
    message = done.stderr
    assert done.returncode == 1, message
    told = re.search(
        r"stopped at step (\d+) of \d+, saved in (\S+); `danlu train --resume \S+` continues from there", message
    )
    assert told, message
    assert "Traceback" not in message
    kept = load_file(Path(told[2]) / "weights.safetensors")
    assert all(value.isfinite().all() for value in kept.values())
    assert not list(tmp_path.rglob("*.partial"))
