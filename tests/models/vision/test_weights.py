"""Pretrained image weights from files and folders of several makers, and back into timm's form."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import danlu as package
from danlu.core.imports import patch_torchvision
from danlu.data.specs import ImageInputs
from danlu.errors import DataError
from danlu.exporters.timm import write_network
from danlu.models.vision.image_model import NormalizedImageModel
from danlu.models.vision.options import Timm
from tests.support.real_weights import efficientnet_lite0

FORMAT = ImageInputs(channels=3, size=32, mean=(0.5,) * 3, std=(0.25,) * 3)


def network(name: str = "test_resnet", **options: Any) -> nn.Module:
    """A network of timm's with random weights and statistics."""
    patch_torchvision()
    import timm

    torch.manual_seed(11)
    made: nn.Module = timm.create_model(name, **options)
    return unsettled(made)


def unsettled(made: nn.Module) -> nn.Module:
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return made.eval()


def built(
    file: Path, name: str = "test_resnet", outputs: int = 3, inputs: ImageInputs = FORMAT
) -> NormalizedImageModel:
    model = Timm(name=f"timm:{name}", pretrained=str(file)).build(inputs, outputs)
    assert isinstance(model, NormalizedImageModel)
    return model


def same_features(model: NormalizedImageModel, original: Any, size: int = 32) -> bool:
    pixels = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    scaled = (pixels.float() / 255.0 - model.mean) / model.std
    with torch.no_grad():
        features = original.forward_head(original.forward_features(scaled), pre_logits=True)
        return torch.allclose(model.eval().features(pixels), features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["safetensors", "torch", "wrapped", "parallel", "compiled"])
def test_weights_are_read_in_whatever_they_are_wrapped(tmp_path: Path, form: str) -> None:
    original = network()
    weights = original.state_dict()
    file = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(weights, file)
    elif form == "torch":
        torch.save(weights, file)
    elif form == "wrapped":
        torch.save({"epoch": 3, "state_dict": weights, "optimizer": {"state": {}}}, file)
    else:
        prefix = "module." if form == "parallel" else "module._orig_mod."
        torch.save({"model": {f"{prefix}{key}": value for key, value in weights.items()}}, file)
    model = built(file)
    assert same_features(model, original)
    assert model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 3)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_a_new_classifier_begins_with_a_guess(tmp_path: Path, name: str) -> None:
    torch.save(network(name).state_dict(), tmp_path / "w.pth")
    model = built(tmp_path / "w.pth", name, outputs=4).eval()
    pixels = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(pixels), torch.arange(64) % 4)
    assert float(loss) < 1.1 * math.log(4)


@pytest.mark.parametrize(
    ("theirs", "name"),
    [("resnet18", "resnet18"), ("mobilenet_v2", "mobilenetv2_100"), ("efficientnet_b0", "efficientnet_b0")],
)
def test_torchvisions_weights_answer_as_in_torchvision(tmp_path: Path, theirs: str, name: str) -> None:
    patch_torchvision()
    import torchvision

    torch.manual_seed(2)
    original = unsettled(getattr(torchvision.models, theirs)())
    torch.save(original.state_dict(), tmp_path / "w.pth")
    model = built(tmp_path / "w.pth", name).eval()
    patch_torchvision()
    import timm

    whole = timm.create_model(name).eval()
    body = {key: value for key, value in model.network.state_dict().items() if "fc." not in key}
    body = {key: value for key, value in body.items() if not key.startswith("classifier.")}
    last = list(original.state_dict().items())[-2:]
    classifier = "fc" if name.startswith("resnet") else "classifier"
    ends = {f"{classifier}.{key.rpartition('.')[2]}": value for key, value in last}
    whole.load_state_dict({**body, **ends})
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(whole(pixels), original(pixels), rtol=1e-4, atol=1e-5)


def test_a_folder_says_itself_what_images_its_weights_want(tmp_path: Path, image_folder: Path) -> None:
    original = network()
    save_file(original.state_dict(), tmp_path / "model.safetensors")
    own = {"input_size": [3, 48, 48], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "classifier": "fc"}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": own}))
    recipe = {
        "data": {"source": str(image_folder)},  # grey images, which weights of three channels see as three times
        "model": {"name": "timm:test_resnet", "pretrained": str(tmp_path)},
        "training": {"max_steps": 2, "batch_size": 8},
    }
    run = package.train(recipe, output=tmp_path / "runs", name="run")
    said = json.loads((run.model / "bundle.json").read_text())["preprocessing"]
    assert (said["size"], said["channels"]) == (48, 3)
    assert (said["mean"], said["std"]) == (own["mean"], own["std"])


