"""The small residual network: its shapes, its options, what it learns, and what a bundle keeps of it."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

import danlu as package
from danlu.data.specs import ImageInputs
from danlu.errors import RecipeError
from danlu.models.vision.options import SmallResNet
from danlu.recipe.load import check_recipe


def inputs(channels: Any = 1, size: int = 28) -> ImageInputs:
    return ImageInputs(channels=channels, size=size, mean=(0.3,) * channels, std=(0.4,) * channels)


def images(channels: int, size: int, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    # In memory channel by channel of each pixel, as training feeds them.
    pixels = torch.randint(0, 256, (count, size, size, channels), dtype=torch.uint8, generator=generator)
    return pixels.permute(0, 3, 1, 2)


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (3, 45), (1, 64)])
def test_it_takes_gray_and_colour_of_any_small_size(channels: int, size: int) -> None:
    model = SmallResNet().build(inputs(channels, size), 7)
    assert model(image=images(channels, size)).shape == (2, 7)


def test_each_stage_halves_the_side_and_has_its_width_and_blocks() -> None:
    network: Any = SmallResNet(stem=8, widths=(12, 20, 24), blocks=(0, 2, 1)).build(inputs(), 10).network
    shapes = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape))) for layer in network.features
    ]
    network(torch.zeros(2, 1, 28, 28))
    assert list(dict.fromkeys(shapes)) == [(2, 8, 28, 28), (2, 12, 14, 14), (2, 20, 7, 7), (2, 24, 4, 4)]
    assert len(hooks) == 3 * (1 + 3) + 0 + 2 + 1
    assert network.classifier.in_features == 2 * 24


@pytest.mark.parametrize("normalization", ["batch", "group", "layer"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_each_style_has_gradients_everywhere(normalization: Any, activation: Any) -> None:
    torch.manual_seed(0)
    options = SmallResNet(stem=8, widths=(16, 32), normalization=normalization, activation=activation)
    model = options.build(inputs(), 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # What starts at zero is passed by later steps alone: the classifier by the second, the branches by the third.
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(image=images(1, 28, 4)), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() and p.grad.any() for p in model.parameters())


def test_a_new_block_passes_its_input_on() -> None:
    torch.manual_seed(0)
    with_blocks = SmallResNet(stem=8, widths=(16,), blocks=1).build(inputs(), 3)
    without = SmallResNet(stem=8, widths=(16,), blocks=0).build(inputs(), 3)
    ours, theirs = with_blocks.state_dict(), without.state_dict()
    torch.nn.init.normal_(ours["network.classifier.weight"])  # a new classifier answers nothing
    for name in theirs:
        theirs[name].copy_(ours[name])
    torch.testing.assert_close(with_blocks(image=images(1, 28)), without(image=images(1, 28)))


def test_stochastic_depth_leaves_out_blocks_in_training_alone() -> None:
    from danlu.models.vision.small_resnet import LayerStyle, ResidualBlock

    torch.manual_seed(0)
    block = ResidualBlock(16, LayerStyle("group", "relu"), drop=0.4)
    torch.nn.init.ones_(block.branch[-1].weight)  # type: ignore[arg-type]
    features = torch.rand(2000, 16, 2, 2)
    branch = block.branch(features)
    changed = (block(features) != features).flatten(1).any(dim=1)
    assert changed.float().mean().item() == pytest.approx(0.6, abs=0.05)
    kept = torch.relu(features + branch / 0.6)
    again = block(features)
    held = (again == features).flatten(1).all(dim=1)
    torch.testing.assert_close(again[~held], kept[~held])
    torch.testing.assert_close(block.eval()(features), torch.relu(features + branch))


def test_mirrored_answers_do_not_tell_left_from_right() -> None:
    torch.manual_seed(0)
    plain, mirrored = SmallResNet().build(inputs(), 3), SmallResNet(mirrored=True).build(inputs(), 3)
    for weight in (weights := plain.state_dict()).values():
        weight.copy_(torch.rand(weight.shape) * 0.1)  # a new classifier answers nothing
    mirrored.load_state_dict(weights)
    pixels = images(1, 28)
    with torch.no_grad():
        assert torch.equal(plain.train()(image=pixels), mirrored.train()(image=pixels))
        left, right = (plain.eval()(image=side) for side in (pixels, pixels.flip(3)))
        assert not torch.allclose(left, right)
        torch.testing.assert_close(mirrored.eval()(image=pixels), (left + right) / 2)


def test_convolutions_have_the_layout_they_are_fastest_in() -> None:
    network: Any = SmallResNet().build(inputs(3, 32), 10).network
    assert network.features[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert network.features(images(3, 32).float()).is_contiguous(memory_format=torch.channels_last)


def test_blocks_and_widths_must_agree() -> None:
    with pytest.raises(ValidationError, match="widths names 3 stages, blocks 2"):
        SmallResNet(blocks=(1, 2))
    with pytest.raises(RecipeError, match="widths names 2 stages, blocks 1"):
        check_recipe({"data": {"source": "x"}, "model": {"name": "small-resnet", "widths": [8, 16], "blocks": [1]}})


@pytest.fixture(scope="module")
def digits() -> dict[str, Any]:
    return {
        "name": "digits",
        "data": {
            "source": "builtin:digits",
            "target": "digit",
            "image_size": 28,
            "augment": [{"translate": {"fraction": 0.05, "whole_pixels": True}}],
        },
        "model": {"name": "small-resnet", "stem": 8, "widths": [16, 32, 64], "dropout": 0.1, "stochastic_depth": 0.1},
        "training": {"epochs": 4, "batch_size": 32, "optimizer": {"name": "adamw", "lr": 4e-3}},
        "evaluation": {"baselines": False},
    }


@pytest.fixture(scope="module")
def run(digits: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.run(digits, output=tmp_path_factory.mktemp("runs")).path


@pytest.mark.slow
def test_it_learns_digits_in_four_epochs(run: Path) -> None:
    from danlu.artifacts.run import RunDirectory

    assert RunDirectory.open(run).evaluation()["test"]["accuracy"]["value"] > 0.93


@pytest.mark.slow
def test_a_bundle_answers_as_the_run_did(run: Path) -> None:
    from danlu.data.builtin import read_builtin

    recorded = pl.read_parquet(run / "predictions" / "test.parquet")
    frame = read_builtin("builtin:digits").frame[recorded["row"].to_list()]
    answered = package.load(run / "model").predict(frame)
    assert answered["prediction"].equals(recorded["prediction"])
    np.testing.assert_allclose(answered["probability"], recorded["probability"], atol=1e-6)


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_bytes(run: Path, digits: dict[str, Any], tmp_path: Path) -> None:
    again = package.run(digits, output=tmp_path).path
    for file in ("model/weights.safetensors", "evaluation.json"):
        assert (run / file).read_bytes() == (again / file).read_bytes(), file
    weights = load_file(again / "model" / "weights.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())
