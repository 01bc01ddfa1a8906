"""A pretrained classifier's outputs are ordered by its own names where these are the data's, else its head is new."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from danlu.core.imports import patch_torchvision
from danlu.data.specs import ImageInputs, TaggingInputs, TextInputs
from danlu.experiment.data_context import fit_preprocessing, load_data
from danlu.experiment.prepare import build_initial_model
from danlu.models.head_labels import rows_of_labels
from danlu.models.text.options import Transformer
from danlu.models.vision.options import Timm
from danlu.recipe.load import check_recipe
from tests.support.chatting import write_lines
from tests.support.tiny_folders import SENTENCES, tiny_folder

TEXTS = TextInputs(vocabulary=300, longest=16, pad=3)
LABELS = ["world", "sports", "money"]
HEADS = {"bert": "classifier", "roberta": "classifier.out_proj", "distilbert": "classifier", "gpt2": "score"}


def head_of(model: Any, name: str) -> Any:
    return model.network.get_submodule(name)


def ordered(folder: Path, labels: list[str] | None, outputs: int, inputs: Any = TEXTS) -> Any:
    options = Transformer(name=f"hf:{folder}")
    torch.manual_seed(7)
    model = options.build(inputs, outputs)
    options.order_head(model, labels)
    return model


@pytest.mark.parametrize("architecture", HEADS)
@pytest.mark.parametrize("labels", [["money", "sports", "world"], ["sports", "money"], ["Money ", "SPORTS", "world"]])
def test_rows_follow_the_names(architecture: str, labels: list[str], tmp_path: Path) -> None:
    folder, head = tiny_folder(tmp_path / "model", architecture, labels=LABELS), HEADS[architecture]
    kept = load_file(folder / "model.safetensors")
    rows = [LABELS.index(label.strip().lower()) for label in labels]
    found = head_of(ordered(folder, labels, len(labels)), head)
    assert torch.equal(found.weight, kept[f"{head}.weight"][rows])
    if found.bias is not None:
        assert torch.equal(found.bias, kept[f"{head}.bias"][rows])


@pytest.mark.parametrize("labels", [["yes", "no", "maybe"], ["world", "sports", "other"], None])
def test_other_names_get_a_new_head_and_it_is_said(
    labels: list[str] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_folder(tmp_path / "model", "bert", labels=LABELS)
    kept = load_file(folder / "model.safetensors")["classifier.weight"]
    found = head_of(ordered(folder, labels, 3), "classifier")
    assert not any(torch.equal(row, other) for row in found.weight for other in kept)
    assert torch.equal(found.bias, torch.zeros(3))
    said = "a number" if labels is None else ", ".join(labels)
    told = capsys.readouterr().err
    assert f"a new head is trained, since its own is for world, sports, money, and the data has {said}" in told


def test_tags_follow_the_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tags = ["O", "B-PER", "I-PER"]
    folder = tiny_folder(tmp_path / "model", "bert", labels=tags, words=True)
    kept = load_file(folder / "model.safetensors")["classifier.weight"]
    inputs = TaggingInputs(vocabulary=300, longest=16, pad=3)
    found = head_of(ordered(folder, ["B-PER", "I-PER", "O"], 3, inputs), "classifier")
    assert torch.equal(found.weight, kept[[1, 2, 0]])
    assert (
        "its head is kept, its outputs in the order of the data's labels (B-PER, I-PER, O)" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("named", "rows"),
    [(["fan", "cable", "screen"], [1, 0, 2]), (["Screen", "FAN", "cable"], [2, 1, 0]), (["a", "b", "c"], None)],
)
def test_a_head_of_several_labels_follows_their_names(
    named: list[str], rows: list[int] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the file: the labels of the data are cable, fan and screen, in this order."""
    folder = tiny_folder(tmp_path / "model", "bert", labels=named, problem_type="multi_label_classification")
    kept = load_file(folder / "model.safetensors")
    said = [["screen"], ["fan", "screen"], ["cable"], ["cable", "fan"], ["screen", "cable"]] * 8
    lines = [{"text": f"{SENTENCES[n % 10]} {n}", "labels": labels} for n, labels in enumerate(said)]
    source = write_lines(tmp_path / "rows.jsonl", lines)
    recipe = {"data": {"source": str(source), "text": "text", "target": "labels"}, "model": f"hf:{folder}"}
    context = load_data(check_recipe(recipe))
    preprocessing = fit_preprocessing(context)
    assert preprocessing.target.labels == ("cable", "fan", "screen")  # type: ignore[attr-defined]
    head = head_of(build_initial_model(context, preprocessing), "classifier")
    told = capsys.readouterr().err
    if rows is None:
        assert not any(torch.equal(row, other) for row in head.weight for other in kept["classifier.weight"])
        assert "a new head is trained, since its own is for a, b, c, and the data has cable, fan, screen" in told
    else:
        assert torch.equal(head.weight, kept["classifier.weight"][rows])
        assert torch.equal(head.bias, kept["classifier.bias"][rows])
        assert "its head is kept, its outputs in the order of the data's labels (cable, fan, screen)" in told


def test_a_head_of_another_task_is_new(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "bert", labels=LABELS, words=True)
    kept = load_file(folder / "model.safetensors")["classifier.weight"]
    assert not torch.equal(head_of(ordered(folder, LABELS, 3), "classifier").weight, kept)


def test_a_folder_without_a_head_is_no_matter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ordered(tiny_folder(tmp_path / "model", "gpt2"), LABELS, 3)
    assert "head" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "rows"), [(["dog", "cat"], [2, 0]), (["a feline", "a hound"], [0, 2]), (["fox", "owl"], None)]
)
def test_images_follow_the_names_of_their_weights(labels: list[str], rows: list[int] | None, tmp_path: Path) -> None:
    patch_torchvision()
    import timm

    torch.manual_seed(3)
    network = timm.create_model("test_resnet", num_classes=3, in_chans=3)
    with torch.no_grad():
        network.get_classifier().bias.normal_()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    described = {"cat": "a feline", "cow": "a bovine", "dog": "a hound"}
    said = {"architecture": "test_resnet", "label_names": ["cat", "cow", "dog"], "label_descriptions": described}
    (tmp_path / "config.json").write_text(json.dumps(said))
    options = Timm(name="timm:test_resnet", pretrained=str(tmp_path))
    model: Any = options.build(ImageInputs(channels=3, size=32, mean=(0.5,) * 3, std=(0.25,) * 3), 2)
    options.order_head(model, labels)
    own, old = model.network.get_classifier(), network.get_classifier()
    if rows is None:
        assert torch.equal(own.bias, torch.zeros(2))
    else:
        assert torch.equal(own.weight, old.weight[rows])
        assert torch.equal(own.bias, old.bias[rows])


def test_names_that_fall_together_are_not_matched_without_case() -> None:
    assert rows_of_labels(["Polish", "polish"], ["polish", "Polish"]) == [1, 0]
    assert rows_of_labels(["POLISH", "german"], ["polish", "Polish", "german"]) is None
    assert rows_of_labels(["1", "0"], ["0", "1"]) == [1, 0]
