"""What danlu does not do is refused by name, with what to use instead and the page that says more."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import RecipeError
from danlu.recipe.load import check_recipe, load_recipe
from danlu.recipe.not_covered import NOT_COVERED, PAGE, refuse_model, refuse_task

ROOT = Path(__file__).parents[2]


def refusal(task: str | None = None, model: object = None) -> str:
    values: dict[str, Any] = {"data": {"source": "x.csv", "task": task}}
    with pytest.raises(RecipeError) as caught:
        check_recipe(values if model is None else {**values, "model": model})
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "named", "instead", "anchor"),
    [
        ("forecasting", "forecasting of time series", "StatsForecast", "forecasting"),
        ("time_series", "forecasting of time series", "StatsForecast", "forecasting"),
        ("object-detection", "object detection", "torchvision.models.detection", "detection"),
        ("Object Detection", "object detection", "torchvision.models.detection", "detection"),
        ("segmentation", "image segmentation", "segmentation-models-pytorch", "segmentation"),
        ("multimodal", "several kinds of input in one network", "AutoGluon", "several-kinds-of-input"),
        ("kto", "KTO", "KTOTrainer", "kto-and-grpo"),
        ("grpo", "GRPO", "GRPOTrainer", "kto-and-grpo"),
        ("vision-language", "vision-language models", "SFTTrainer", "vision-language-models"),
    ],
)
def test_a_task_is_refused_by_name_with_what_to_use(word: str, named: str, instead: str, anchor: str) -> None:
    told = refusal(word)
    assert told.startswith(f"recipe: data.task: {word!r}: danlu does not do ")
    assert named in told and instead in told and f"docs/not-covered.md#{anchor}" in told


@pytest.mark.parametrize(
    ("name", "key", "anchor"),
    [
        ("yolov8n", "model", "detection"),
        ("unet", "model", "segmentation"),
        ("prophet", "model", "forecasting"),
        ("hf:llava", "model.name", "vision-language-models"),
        ("hf:qwen2_5_vl", "model.name", "vision-language-models"),
        ("hf:detr", "model.name", "detection"),
        ("hf:segformer", "model.name", "segmentation"),
        ("hf:patchtst", "model.name", "forecasting"),
        ("hf:clip", "model.name", "several-kinds-of-input"),
    ],
)
def test_a_model_is_refused_by_name_with_the_page(name: str, key: str, anchor: str) -> None:
    told = refusal(model=name)
    assert f"recipe: {key}: " in told and "danlu does not do" in told and f"docs/not-covered.md#{anchor}" in told


def test_the_line_of_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("data:\n  source: x.csv\n  task: grpo\n")
    with pytest.raises(RecipeError, match=rf"{re.escape(str(file))}:3: data\.task: 'grpo': danlu does not do"):
        load_recipe(file)


@pytest.mark.parametrize(("model_type", "refused"), [("llava_next", True), ("qwen3_vl", True), ("llama", False)])
def test_a_folder_is_refused_by_the_type_of_its_model(model_type: str, refused: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    values = {"data": {"source": "x.csv"}, "model": f"hf:{tmp_path}"}
    if refused:
        with pytest.raises(RecipeError, match=f"'{model_type}': danlu does not do training of vision-language models"):
            check_recipe(values)
    else:
        check_recipe(values)


@pytest.mark.parametrize("content", [None, "not JSON", "[]"])
def test_a_folder_whose_config_cannot_be_read_is_left_to_the_model(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    check_recipe({"data": {"source": "x.csv"}, "model": f"hf:{tmp_path}"})


@pytest.mark.parametrize("name", ["bert", "roberta", "electra", "llama", "gpt2", "qwen2", "gemma3", "mllama"])
def test_architectures_that_take_texts_alone_are_not_refused(name: str) -> None:
    check_recipe({"data": {"source": "x.csv"}, "model": f"hf:{name}"})


def test_other_words_are_told_what_is_allowed() -> None:
    assert refuse_task("classificaton") is None and refuse_model("mlpp") is None
    assert 'the nearest is "classification"' in refusal("classificaton")
    assert 'the nearest is "mlp"' in refusal(model="mlpp")


def test_every_anchor_is_a_heading_of_the_page_in_both_languages() -> None:
    english = (ROOT / PAGE).read_text(encoding="utf-8")
    headings = [line.removeprefix("## ").lower().replace(" ", "-") for line in re.findall(r"^## .*", english, re.M)]
    assert headings == list(dict.fromkeys(topic.anchor for topic in NOT_COVERED))
    chinese = (ROOT / PAGE.replace(".md", ".zh.md")).read_text(encoding="utf-8")
    assert len(re.findall(r"^## ", chinese, re.M)) == len(headings)
