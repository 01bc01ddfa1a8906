"""Heads trained alone on features that are computed once, and what they become part of."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import danlu as package
from danlu.api.train import resume
from danlu.errors import RecipeError
from danlu.models.text.sentence_encoder import SentenceEncoderClassifier
from danlu.models.vision.image_model import NormalizedImageModel


@pytest.fixture(scope="module")
def image_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small network, as if they were pretrained."""
    from danlu.core.imports import patch_torchvision

    patch_torchvision()
    import timm

    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "resnet.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    return path


def images(folder: Path, weights: Path, **finetune: Any) -> dict[str, Any]:
    return {
        "name": "head",
        "data": {"source": str(folder), "image_size": 32},
        "model": {"name": "timm:test_resnet", "pretrained": str(weights), "finetune": {"mode": "head", **finetune}},
        "training": {"epochs": 3, "batch_size": 16, "checkpoint": {"every_steps": 7}},
    }


def texts(file: Path, folder: Path) -> dict[str, Any]:
    return {
        "name": "head",
        "data": {"source": str(file), "text": "text", "target": "era", "sequence_length": 24},
        "model": {"name": f"hf:{folder}", "finetune": {"mode": "head"}},
        "training": {"epochs": 3, "batch_size": 16},
    }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The samples of each call of a body for features."""
    counts: list[int] = []

    def counted(cls: type, name: str) -> None:
        own: Callable[..., Tensor] = getattr(cls, name)

        def features(self: Any, **inputs: Tensor) -> Tensor:
            counts.append(len(next(iter(inputs.values()))))
            return own(self, **inputs)

        monkeypatch.setattr(cls, name, features)

    counted(NormalizedImageModel, "features")
    monkeypatch.setattr(
        SentenceEncoderClassifier, "forward", lambda self, **inputs: self.classifier(self.features(**inputs))
    )
    counted(SentenceEncoderClassifier, "features")
    return counts


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.training
def test_the_body_sees_every_sample_once_however_many_epochs(
    image_folder: Path, image_weights: Path, tmp_path: Path, asked: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    run = package.train(images(image_folder, image_weights), output=tmp_path, name="first")
    tried = 2  # whether the head is what the model ends in
    assert sum(asked) == 212 + 44 + tried
    assert "of them trained) on 212 samples" in capsys.readouterr().err
    asked.clear()
    package.train({**images(image_folder, image_weights), "seed": 0, "name": "again"}, output=tmp_path, name="second")
    assert sum(asked) == tried
    bundle, source = load_file(run.model / "weights.safetensors"), torch.load(image_weights)
    body = [name for name in source if not name.startswith("fc.")]
    assert body
    assert all(torch.equal(bundle[f"network.{name}"], source[name]) for name in body)
    stored = load_file(run.checkpoints()[-1] / "weights.safetensors")
    assert set(stored) == {"classifier.weight", "classifier.bias"}
    assert torch.equal(bundle["network.fc.bias"], stored["classifier.bias"])
    answers = package.load(run.path).predict(sorted(image_folder.rglob("*.png"))[:4])
    assert answers.height == 4


@pytest.mark.training
def test_other_weights_or_another_size_are_other_features(
    image_folder: Path, image_weights: Path, tmp_path: Path, asked: list[int]
) -> None:
    package.train(images(image_folder, image_weights), output=tmp_path, name="first")
    asked.clear()
    weights = torch.load(image_weights)
    weights["conv1.0.weight"] += 0.1
    torch.save(weights, tmp_path / "other.pth")
    package.train(images(image_folder, tmp_path / "other.pth"), output=tmp_path, name="second")
    assert sum(asked) > 200
    asked.clear()
    larger = images(image_folder, image_weights)
    larger["data"]["image_size"] = 40
    package.train(larger, output=tmp_path, name="third")
    assert sum(asked) > 200


@pytest.mark.slow
@pytest.mark.training
def test_embeddings_of_texts_are_features(
    text_file: Path, small_encoder: Path, tmp_path: Path, asked: list[int]
) -> None:
    run = package.train(texts(text_file, small_encoder), output=tmp_path, name="run")
    assert sum(asked) == 350 + 75 + 4
    asked.clear()
    package.evaluate(run.path)
    assert sum(asked) == 150
    assert package.load(run.path).predict(["peace and war", "gold"]).height == 2


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("kept", [True, False])
def test_a_stopped_run_goes_on_bit_by_bit(
    image_folder: Path, image_weights: Path, tmp_path: Path, own_cache: Path, kept: bool
) -> None:
    values = images(image_folder, image_weights)
    values["data"]["balance"] = "oversample"
    values["model"]["dropout"] = 0.3
    whole = package.train(values, output=tmp_path, name="whole")
    stopped = package.train(values, output=tmp_path, name="stopped")
    shutil.rmtree(stopped.model)
    shutil.rmtree(stopped.checkpoints()[-1])
    if not kept:
        shutil.rmtree(own_cache)
    resume(stopped.path)
    for name in ("model/weights.safetensors", "metrics.jsonl"):
        assert (stopped.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.training
def test_with_random_changes_the_body_stays_frozen_and_computes_each_epoch(
    image_folder: Path, image_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = images(image_folder, image_weights)
    values["data"]["augment"] = [{"rotate": {"degrees": 20}}]
    run = package.train(values, output=tmp_path, name="run")
    said = capsys.readouterr().err
    assert "their features are recomputed in every epoch" in said
    assert "of them trained) on" in said
    bundle, source = load_file(run.model / "weights.safetensors"), torch.load(image_weights)
    body = [name for name in source if not name.startswith("fc.")]
    assert all(torch.equal(bundle[f"network.{name}"], source[name]) for name in body)  # statistics included


def test_a_head_wants_pretrained_weights_and_a_task_of_its_own(
    image_folder: Path, corpus_folder: Path, small_encoder: Path, tmp_path: Path
) -> None:
    values = images(image_folder, tmp_path)
    del values["model"]["pretrained"]
    with pytest.raises(RecipeError, match="head adapts pretrained weights"):
        package.train(values, output=tmp_path)
    with pytest.raises(RecipeError, match="head freezes the body; remove freeze"):
        package.train(images(image_folder, tmp_path, layer_decay=0.5), output=tmp_path)
    corpus = {"data": {"source": str(corpus_folder)}, "model": texts(tmp_path, small_encoder)["model"]}
    with pytest.raises(RecipeError, match="no task head"):
        package.train(corpus, output=tmp_path)


@pytest.mark.slow
@pytest.mark.training
def test_a_head_is_refitted_on_the_features_of_all_rows(text_file: Path, small_encoder: Path, tmp_path: Path) -> None:
    recipe = texts(text_file, small_encoder)
    recipe["evaluation"] = {"folds": {"folds": 2, "final": "refit"}, "resamples": 0, "baselines": False}
    run = package.run(recipe, output=tmp_path)
    assert "validation" not in run.evaluation()
    assert 0 <= run.evaluation()["test"]["accuracy"]["value"] <= 1
