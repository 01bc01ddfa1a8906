"""A student learns its teacher's hidden states by projections that are trained with it and thrown away."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import danlu as package
from danlu.artifacts.bundle import WEIGHTS
from danlu.artifacts.checkpoints import open_checkpoint
from danlu.artifacts.files import read_frame
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.tensors import load_tensors
from danlu.core.imports import patch_torchvision
from danlu.data.builtin import read_builtin
from danlu.errors import ArgumentError, ArtifactError, RecipeError
from danlu.experiment import distillation as teaching
from danlu.models.hidden_states import HiddenStateHook
from danlu.models.task_model import PROJECTION_NAME
from danlu.tasks.loss_weighting import LossWeighting
from danlu.training.distillation import Distance, ProjectedFeatures, feature_distillation_loss, teacher_layer
from tests.end_to_end.test_data_parallel import TABLE, alike, trained, with_training
from tests.training.test_distillation import assert_goes_on, recipe

WIDE = {"name": "mlp", "hidden": [64, 48]}
NARROW = {"name": "mlp", "hidden": [16, 8]}
TEXTS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
STUDENT = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.run(recipe(model=WIDE), output=tmp_path_factory.mktemp("teachers")).path


@pytest.fixture(scope="module")
def reader_of_texts(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    asked = texts(text_file, "bert", {**TEXTS, "num_hidden_layers": 3})
    return package.train(asked, output=tmp_path_factory.mktemp("teachers")).path


def texts(source: Path, name: str, config: dict[str, Any], **training: Any) -> dict[str, Any]:
    asked = recipe(source, {"name": f"hf:{name}", "config": config}, **{"epochs": None, "max_steps": 8, **training})
    asked["data"] |= {"target": "era", "sequence_length": 32, "vocabulary": 400}
    return asked


def distill(teacher: Path, **hidden: Any) -> dict[str, Any]:
    return {"teacher": str(teacher), "weight": 0.5, "hidden": hidden}


def features(run: Path, frame: Any) -> np.ndarray:
    """What stands before a bundle's last layer, [rows, width]."""
    predictor = package.load(run)
    reader = HiddenStateHook(predictor.model, "features", "it")
    found: list[np.ndarray] = []
    predictor.model.register_forward_hook(lambda *_: found.append(reader.pop_states()[0][:, 0].cpu().numpy()))
    predictor.predict(frame)
    return np.concatenate(found)


def likeness(left: np.ndarray, right: np.ndarray) -> float:
    """Linear CKA (Kornblith et al. 2019): 1 for states that are the same but for a turn and a scale."""
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    return float(
        np.linalg.norm(left.T @ right) ** 2 / (np.linalg.norm(left.T @ left) * np.linalg.norm(right.T @ right))
    )


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_a_students_hidden_states_come_nearer_to_its_teachers(teacher: Path, tmp_path: Path, distance: str) -> None:
    frame = read_builtin("builtin:breast-cancer").frame
    taught = features(teacher, frame)
    found = {}
    for name, more in (("answers", {}), ("hidden", {"hidden": {"distance": distance, "weight": 3.0}})):
        lesson = {"teacher": str(teacher), "weight": 0.5, **more}
        asked = recipe(model=NARROW, epochs=30, optimizer={"lr": 3e-3}, distill=lesson)
        run = package.run(asked, output=tmp_path, name=name)
        assert run.evaluation()["test"]["accuracy"]["value"] > 0.9
        found[name] = likeness(features(run.path, frame), taught)
    assert found["hidden"] > found["answers"] + 0.02, found


@pytest.mark.slow
@pytest.mark.training
def test_the_bundle_has_no_projection_and_checkpoints_have(teacher: Path, tmp_path: Path) -> None:
    run = package.train(recipe(model=NARROW, distill=distill(teacher)), output=tmp_path).path
    steps = RunDirectory.open(run).checkpoints()
    kept = open_checkpoint(RunDirectory.open(run), int(steps[-1].name.removeprefix("step-"))).tensors("weights")
    assert kept[f"{PROJECTION_NAME}.projections.0.weight"].shape == (48, 8)
    plain = package.train(recipe(model=NARROW), output=tmp_path, name="plain").path
    assert set(load_tensors(run / "model" / WEIGHTS)) == set(load_tensors(plain / "model" / WEIGHTS))


