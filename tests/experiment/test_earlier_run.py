"""A new run begins from the weights of a finished one, with its preparation and a recipe of its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import danlu as package
from danlu.artifacts.run import RunDirectory
from danlu.data.builtin import read_builtin
from danlu.errors import ArgumentError, DanluError, RecipeError
from danlu.experiment.data_context import load_data
from danlu.experiment.prepare import prepare_training
from danlu.recipe.load import load_recipe
from tests.conftest import Command
from tests.support.chatting import TINY, write_lines

QUICK = {"max_steps": 3, "batch_size": 16}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: ("table_recipe", {"model": name}) for name in ("linear", "mlp", "resnet", "ft-transformer", "tabm")},
    "additive": ("table_recipe", {"model": "additive"}),
    "image": ("image_recipe", {"model": "small-resnet"}),
    "timm": ("image_recipe", {"model": "timm:test_resnet"}),
    "text": ("text_recipe", {}),
    "corpus": ("corpus_recipe", {}),
    "chat": ("chat_recipe", {}),
    "preference": ("preference_recipe", {}),
}
WRITTEN = {
    "chat": [{"prompt": f"is {n} on", "response": f"no {n} is off"} for n in range(40)],
    "preference": [{"prompt": f"is {n} on", "chosen": f"no {n} is off", "rejected": "yes"} for n in range(40)],
}


def written_recipe(kind: str, folder: Path) -> dict[str, Any]:
    source = write_lines(folder / f"{kind}.jsonl", WRITTEN[kind])
    return {
        "data": {"source": str(source), "vocabulary": 320, "sequence_length": 64},
        "model": {"name": "hf:llama", "config": TINY},
        "evaluation": {"baselines": False},
    }


@pytest.fixture
def chat_recipe(tmp_path: Path) -> dict[str, Any]:
    return written_recipe("chat", tmp_path)


@pytest.fixture
def preference_recipe(tmp_path: Path) -> dict[str, Any]:
    return written_recipe("preference", tmp_path)


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run.model / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_begins_from_the_weights_of_a_run(
    family: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    fixture, changes = FAMILIES[family]
    base = request.getfixturevalue(fixture)
    first = package.train({**base, **changes, "training": QUICK}, output=tmp_path, name="first")
    recipe = load_recipe(first.path / "recipe.yaml", overrides=[f"training.from_run={first.path}"])
    before, now = weights(first), prepare_training(load_data(recipe)).model.state_dict()
    assert all(torch.equal(now[name].cpu(), value) for name, value in before.items())
    second = package.train(from_run=first, output=tmp_path, name="second")
    assert any(not torch.equal(value, before[name]) for name, value in weights(second).items())
    assert package.load(second).preprocessor == package.load(first).preprocessor
    told = json.loads((second.path / "environment.json").read_text())["from"]
    assert told["bundle"] == str(first.model.resolve())
    assert told["digest"] == json.loads((first.model / "bundle.json").read_text())["digest"]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    recipe = {"name": "first", "data": {"source": "builtin:wine"}, "model": "mlp", "training": {"epochs": 3}}
    return package.run(recipe, output=tmp_path_factory.mktemp("runs"), name="first")


@pytest.mark.training
def test_the_command_sets_a_recipe_of_its_own(first: RunDirectory, tmp_path: Path, danlu: Command) -> None:
    done = danlu("train", "--from", first.path, "--set", "training.epochs=7", "-o", tmp_path, "--name", "second")
    assert done.returncode == 0, done.stderr
    assert "a new run that begins from the weights of" in done.stderr
    recipe = load_recipe(tmp_path / "second" / "recipe.yaml")
    assert (recipe.training.epochs, recipe.training.from_run) == (7, str(first.path.absolute()))
    assert len({line["epoch"] for line in RunDirectory(tmp_path / "second").metrics()}) > 3


@pytest.mark.training
def test_run_begins_from_a_run_too_and_judges_it(tmp_path: Path, danlu: Command) -> None:
    """The longest way of it: conversations, the command, a recipe of its own, an evaluation."""
    first = package.train({**written_recipe("chat", tmp_path), "training": QUICK}, output=tmp_path, name="first")
    done = danlu("run", "--from", first.path, "--set", "training.max_steps=2", "-o", tmp_path, "--name", "second")
    assert done.returncode == 0, done.stderr
    assert "a new run that begins from the weights of" in done.stderr
    second = RunDirectory(tmp_path / "second")
    recipe = load_recipe(second.path / "recipe.yaml")
    assert (recipe.training.max_steps, recipe.training.from_run) == (2, str(first.path.absolute()))
    assert second.evaluation()["test"]["perplexity"]["value"] > 1
    assert package.load(second).preprocessor == package.load(first).preprocessor
    changed = [not torch.equal(value, weights(first)[name]) for name, value in weights(second).items()]
    assert all(changed)
    assert package.run(from_run=first, output=tmp_path, name="third").evaluation()["test"]


@pytest.mark.training
def test_run_and_train_take_the_same_words(first: RunDirectory, danlu: Command, tmp_path: Path) -> None:
    for verb in ("run", "train"):
        done = danlu(verb, "--from", first.path, "--resume", first.path)
        assert done.returncode == 2
        assert "--resume goes on with a run that was stopped" in done.stderr
        done = danlu(verb)
        assert "--from with a finished run" in done.stderr
    done = danlu("run", "wine", "--set", "model=tree", "--from", first.path, "-o", tmp_path)
    assert done.returncode == 2
    assert "tree grows anew from the rows" in done.stderr


@pytest.mark.slow
@pytest.mark.training
def test_two_processes_begin_from_the_same_weights(tmp_path: Path, danlu: Command) -> None:
    recipe = {
        **written_recipe("chat", tmp_path),
        "training": {**QUICK, "batch_size": 4, "optimizer": {"sgd": {"lr": 0.1}}},
    }
    first = package.train(recipe, output=tmp_path, name="first")
    for name, processes in (("one", ()), ("two", ("--processes", "2"))):
        done = danlu("run", "--from", first.path, "-o", tmp_path, "--name", name, *processes)
        assert done.returncode == 0, done.stderr
    one, two = (weights(RunDirectory(tmp_path / name)) for name in ("one", "two"))
    before = weights(first)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
        assert not torch.equal(value, before[name])


@pytest.mark.training
def test_the_labels_and_numbers_stay_those_of_the_run(first: RunDirectory, tmp_path: Path) -> None:
    """Half of the rows have another mean, and lack a class; the weights are of the run's own scale and order."""
    frame = read_builtin("wine").frame.lazy().collect()
    target = load_recipe(first.path / "recipe.yaml").data.target
    fewer = frame.filter(frame[str(target)].cast(str) != "class_0")
    recipe = {"data": {"target": target}, "model": "mlp", "training": {"epochs": 2}}
    second = package.train(recipe, data=fewer, from_run=first, output=tmp_path, name="second")
    opened, before = package.load(second), package.load(first)
    assert opened.preprocessor == before.preprocessor
    assert opened.target.labels == ("class_0", "class_1", "class_2")  # type: ignore[attr-defined]
    assert opened.target.calibration is None  # type: ignore[attr-defined]


