"""Names of other libraries are answered with the line to write, and that line is valid."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

import danlu as package
from danlu.core.imports import patch_torchvision
from danlu.data.balance.loss_weights import ClassWeights
from danlu.errors import DataError, RecipeError
from danlu.recipe.load import check_recipe
from danlu.recipe.other_names import AUGMENTATIONS, timm_name


def recipe(**changes: Any) -> dict[str, Any]:
    return {"data": {"source": "builtin:digits", **changes.pop("data", {})}, **changes}


@pytest.mark.parametrize("line", AUGMENTATIONS)
def test_an_augmentation_of_another_library_is_answered_with_a_valid_line(line: str) -> None:
    check_recipe(recipe(data={"augment": [yaml.safe_load(line)]}))
    for name in AUGMENTATIONS[line]:
        with pytest.raises(RecipeError) as refused:
            check_recipe(recipe(data={"augment": [name]}))
        assert f"the nearest here is `{line}`" in str(refused.value)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("resnet18", "resnet18"),
        ("ResNet50", "resnet50"),
        ("EfficientNetB0", "efficientnet_b0"),
        ("mobilenet_v2", "mobilenetv2_100"),
        ("vit_b_16", "vit_base_patch16_224"),
        ("VGG16", "vgg16"),
    ],
)
def test_an_image_network_points_at_timm(said: str, meant: str) -> None:
    with pytest.raises(RecipeError, match=f"write `timm:{meant}`"):
        check_recipe(recipe(model=said))
    patch_torchvision()
    timm = pytest.importorskip("timm")
    assert timm.is_model(meant)
    assert timm_name("gradient-boosting") is None


def test_pretrained_weights_are_a_file_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model.pretrained: names a file of weights.*huggingface.co/timm"):
        check_recipe(recipe(model={"name": "timm:resnet18", "pretrained": True}))
    lost = str(tmp_path / "lost.safetensors")
    with pytest.raises(DataError, match=r"model.pretrained: no such file or folder: .*lost.safetensors"):
        package.check(recipe(model={"name": "timm:resnet18", "pretrained": lost}))


def test_class_weights_by_label() -> None:
    weights = ClassWeights.model_validate({"weights": {"ok": 1, "fraud": 20}})
    found = weights.for_labels(("fraud", "ok")).loss_weighting(np.array([10, 90])).class_weights
    assert found is not None and found[0] / found[1] == pytest.approx(20)
    assert np.dot(found, [10, 90]) == pytest.approx(100)  # mean 1 over the samples
    with pytest.raises(RecipeError, match=r"no class 'fruad'; the nearest is \"fraud\""):
        ClassWeights.model_validate({"weights": {"ok": 1, "fruad": 20}}).for_labels(("fraud", "ok"))
    with pytest.raises(RecipeError, match="has no weight for class 'ok'"):
        ClassWeights.model_validate({"weights": {"fraud": 20}}).for_labels(("fraud", "ok"))


@pytest.mark.training
def test_own_weights_move_answers_to_the_heavier_class(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=300)
    rows = pl.DataFrame({"x": x, "state": np.where(x + generator.normal(size=300) > 1.5, "fraud", "ok")})
    shares = {}
    for weight in (1, 20):
        balance = {"name": "class-weights", "weights": {"ok": 1, "fraud": weight}}
        run = package.train(
            {
                "data": {"target": "state", "balance": balance},
                "model": "linear",
                "training": {"epochs": 20, "optimizer": {"lr": 0.1}},
            },
            data=rows,
            output=tmp_path,
            name=str(weight),
        )
        shares[weight] = (package.predict(run.path, rows)["prediction"] == "fraud").mean()
    assert shares[20] > shares[1] + 0.2