@pytest.mark.slow
@pytest.mark.training
def test_hidden_states_are_kept_with_the_answers(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    for epochs in (1, 2):
        asked = recipe(model=NARROW, epochs=epochs, distill=distill(teacher))
        run = package.train(asked, output=tmp_path, name=str(epochs))
    (kept,) = (tmp_path / "cache" / "teachers").iterdir()
    lessons = np.load(kept / teaching.FILE)
    learned = read_frame(run.path / "data" / "split.parquet").filter(pl.col("part") == "train")
    assert lessons.shape == (len(learned), 2 + 48)


def test_states_that_no_disk_has_room_for_are_refused(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANLU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(teaching, "DISK_FRACTION", 1e-12)
    with pytest.raises(ArtifactError, match="the teacher's outputs take"):
        package.train(recipe(model=NARROW, distill=distill(teacher)), output=tmp_path)


@pytest.mark.slow
@pytest.mark.training
def test_a_run_that_learns_hidden_states_goes_on_bit_by_bit(teacher: Path, tmp_path: Path) -> None:
    checkpoint = {"every_steps": 3, "keep": 4}
    asked = recipe(model=NARROW, distill=distill(teacher), checkpoint=checkpoint, average="ema")
    assert_goes_on(package.train(asked, output=tmp_path, name="whole").path, tmp_path)


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize(
    "model",
    [
        {"name": "resnet", "width": 16, "blocks": 1},
        {"name": "ft-transformer", "width": 16, "blocks": 1, "heads": 2},
        {"name": "tabm", "width": 16, "members": 4},
    ],
    ids=["resnet", "ft-transformer", "tabm"],
)
def test_families_of_tables_learn_from_one_another(teacher: Path, tmp_path: Path, model: dict[str, Any]) -> None:
    asked = recipe(model=model, epochs=1, distill=distill(teacher))
    run = package.train(asked, output=tmp_path, name="student")
    again = recipe(model=NARROW, epochs=1, distill=distill(run.path))
    package.train(again, output=tmp_path, name="students-student")


@pytest.mark.slow
@pytest.mark.training
def test_numbers_and_labels_are_learned_with_hidden_states(tmp_path: Path) -> None:
    teacher = package.train(recipe("builtin:diabetes", WIDE, epochs=2), output=tmp_path, name="teacher").path
    asked = recipe("builtin:diabetes", NARROW, epochs=2, distill={**distill(teacher), "weight": 0.0})
    package.train(asked, output=tmp_path, name="student")
    frame = read_builtin("builtin:breast-cancer").frame
    wide, rough = ((pl.col(f"mean {what}") > least).cast(pl.Int8) for what, least in (("radius", 15), ("texture", 19)))
    frame.with_columns(wide.alias("wide"), rough.alias("rough")).write_csv(tmp_path / "labels.csv")
    several = recipe(tmp_path / "labels.csv", WIDE, epochs=2)
    several["data"]["target"] = ["wide", "rough"]
    teacher = package.train(several, output=tmp_path, name="labels").path
    several["model"], several["training"]["distill"] = NARROW, distill(teacher)
    package.train(several, output=tmp_path, name="labels-student")


@pytest.mark.slow
@pytest.mark.training
def test_images_learn_the_features_of_samples_as_they_are_changed(image_folder: Path, tmp_path: Path) -> None:
    """A convolutional classifier over pooled features is the teacher; the batch goes through in parts."""
    own = {"name": "small-resnet", "stem": 4, "widths": [8], "mirrored": True}
    teacher = package.train(recipe(image_folder, own, epochs=1), output=tmp_path, name="teacher").path
    asked = recipe(image_folder, "timm:test_resnet", epochs=None, max_steps=9, accumulate=2)
    asked["training"] |= {"distill": distill(teacher), "checkpoint": {"every_steps": 3, "keep": 4}}
    asked["data"]["augment"] = [{"rotate": {"degrees": 20}}, "mixup"]
    assert_goes_on(package.train(asked, output=tmp_path, name="whole").path, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("finetune", [{"mode": "lora"}, {"mode": "gradual"}, {"freeze_epochs": 1}], ids=str)
def test_pretrained_weights_that_are_adapted_or_thaw_learn_hidden_states(
    image_folder: Path, tmp_path: Path, finetune: dict[str, Any]
) -> None:
    patch_torchvision()
    import timm

    weights = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), weights)
    teacher = package.train(recipe(image_folder, "timm:test_resnet", epochs=1), output=tmp_path, name="teacher").path
    model = {"name": "timm:test_resnet", "pretrained": str(weights), "finetune": finetune}
    asked = recipe(image_folder, model, epochs=2, checkpoint={"every_steps": 4, "keep": 4}, distill=distill(teacher))
    whole = package.train(asked, output=tmp_path, name="whole").path
    assert not any(PROJECTION_NAME in name for name in load_tensors(whole / "model" / WEIGHTS))
    assert_goes_on(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.training
def test_a_rate_is_tried_on_a_copy_with_projections_of_its_own(teacher: Path, tmp_path: Path) -> None:
    lesson = distill(teacher)
    asked = recipe(model=NARROW, epochs=2, batch_size="auto", optimizer={"lr": "auto"}, distill=lesson)
    package.train(asked, output=tmp_path)


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("states", ["features", "layers"])
def test_texts_learn_from_another_architecture(
    reader_of_texts: Path, text_file: Path, tmp_path: Path, states: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = texts(text_file, "distilbert", STUDENT, distill=distill(reader_of_texts, states=states, distance="cosine"))
    asked["training"]["checkpoint"] = {"every_steps": 3, "keep": 4}
    whole = package.train(asked, output=tmp_path, name="whole").path
    assert ("the teacher runs in every training step" in capsys.readouterr().err) == (states == "layers")
    assert_goes_on(whole, tmp_path)


def test_layers_meet_those_spread_evenly_over_the_teacher() -> None:
    assert [teacher_layer(layer, 4, 12) for layer in (1, 2, 3, 4)] == [3, 6, 9, 12]
    assert [teacher_layer(layer, 6, 2) for layer in range(1, 7)] == [1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_the_distance_is_the_mean_over_layers_and_over_places_that_count(distance: Distance) -> None:
    generator = np.random.default_rng(0)
    own, taught = (generator.normal(size=(3, 2, 4, 5)) for _ in range(2))
    present = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
    norms = np.linalg.norm(own, axis=3) * np.linalg.norm(taught, axis=3)
    apart = ((own - taught) ** 2).mean(axis=3) if distance == "mse" else 1 - (own * taught).sum(axis=3) / norms
    expected = ((apart.mean(axis=1) * present).sum(axis=1) / present.sum(axis=1)).sum()
    loss = feature_distillation_loss(lambda logits, target, emphasis: (target.sum(), 3), distance, weight=0.7)
    found = ProjectedFeatures(torch.zeros(3, 2), torch.tensor(own, dtype=torch.float32), torch.tensor(present))
    target = torch.tensor(np.concatenate([np.full((3, 2), 0.5), taught.reshape(3, -1)], axis=1), dtype=torch.float32)
    total, count = loss(found, target, LossWeighting())
    assert count == 3
    assert float(total) == pytest.approx(3.0 + 0.7 * expected, rel=1e-5)


@pytest.mark.slow
def test_two_processes_learn_hidden_states_as_one(teacher: Path, tmp_path: Path) -> None:
    taught = with_training(TABLE, distill=distill(teacher))
    several = trained(2, tmp_path, {"taught": with_training(taught, parallel={"data": 2})})["taught"]
    alike(several, package.train(taught, output=tmp_path, name="alone"))


@pytest.mark.slow
@pytest.mark.training
def test_what_has_no_hidden_states_is_refused(
    teacher: Path, tmp_path: Path, reader_of_texts: Path, text_file: Path
) -> None:
    with pytest.raises(ArgumentError, match=r"training.distill.hidden: linear has no last layer"):
        package.train(recipe(model="linear", distill=distill(teacher)), output=tmp_path)
    tree = package.train(recipe(model="tree") | {"training": {}}, output=tmp_path, name="tree").path
    with pytest.raises(ArgumentError, match=r"the teacher \(tree\) has no last layer"):
        package.train(recipe(model=NARROW, distill=distill(tree)), output=tmp_path)
    with pytest.raises(ArgumentError, match="no transformer of texts"):
        package.train(recipe(model=NARROW, distill=distill(teacher, states="layers")), output=tmp_path)
    other = texts(text_file, "bert", TEXTS, distill=distill(reader_of_texts, states="layers"))
    other["data"]["sequence_length"] = 24
    with pytest.raises(ArgumentError, match=r"cannot run for token states.*remove training.distill.hidden"):
        package.train(other, output=tmp_path)
    causal = texts(text_file, "gpt2", {"n_embd": 16, "n_layer": 1, "n_head": 2}, distill=distill(reader_of_texts))
    with pytest.raises(ArgumentError, match="classifies by one of its tokens"):
        package.train(causal, output=tmp_path)
    with pytest.raises(RecipeError, match="weight is 0, so nothing is learned"):
        package.check(recipe(distill={"teacher": str(teacher), "weight": 0}))
    weights = {"name": "timm:test_resnet", "pretrained": "weights.pth", "finetune": {"mode": "head"}}
    with pytest.raises(RecipeError, match=r"trains the layers below the head"):
        package.check(recipe(model=weights, distill=distill(teacher)))
