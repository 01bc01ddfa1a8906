"""Knowledge distillation: the loss is the paper's, a student takes on a teacher's answers, runs go on bit by bit."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import danlu as package
from danlu.artifacts.cache import cache_root
from danlu.artifacts.run import RunDirectory
from danlu.core.imports import patch_torchvision
from danlu.data.builtin import read_builtin
from danlu.errors import ArgumentError, ArtifactError, RecipeError
from danlu.experiment.data_context import load_data
from danlu.experiment.prepare import prepare_training
from danlu.recipe.load import as_recipe
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.regression import NumericTarget
from danlu.tasks.table import get_task
from danlu.training.distillation import distillation_loss, network_logits
from tests.end_to_end.test_data_parallel import TABLE, alike, trained, with_training
from tests.end_to_end.test_resume import ends


def recipe(source: str | Path = "builtin:breast-cancer", model: Any = "mlp", **training: Any) -> dict[str, Any]:
    return {
        "data": {"source": str(source)},
        "model": {"name": model} if isinstance(model, str) else model,
        "training": {"epochs": 5, "batch_size": 32, **training},
        "evaluation": {"resamples": 0, "baselines": False},
    }


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.run(recipe(), output=tmp_path_factory.mktemp("teachers")).path


@pytest.fixture(scope="module")
def digits(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of images."""
    asked = {**recipe(image_folder, "timm:test_resnet", epochs=2, optimizer={"lr": 3e-3})}
    return package.run(asked, output=tmp_path_factory.mktemp("teachers")).path


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def lost(task: str, logits: np.ndarray, own: np.ndarray, taught: np.ndarray) -> float:
    known = get_task(task)
    head = known.head(None)
    loss = head.adapt_loss(distillation_loss(head.loss, known, temperature=3.0, weight=0.4))
    target = torch.tensor(np.concatenate([own, taught], axis=1), dtype=torch.float32)
    total, count = loss(torch.tensor(logits, dtype=torch.float32), target, LossWeighting())
    assert count == len(own)
    return float(total)


def test_the_loss_of_classes_is_hintons() -> None:
    generator = np.random.default_rng(0)
    logits, taught, codes = generator.normal(size=(6, 4)), 3 * generator.normal(size=(6, 4)), np.arange(6) % 4
    hard = -np.log(softmax(logits)[np.arange(6), codes]).sum()
    p, q = softmax(taught / 3), softmax(logits / 3)
    expected = 0.6 * hard + 0.4 * 9 * (p * (np.log(p) - np.log(q))).sum()
    assert lost("classification", logits, np.eye(4)[codes], taught) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_labels_is_that_of_each_against_its_absence() -> None:
    generator = np.random.default_rng(1)
    logits, taught = generator.normal(size=(6, 4)), 3 * generator.normal(size=(6, 4))
    own = (generator.random((6, 4)) < 0.5).astype(float)
    chance, p, q = (1 / (1 + np.exp(-values)) for values in (logits, taught / 3, logits / 3))
    hard = -(own * np.log(chance) + (1 - own) * np.log(1 - chance)).mean(axis=1).sum()
    soft = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean(axis=1).sum()
    assert lost("multi-label", logits, own, taught) == pytest.approx(0.6 * hard + 0.4 * 9 * soft, rel=1e-5)


def test_the_loss_of_numbers_is_the_distance_to_both() -> None:
    generator = np.random.default_rng(2)
    logits, taught, own = (generator.normal(size=(6, 1)) for _ in range(3))
    expected = 0.6 * ((logits - own) ** 2).sum() + 0.4 * ((logits - taught) ** 2).sum()
    assert lost("regression", logits, own, taught) == pytest.approx(expected, rel=1e-5)


def test_a_teacher_that_is_certain_leaves_the_loss_finite() -> None:
    taught = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    assert np.isfinite(lost("classification", np.zeros((2, 2)), np.eye(2), taught))


def test_members_of_an_ensemble_teach_their_mean_answer() -> None:
    members = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))

    class Ensemble(torch.nn.Module):
        def forward(self) -> torch.Tensor:
            return members

    found = torch.softmax(network_logits(Ensemble(), {}, get_task("classification")), dim=1)
    assert torch.allclose(found, torch.softmax(members, dim=2).mean(dim=1), atol=1e-6)
    found = torch.sigmoid(network_logits(Ensemble(), {}, get_task("multi-label")))
    assert torch.allclose(found, torch.sigmoid(members).mean(dim=1), atol=1e-6)