def test_weights_of_another_network_are_refused_with_what_differs(tmp_path: Path) -> None:
    weights = network().state_dict()
    torch.save({key: value for key, value in weights.items() if "layer4" not in key}, tmp_path / "short.pth")
    with pytest.raises(DataError, match=r"of another network than test_resnet: \d+ are absent \(layer4"):
        built(tmp_path / "short.pth")
    torch.save(network("test_vit").state_dict(), tmp_path / "vit.pth")
    with pytest.raises(DataError, match=r"\d+ are absent \(.*\), \d+ are unknown \(cls_token, pos_embed\)"):
        built(tmp_path / "vit.pth")
    weights["conv1.0.weight"] = weights["conv1.0.weight"][:4]
    torch.save(weights, tmp_path / "narrow.pth")
    with pytest.raises(DataError, match=r"1 are of another shape \(conv1.0.weight \[4, 3, 3, 3\] in place of \[16"):
        built(tmp_path / "narrow.pth")


class Runs:
    """Would run when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.target),))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": network().state_dict(), "extra": Runs(tmp_path / "made")}, tmp_path / "w.pth")
    with pytest.raises(DataError, match="a pickle can run any code when it is read"):
        built(tmp_path / "w.pth")
    assert not (tmp_path / "made").exists()
    torch.save(network(), tmp_path / "whole.pth")
    with pytest.raises(DataError, match=r"save model\.state_dict\(\) alone"):
        built(tmp_path / "whole.pth")


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        built(tmp_path / "absent.pth")
    with pytest.raises(DataError, match="It has none"):
        built(tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(DataError, match="is not a safetensors file"):
        built(tmp_path / "w.safetensors")
    (tmp_path / "w.pth").write_bytes(b"no weights at all")
    with pytest.raises(DataError, match=r"w\.pth: (is not a file of weights|holds more than tensors)"):
        built(tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"several: w\.safetensors, w\.pth; name one"):
        built(tmp_path)
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    with pytest.raises(DataError, match="holds no named weights, but a list"):
        built(tmp_path / "list.pth")


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_timm_loads_what_is_written_and_answers_alike(tmp_path: Path, name: str) -> None:
    patch_torchvision()
    import timm

    size = 160 if name == "test_vit" else 32
    inputs = ImageInputs(channels=3, size=size, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    options = Timm(name=f"timm:{name}")
    model = options.build(inputs, 5)
    assert isinstance(model, NormalizedImageModel)
    unsettled(model)
    folder = tmp_path / "native"
    folder.mkdir()
    write_network(model, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    wanted = timm.data.resolve_model_data_config(loaded)
    assert (tuple(wanted["mean"]), tuple(wanted["std"])) == (inputs.mean, inputs.std)
    assert tuple(wanted["input_size"]) == (3, size, size)
    pixels = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        answer = loaded((pixels.float() / 255.0 - model.mean) / model.std)
        torch.testing.assert_close(answer, model(pixels))
    again = Timm(name=f"timm:{name}", pretrained=str(folder))
    assert again.data_requirements().image is not None
    assert again.data_requirements().image.mean == inputs.mean  # type: ignore[union-attr]
    assert same_features(again.build(inputs, 5), loaded, size)  # type: ignore[arg-type]


def test_real_weights_of_another_layout_load_into_timms_network() -> None:
    file = efficientnet_lite0()
    options = Timm(name="timm:tf_efficientnet_lite0", pretrained=str(file))
    wanted = options.data_requirements().image
    assert wanted is not None
    assert (wanted.size, wanted.mean, wanted.std) == (224, (0.5,) * 3, (0.5,) * 3)
    inputs = ImageInputs(channels=3, size=224, mean=wanted.mean, std=wanted.std)
    model = options.build(inputs, 3)
    theirs = torch.load(file, weights_only=True)
    own = model.state_dict()
    assert torch.equal(own["network.conv_stem.weight"], theirs["_conv_stem.weight"])
    assert torch.equal(own["network.blocks.0.0.bn2.running_var"], theirs["_blocks.0._bn2.running_var"])
    assert torch.equal(own["network.blocks.6.0.conv_pwl.weight"], theirs["_blocks.15._project_conv.weight"])
    assert not torch.equal(own["network.blocks.1.0.bn1.weight"], torch.ones(96))
    with pytest.raises(DataError, match="of another network than tf_efficientnet_lite1"):
        Timm(name="timm:tf_efficientnet_lite1", pretrained=str(file)).build(inputs, 3)
