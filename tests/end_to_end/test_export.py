"""`danlu export`: a bundle's model as its own library has it, checked by the bundle's golden samples."""

import hashlib
import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import danlu as package
from danlu.core.imports import patch_torchvision
from danlu.errors import ArgumentError, ArtifactError
from danlu.exporters.table import EXPORTERS
from danlu.models.answer_folding import Placement
from danlu.models.predictor import Predictor
from danlu.models.vision.image_model import NormalizedImageModel
from tests.conftest import Command
from tests.support.disk import files_of_at_most

RECIPE = {
    "data": {"source": "builtin:digits", "image_size": 32},
    "model": {"name": "timm:test_resnet"},
    "training": {"max_steps": 20, "batch_size": 64},
    "evaluation": {"baselines": False},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.run(RECIPE, output=tmp_path_factory.mktemp("runs"), name="images").path


@pytest.mark.slow
def test_an_image_model_is_exported_and_timm_answers_as_its_bundle(
    images: Path, tmp_path: Path, danlu: Command
) -> None:
    done = danlu("export", str(images), str(tmp_path / "out"))
    assert done.returncode == 0
    assert "reproduces the bundle's golden samples" in done.stderr
    patch_torchvision()
    import timm

    predictor = Predictor.load(images)
    inputs = predictor.preprocessor.inputs
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    pixels = torch.randint(0, 256, (4, inputs.channels, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(NormalizedImageModel(loaded, inputs)(pixels), predictor.model(pixels))


@pytest.mark.slow
def test_what_answers_otherwise_is_not_left_there(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(predictor: Predictor, folder: Path) -> Placement:
        other = deepcopy(predictor.model)
        with torch.no_grad():
            next(other.parameters()).add_(0.5)
        return exporter.write(predictor.with_model(other), folder)

    exporter = EXPORTERS["timm"]
    monkeypatch.setitem(EXPORTERS, "timm", replace(exporter, write=damaged))
    with pytest.raises(ArtifactError, match="golden samples"):
        package.export(images, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_replaced(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="exists already"):
        package.export(images, tmp_path)


def test_a_model_of_danlus_own_says_that_it_has_no_other_form(table_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no library has a format of its own for"):
        package.export(table_run, tmp_path / "out")


@pytest.mark.slow
def test_json_says_what_was_written_and_how_it_was_compared(images: Path, tmp_path: Path, danlu: Command) -> None:
    done = danlu("export", str(images), str(tmp_path / "out"), "--to", "timm", "--json")
    said = json.loads(done.stdout)
    assert said == {
        "format": 1,
        "folder": str(tmp_path / "out"),
        **json.loads((tmp_path / "out/danlu.json").read_text()),
    }
    assert [file["name"] for file in said["files"]] == ["config.json", "model.safetensors"]
    for file in said["files"]:
        assert hashlib.sha256((tmp_path / "out" / file["name"]).read_bytes()).hexdigest() == file["sha256"]
    assert said["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["batch", 1, 32, 32]}]
    check = said["check"]
    assert check["engine"].startswith("timm 1.")
    assert (check["rows"], check["agreement"], check["tolerance"]) == (8, 1.0, 1e-4)
    assert check["mean_deviation"] <= check["max_deviation"] <= 1e-4


def test_another_librarys_format_is_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="--to lightgbm: timm:test_resnet is written as timm"):
        package.export(images, tmp_path / "out", to="lightgbm")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("source", ["breast-cancer", "wine", "diabetes"])  # two classes, three, a number
def test_boosted_trees_are_exported_and_lightgbm_answers_as_the_bundle(source: str, tmp_path: Path) -> None:
    recipe = {"data": {"source": f"builtin:{source}"}, "model": {"name": "boosting", "rounds": 20}}
    run = package.run({**recipe, "evaluation": {"baselines": False}}, output=tmp_path, name="run").path
    exported = package.export(run, tmp_path / "out")  # which has LightGBM answer the golden samples
    assert sorted(path.name for path in exported.iterdir()) == ["README.md", "danlu.json", "lightgbm.txt"]


@pytest.mark.slow
def test_a_full_disk_leaves_no_trees_behind(tmp_path: Path) -> None:
    recipe = {"data": {"source": "builtin:wine"}, "model": {"name": "boosting", "rounds": 5}}
    run = package.run({**recipe, "evaluation": {"baselines": False}}, output=tmp_path, name="run").path
    with files_of_at_most(1000), pytest.raises(ArtifactError, match=r"lightgbm\.txt: cannot be written"):
        package.export(run, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