@pytest.mark.slow
@pytest.mark.training
def test_a_student_of_wrong_labels_takes_on_what_its_teacher_knows(teacher: Path, tmp_path: Path) -> None:
    """With weight 1 right answers count nothing, so training labels that say nothing do no harm."""
    frame = read_builtin("builtin:breast-cancer").frame
    wrong = frame.with_columns(pl.col("diagnosis").shuffle(seed=3))
    wrong.write_csv(tmp_path / "wrong.csv")
    asked = recipe(tmp_path / "wrong.csv", epochs=10, distill={"teacher": str(teacher), "weight": 1.0})
    asked["data"]["target"] = "diagnosis"
    student = package.run(asked, output=tmp_path / "runs")
    answers = package.load(student.path).predict(frame)["prediction"]
    taught = package.load(teacher).predict(frame)["prediction"]
    assert (answers == taught).mean() > 0.9
    assert (answers == frame["diagnosis"]).mean() > 0.85


@pytest.mark.training
def test_what_a_teacher_says_is_computed_once(teacher: Path, tmp_path: Path) -> None:
    kept = []
    for epochs in (1, 2):
        package.train(recipe(epochs=epochs, distill={"teacher": str(teacher)}), output=tmp_path, name=str(epochs))
        kept.append({path.name for path in (cache_root() / "teachers").iterdir()})
    assert kept[0] == kept[1] != set()


@pytest.mark.slow
@pytest.mark.training
def test_a_teacher_of_another_kind_is_asked_of_the_raw_rows(teacher: Path, tmp_path: Path) -> None:
    """The student sees other columns, scaled otherwise, than its teacher, which is a tree."""
    tree = package.run(recipe(model="tree") | {"training": {}}, output=tmp_path, name="tree")
    asked = recipe(distill={"teacher": str(tree.path), "weight": 0.9}, epochs=10)
    asked["data"] |= {"scale": "minmax", "columns": {"mean area": "drop"}}
    student = package.run(asked, output=tmp_path, name="student")
    assert student.evaluation()["test"]["accuracy"]["value"] > 0.85


