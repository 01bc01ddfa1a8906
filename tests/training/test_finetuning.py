"""What is frozen, until when, and that nothing of it depends on where a run was stopped."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import danlu as package
from danlu.api.train import resume
from danlu.errors import ArgumentError, RecipeError
from danlu.models.task_model import select_names
from danlu.recipe.load import check_recipe
from danlu.recipe.sections.training import Finetune
from danlu.training.finetuning import apply_finetuning, make_unfreezing
from tests.support.small_models import build


def trained(model: nn.Module) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def test_blocks_thaw_from_the_head_down() -> None:
    model = build("text")
    plan = make_unfreezing(model, Finetune(mode="gradual", every=2), steps_per_epoch=10)
    assert plan is not None
    seen = []
    for step in (0, 19, 20, 59, 60, 80, 10_000):
        plan.before_step(step)
        seen.append(trained(model))
    assert {"network.classifier.weight", "network.bert.pooler.dense.weight"} <= seen[0]
    assert not any("encoder" in name for name in seen[0])
    assert seen[1] == seen[0]
    assert any(".layer.2." in name for name in seen[2])
    assert not any(".layer.1." in name for name in seen[2])
    assert any(".layer.0." in name for name in seen[4])
    assert seen[3] < seen[4] < seen[5] == seen[6] == {name for name, _ in model.named_parameters()}


def test_the_head_alone_is_trained_first_and_statistics_rest_with_their_weights() -> None:
    model = build("image").train()
    plan = make_unfreezing(model, Finetune(freeze_epochs=2), steps_per_epoch=5)
    assert plan is not None
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    plan.before_step(9)
    assert trained(model) == {"network.fc.weight", "network.fc.bias"}
    assert not any(norm.training for norm in norms)
    model.eval()
    model.train()  # as after a validation
    assert not any(norm.training for norm in norms)
    assert model.training
    plan.before_step(10)
    assert trained(model) == {name for name, _ in model.named_parameters()}
    assert all(norm.training for norm in norms)


def test_statistics_can_be_frozen_though_weights_are_trained() -> None:
    model = build("image").train()
    apply_finetuning(model, Finetune(batch_norm="frozen"))
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
    assert trained(model) == {name for name, _ in model.named_parameters()}
    assert all(torch.equal(buffer, kept[name]) for name, buffer in model.named_buffers())


@pytest.mark.parametrize(
    ("patterns", "frozen"),
    [
        (("embeddings",), {"embeddings"}),
        (("encoder.layer.0", "*.layer.1"), {"layer.0.", "layer.1."}),
        (("bert.encoder.lay*.?.attention",), {"attention"}),
        (("/encoder\\.layer\\.[01]\\./",), {"layer.0.", "layer.1."}),
        (("network.bert.embeddings.word_embeddings.weight",), set()),
    ],
)
def test_weights_are_frozen_by_name_glob_or_expression(patterns: tuple[str, ...], frozen: set[str]) -> None:
    model = build("text")
    if not frozen:  # names are those that the model's authors gave
        with pytest.raises(ArgumentError, match="no part 'network"):
            apply_finetuning(model, Finetune(freeze=patterns))
        return
    apply_finetuning(model, Finetune(freeze=patterns))
    for name, weight in model.named_parameters():
        assert weight.requires_grad != any(part in name for part in frozen), name


def test_a_name_is_matched_from_the_root() -> None:
    model = build("image")
    names = [name for name, _ in model.named_parameters()]
    ends = {name.removeprefix("network.").split(".")[0] for name in names}
    twice = next(part for part in sorted(ends) if any(f".{part}." in name.removeprefix("network.") for name in names))
    apply_finetuning(model, Finetune(freeze=(twice,)))
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    assert frozen == [name for name in names if name.startswith(f"network.{twice}.")]
    deep = next(name.split(".")[-2] for name in names if name.count(".") > 3 and name.split(".")[-2] not in ends)
    with pytest.raises(ArgumentError, match=rf"'{deep}' is no part at the root of the network; \*\.{deep} names the"):
        apply_finetuning(build("image"), Finetune(freeze=(deep,)))
    apply_finetuning(other := build("image"), Finetune(freeze=(f"*.{deep}",)))
    assert {name for name, weight in other.named_parameters() if not weight.requires_grad} == {
        name for name in names if f".{deep}." in name
    }


def test_an_unknown_pattern_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ArgumentError, match=r"model.finetune.freeze: .*'embedings'; the nearest is \"embeddings\""):
        apply_finetuning(build("text"), Finetune(freeze=("embedings",)))
    with pytest.raises(ArgumentError, match="is not a valid regular expression"):
        select_names(["a"], ["/(/"], "key")


@pytest.mark.parametrize(
    ("finetune", "message"),
    [
        ({"every": 2}, "every applies only to gradual"),
        ({"mode": "gradual", "freeze_epochs": 1}, "freeze_epochs applies only to full"),
        ({"mode": "lora", "freeze": ["embeddings"]}, "lora freezes the body"),
    ],
)
def test_what_goes_with_other_ways_is_refused(finetune: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_recipe({"data": {"source": "a"}, "model": {"name": "hf:./x", "finetune": finetune}})


def test_new_weights_are_not_frozen_for_an_epoch() -> None:
    with pytest.raises(RecipeError, match="has none"):
        check_recipe({"data": {"source": "a"}, "model": {"name": "timm:resnet18", "finetune": {"freeze_epochs": 1}}})


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize(
    "finetune",
    [
        {"mode": "gradual", "layer_decay": 0.7},
        {"freeze_epochs": 1, "batch_norm": "frozen", "freeze": ["embeddings.word_embeddings"]},
    ],
)
def test_a_run_that_thaws_goes_on_bit_by_bit(
    text_file: Path, small_encoder: Path, tmp_path: Path, finetune: dict[str, Any]
) -> None:
    values = {
        "data": {"source": str(text_file), "text": "text", "target": "era", "sequence_length": 16},
        "model": {"name": f"hf:{small_encoder}", "finetune": finetune},
        "training": {"epochs": 4, "batch_size": 64, "checkpoint": {"every_steps": 4, "keep": 9}},
    }
    whole = package.train(values, output=tmp_path, name="whole")
    stopped = package.train(values, output=tmp_path, name="stopped")
    shutil.rmtree(stopped.model)
    for folder in stopped.checkpoints():
        if int(folder.name[5:]) > 8:  # within the second of four epochs of six steps
            shutil.rmtree(folder)
    resume(stopped.path)
    for name in ("model/weights.safetensors", "metrics.jsonl"):
        assert (stopped.path / name).read_bytes() == (whole.path / name).read_bytes()
    first = package.train({**values, "training": {"epochs": 1, "batch_size": 64}}, output=tmp_path, name="first")
    early = load_file(first.model / "weights.safetensors")
    late, source = load_file(whole.model / "weights.safetensors"), load_file(small_encoder / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    assert torch.equal(early[f"network.bert.{name}"], source[name])
    assert not torch.equal(late[f"network.bert.{name}"], source[name])
    words = "embeddings.word_embeddings.weight"
    assert torch.equal(late[f"network.bert.{words}"], source[words]) == ("freeze" in finetune)


def test_a_model_that_thaws_is_compiled_or_left_as_it_is(text_file: Path, small_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="gradual changes the trained layers"):
        check_recipe(
            {
                "data": {"source": "a"},
                "model": {"name": "hf:./x", "finetune": {"mode": "gradual"}},
                "training": {"compile": True},
            }
        )