@pytest.mark.training
def test_boosting_adds_rounds(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    recipe = {
        "data": {"source": "builtin:wine"},
        "model": {"name": "boosting", "rounds": 4, "leaf_rows": 5},
        "training": {"early_stopping": {"patience": 50}},
    }
    first = package.train(recipe, output=tmp_path, name="first")
    second = package.train(from_run=first, output=tmp_path, name="second")
    counts = [(run.model / "lightgbm.txt").read_text().count("\nTree=") for run in (first, second)]
    assert counts == [3 * 4, 3 * 8]
    losses = [run.metrics()[-1]["validation/loss"] for run in (first, second)]
    assert losses[1] < losses[0]
    frame = read_builtin("wine").frame
    before, now = (package.load(run).predict(frame)["probability"].mean() for run in (first, second))
    assert now > before  # type: ignore[operator]


@pytest.mark.training
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["data.encode=one-hot"], "data.encode: training.from_run keeps the preparation"),
        (["data.scale=none"], "data.scale: training.from_run keeps the preparation"),
        (["model.hidden=[8]"], "do not fit mlp as this recipe builds it"),
        (["model=linear"], "do not fit linear as this recipe builds it"),
        (["model=tree"], "tree grows anew from the rows"),
    ],
)
def test_what_does_not_fit_the_weights_is_refused(
    change: list[str], said: str, first: RunDirectory, tmp_path: Path
) -> None:
    recipe = load_recipe("wine", overrides=["model=mlp", *change, f"training.from_run={first.path}"])
    with pytest.raises((ArgumentError, RecipeError), match=said):
        package.train(recipe, output=tmp_path, name="second")
    assert not (tmp_path / "second").exists()


@pytest.mark.training
def test_rows_that_the_run_has_learned_are_said(
    first: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package.train(from_run=first, output=tmp_path, name="same")
    assert "will flatter it" not in capsys.readouterr().err
    recipe = load_recipe(first.path / "recipe.yaml", overrides=["seed=5"])
    package.train(recipe, from_run=first, output=tmp_path, name="other")
    assert "test rows, whose figures will flatter it" in capsys.readouterr().err


@pytest.mark.training
def test_a_run_goes_on_only_from_the_same_weights(first: RunDirectory, tmp_path: Path) -> None:
    """A killed run is resumed to the same bytes; not where the run it began from was trained again."""
    copy = RunDirectory(Path(shutil.copytree(first.path, tmp_path / "copy")))
    second = package.train(from_run=copy, output=tmp_path, name="second")
    whole = weights(second)
    shutil.rmtree(second.model)
    second.rollback(min(int(path.name.removeprefix("step-")) for path in second.checkpoints()))
    package.resume(second)
    assert all(torch.equal(value, whole[name]) for name, value in weights(second).items())
    shutil.rmtree(second.model)
    package.train(
        load_recipe(first.path / "recipe.yaml", overrides=["seed=9"]), output=tmp_path, name="copy", overwrite=True
    )
    with pytest.raises(DanluError, match="has changed since") as caught:
        package.resume(second)
    assert caught.value.code == "DL313"