def test_a_distilled_run_goes_on_bit_by_bit(teacher: Path, tmp_path: Path) -> None:
    asked = recipe(distill={"teacher": str(teacher)}, checkpoint={"every_steps": 3, "keep": 4})
    whole = package.train(asked, output=tmp_path, name="whole").path
    assert_goes_on(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.training
def test_a_run_whose_samples_change_asks_its_teacher_in_each_step(
    digits: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = recipe(
        image_folder,
        "timm:test_resnet",
        max_steps=12,
        epochs=None,
        checkpoint={"every_steps": 3, "keep": 4},
        distill={"teacher": str(digits)},
    )
    asked["data"]["augment"] = [{"rotate": {"degrees": 20}}, "mixup"]
    whole = package.train(asked, output=tmp_path, name="whole").path
    assert "the teacher runs in every training step" in capsys.readouterr().err
    assert_goes_on(whole, tmp_path)


def assert_goes_on(whole: Path, folder: Path) -> None:
    stopped = Path(shutil.copytree(whole, folder / "stopped"))
    shutil.rmtree(stopped / "model")
    shutil.rmtree(RunDirectory.open(stopped).checkpoints()[-1])
    package.resume(stopped, verify=1)
    assert ends(stopped) == ends(whole)


@pytest.mark.slow
def test_two_processes_learn_from_a_teacher_as_one(teacher: Path, tmp_path: Path) -> None:
    taught = with_training(TABLE, distill={"teacher": str(teacher), "weight": 0.7})
    several = trained(2, tmp_path, {"taught": with_training(taught, parallel={"data": 2})})["taught"]
    alike(several, package.train(taught, output=tmp_path, name="alone"))


def test_a_head_alone_learns_from_a_teacher(digits: Path, image_folder: Path, tmp_path: Path) -> None:
    """Its body's features stand in the place of images, which the teacher has seen before."""
    weights = tmp_path / "weights.pth"
    patch_torchvision()
    import timm

    torch.save(timm.create_model("test_resnet").state_dict(), weights)
    model = {"name": "timm:test_resnet", "pretrained": str(weights), "finetune": {"mode": "head"}}
    asked = recipe(image_folder, model, epochs=2, distill={"teacher": str(digits)})
    asked["data"]["image_size"] = 32
    logged = package.train(asked, output=tmp_path).metrics()
    alone = package.train(recipe(image_folder, model, epochs=2) | {"data": asked["data"]}, output=tmp_path).metrics()
    assert logged[0]["train/loss"] != alone[0]["train/loss"]


@pytest.mark.training
def test_numbers_are_taught_in_the_students_units(tmp_path: Path) -> None:
    """The student's training rows have another mean and deviation than its teacher's."""
    teacher = package.train(recipe("builtin:diabetes"), output=tmp_path, name="teacher")
    frame = read_builtin("builtin:diabetes").frame.filter(pl.col("progression") > 120)
    frame.write_csv(tmp_path / "high.csv")
    asked = recipe(tmp_path / "high.csv", distill={"teacher": str(teacher.path)})
    asked["data"] |= {"target": "progression"}
    fitting = prepare_training(load_data(as_recipe(asked)))
    target, splits, device = fitting.preprocessing.target, fitting.context.splits, fitting.accelerator.torch_device
    batch = fitting.balanced.loader.take(np.arange(20), 0, device)
    assert isinstance(target, NumericTarget)
    told = batch.target.cpu().numpy() * target.std + target.mean
    taught = package.load(teacher.path).predict(splits.train.frame.head(20))["prediction"].to_numpy()
    assert told[:, 0] == pytest.approx(splits.train.column("progression").head(20).to_numpy(), rel=1e-5)
    assert told[:, 1] == pytest.approx(taught, rel=1e-4)


@pytest.mark.slow
@pytest.mark.training
def test_another_teacher_than_before_is_refused_when_a_run_goes_on(teacher: Path, tmp_path: Path) -> None:
    own = shutil.copytree(teacher, tmp_path / "teacher")
    asked = recipe(distill={"teacher": str(own)}, checkpoint={"every_steps": 3})
    run = package.train(asked, output=tmp_path, name="run").path
    shutil.rmtree(run / "model")
    shutil.rmtree(own)
    other = package.run(recipe(epochs=1), output=tmp_path, name="other")
    shutil.copytree(other.path, own)
    with pytest.raises(ArtifactError, match=r"the teacher .* has changed since the run started"):
        package.resume(run)


def test_what_no_teacher_can_help_with_is_refused(teacher: Path, digits: Path, image_folder: Path) -> None:
    distill = {"teacher": str(teacher)}
    wine, small = recipe("builtin:wine", distill=distill), recipe(image_folder, "timm:test_resnet", distill=distill)
    with pytest.raises(ArgumentError, match="does not know 'class_0'"):
        package.train(wine)
    with pytest.raises(ArgumentError, match="is a classification model and this task is regression"):
        package.train(recipe("builtin:diabetes", distill=distill))
    with pytest.raises(ArgumentError, match="does not know 'digit-0'"):
        package.train(small)
    small["training"]["distill"] = {"teacher": str(digits)}
    small["data"] |= {"image_size": 40, "augment": ["mixup"]}
    with pytest.raises(ArgumentError, match="preprocesses its samples differently"):
        package.train(small)
    with pytest.raises(RecipeError, match="a temperature applies to class probabilities"):
        package.check(recipe("builtin:diabetes", distill={**distill, "temperature": 3}))
    with pytest.raises(RecipeError, match=r"tree is not trained by gradient steps; remove it"):
        package.check(recipe(model="tree") | {"training": {"distill": distill}})
    with pytest.raises(RecipeError, match="the teacher was trained on rows that the folds would test"):
        package.check(recipe(distill=distill) | {"evaluation": {"folds": 3}})
    with pytest.raises(RecipeError, match=r"training\.loss replaces"):
        package.check(recipe(distill=distill, loss="torch.nn.functional:cross_entropy"))


@pytest.mark.training
def test_rows_that_a_teacher_has_learned_from_are_spoken_of(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package.train(recipe(epochs=1, distill={"teacher": str(teacher)}), output=tmp_path, name="alike")
    assert "the teacher was trained on" not in capsys.readouterr().err
    package.train(recipe(epochs=1, distill={"teacher": str(teacher)}) | {"seed": 7}, output=tmp_path, name="other")
    assert "of this model's 86 test rows" in capsys.readouterr().err
