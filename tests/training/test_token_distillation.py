"""A teacher of tags or of language teaches token by token."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import danlu as package
from danlu.artifacts.run import RunDirectory
from danlu.errors import ArgumentError, RecipeError
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.table import get_task
from danlu.tasks.token_losses import IGNORED
from danlu.training.distillation import distillation_loss, distillation_num_targets
from tests.conftest import TINY_TEXT
from tests.data.text.test_tagging import recipe as tagging
from tests.data.text.test_tagging import sentences
from tests.training.test_distillation import assert_goes_on, softmax


def speaking(source: Path, name: str = "llama", **training: Any) -> dict[str, Any]:
    return {
        "data": {"source": str(source), "vocabulary": 400, "sequence_length": 32},
        "model": {"name": f"hf:{name}", "config": {**TINY_TEXT, "hidden_size": 16}},
        "training": {"max_steps": 9, "batch_size": 8, "optimizer": {"lr": 3e-3}, **training},
        "evaluation": {"resamples": 0, "baselines": False},
    }


@pytest.fixture(scope="module")
def speaker(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.train(speaking(corpus_folder), output=tmp_path_factory.mktemp("teachers")).path


def test_the_loss_is_that_of_every_token_that_counts() -> None:
    generator = np.random.default_rng(0)
    logits, taught = generator.normal(size=(2, 3, 4)), 3 * generator.normal(size=(2, 3, 4))
    own = np.array([[1, 3, IGNORED], [0, IGNORED, IGNORED]])
    target = torch.tensor(np.concatenate([own[..., None], taught], axis=2), dtype=torch.float32)
    head, there = get_task("token-classification").head(None), own != IGNORED
    loss = distillation_loss(head.loss, get_task("token-classification"), temperature=3.0, weight=0.4)
    total, count = loss(torch.tensor(logits, dtype=torch.float32), target, LossWeighting())
    hard = -np.log(softmax(logits[there])[np.arange(3), own[there]]).sum()
    p, q = softmax(taught[there] / 3), softmax(logits[there] / 3)
    assert float(total) == pytest.approx(0.6 * hard + 0.4 * 9 * (p * np.log(p / q)).sum(), rel=1e-5)
    assert count == distillation_num_targets(head.num_targets, get_task("token-classification"))(target) == 3


@pytest.mark.slow
@pytest.mark.training
def test_a_tagger_nears_its_teacher(tmp_path: Path) -> None:
    """With weight 1 the loss is the distance to the teacher alone."""
    (tmp_path / "names.jsonl").write_text("\n".join(map(json.dumps, sentences())), encoding="utf-8")
    plain = {"evaluation": {"resamples": 0, "baselines": False}}
    teacher = package.train(tagging(tmp_path / "names.jsonl", **plain), output=tmp_path, name="teacher").path
    asked = tagging(tmp_path / "names.jsonl", **plain)
    asked["model"] = {"name": "hf:distilbert", "config": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}}
    asked["training"]["distill"] = {"teacher": str(teacher), "weight": 1.0, "temperature": 1.0}
    losses = training_losses(package.train(asked, output=tmp_path, name="student"))
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.slow
@pytest.mark.training
def test_a_speaker_learns_from_another_and_goes_on_bit_by_bit(
    corpus_folder: Path, speaker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Batches go through the model in parts, whose answers are counted without the teacher's."""
    lesson = {"distill": {"teacher": str(speaker)}, "checkpoint": {"every_steps": 3, "keep": 4}, "accumulate": 2}
    asked = speaking(corpus_folder, "qwen2", **lesson)
    whole = package.train(asked, output=tmp_path, name="whole").path
    assert "the teacher runs in every training step, on every token" in capsys.readouterr().err
    assert_goes_on(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.training
def test_a_speaker_nears_its_teacher(corpus_folder: Path, speaker: Path, tmp_path: Path) -> None:
    lesson = {"distill": {"teacher": str(speaker), "weight": 1.0, "temperature": 1.0}, "max_steps": 40}
    losses = training_losses(package.train(speaking(corpus_folder, "qwen2", **lesson), output=tmp_path))
    assert losses[-1] < 0.5 * losses[0]


def training_losses(run: RunDirectory) -> list[float]:
    return [line["train/loss"] for line in run.metrics() if "train/loss" in line]


def test_what_tokens_cannot_be_taught_is_refused(corpus_folder: Path, speaker: Path, tmp_path: Path) -> None:
    lesson = {"teacher": str(speaker)}
    with pytest.raises(RecipeError, match="needs one prediction per sample"):
        package.train(speaking(corpus_folder, distill={**lesson, "hidden": {}}), output=tmp_path)
    with pytest.raises(RecipeError, match=r"cannot be combined with training\.distill"):
        package.check(speaking(corpus_folder, distill=lesson, memory={"loss_chunk": 64}))
    other = speaking(corpus_folder, distill=lesson)
    other["data"]["vocabulary"] = 420
    with pytest.raises(ArgumentError, match="cannot run on every token"):
        package.train(other, output=tmp_path)
