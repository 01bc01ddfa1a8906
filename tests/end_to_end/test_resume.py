"""A run that was killed or stopped goes on bit by bit, and what is wrong with it is said."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import danlu as package
from danlu.artifacts.checkpoints import open_checkpoint
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.state_dict_io import flatten_state, unflatten_state
from danlu.errors import ArgumentError, ArtifactError, DataError
from danlu.recipe.load import check_recipe, dump_recipe
from tests.conftest import DANLU, Command
from tests.support.warm import stopped_command

KILLS = 3
ENDS = ("metrics.jsonl", "model/weights.safetensors", "model/bundle.json", "recipe.yaml")


@pytest.fixture(scope="module")
def recipe(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images made ahead by threads, changed at random, classes balanced, dropout, an average of the weights."""
    values = {
        "name": "digits",
        "data": {
            "source": str(image_folder),
            "balance": "oversample",
            "augment": [{"rotate": {"degrees": 20}}, {"translate": 0.1}, {"noise": {"std": 0.05}}],
        },
        "model": {"name": "timm:test_resnet", "dropout": 0.2},
        "training": {
            "max_steps": 120,
            "batch_size": 16,
            "average": {"ema": {"decay": 0.9}},
            "checkpoint": {"every_steps": 7},
        },
    }
    path = tmp_path_factory.mktemp("recipe") / "digits.yaml"
    path.write_text(dump_recipe(check_recipe(values)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def uninterrupted(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package.train(recipe, output=tmp_path_factory.mktemp("runs"), name="whole").path


def ends(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ENDS}


def wait_for_step(run: Path, step: int, process: "subprocess.Popen[str]") -> None:
    """Wait until a run has a checkpoint of this step or a later one."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if any(int(path.name[5:]) >= step for path in (run / "checkpoints").glob("step-*")):
            return
        time.sleep(0.002)


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([DANLU, *map(str, arguments)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_by_bit(recipe: Path, uninterrupted: Path, tmp_path: Path) -> None:
    process = start("train", recipe, "-o", tmp_path, "--name", "killed")
    for kill in range(KILLS):
        wait_for_step(tmp_path / "killed", (kill + 1) * 100 // KILLS, process)
        time.sleep(int.from_bytes(os.urandom(1), "big") / 255 * 0.05)  # anywhere within some steps
        process.kill()
        process.communicate()
        if (tmp_path / "killed" / "model" / "bundle.json").exists():
            break
        process = start("train", "--resume", tmp_path / "killed")
    process.communicate(timeout=120)
    assert ends(tmp_path / "killed") == ends(uninterrupted)


@pytest.fixture(scope="module")
def interrupted(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped by Ctrl-C after some checkpoints."""
    folder = tmp_path_factory.mktemp("runs")
    done = stopped_command(signal.SIGINT, 63, "train", recipe, "-o", folder, "--name", "run")
    message = done.stderr
    assert done.returncode == 1, message
    assert f"`danlu train --resume {folder / 'run'}` continues from there" in message
    assert "Traceback" not in message
    return folder / "run"


@pytest.fixture
def stopped(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of that run, to go on with."""
    return Path(shutil.copytree(interrupted, tmp_path / "run"))


def test_a_stopped_run_goes_on_from_the_step_it_stopped_at(stopped: Path, uninterrupted: Path, danlu: Command) -> None:
    step = int(RunDirectory.open(stopped).checkpoints()[-1].name[5:])
    done = danlu("train", "--resume", stopped, "--verify", 1)
    assert done.returncode == 0, done.stderr
    assert f"to {step} are reproduced bit for bit" in done.stderr
    assert f"steps {step + 1} to 120" in done.stderr
    assert ends(stopped) == ends(uninterrupted)
    again = danlu("train", "--resume", stopped)
    assert again.returncode == 2
    assert "training is finished" in again.stderr


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    stopped: Path, uninterrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, newest = RunDirectory.open(stopped).checkpoints()[-2:]
    weights = newest / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    package.resume(stopped)
    said = capsys.readouterr().err
    assert f"{weights}: differs from what was written (SHA-256); using the checkpoint before it" in said
    assert f"steps {int(before.name[5:]) + 1} to 120" in said
    assert ends(stopped) == ends(uninterrupted)


@pytest.mark.slow
def test_without_a_sound_checkpoint_a_run_begins_anew(
    stopped: Path, uninterrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for checkpoint in RunDirectory.open(stopped).checkpoints():
        (checkpoint / "state.json").write_text("{", encoding="utf-8")
    package.resume(stopped)
    assert "no valid checkpoint; starting at the first step" in capsys.readouterr().err
    assert ends(stopped) == ends(uninterrupted)


def test_a_run_that_does_not_repeat_itself_is_told_so(stopped: Path) -> None:
    older, newest = RunDirectory.open(stopped).checkpoints()[-2:]
    from safetensors.torch import load_file, save_file

    tensors = load_file(newest / "weights.safetensors")
    name = next(name for name in tensors if name.endswith("weight"))
    tensors[name].view(-1)[0] += 0.5
    save_file(tensors, newest / "weights.safetensors")
    state = json.loads((newest / "state.json").read_text())
    import hashlib

    content = (newest / "weights.safetensors").read_bytes()
    state["files"]["weights.safetensors"] = hashlib.sha256(content).hexdigest()
    del state["digest"]
    (newest / "state.json").write_text(json.dumps(state))
    with pytest.raises(ArtifactError, match=rf"are not reproduced: weights: {name} differs by 0\.5"):
        package.resume(stopped, verify=1)
    with pytest.raises(ArgumentError, match=r"--verify 1000: the checkpoints of .* reach back \d+ steps"):
        package.resume(stopped, verify=1000)
    assert older.exists()


def test_verifying_leaves_nothing_behind_in_the_model(table_recipe: dict[str, Any], tmp_path: Path) -> None:
    """Weights that are stepped in the backward pass would be stepped twice by what verifying hung on them."""
    memory = {"optimizer_in_backward": True, "checkpointing": "full"}
    training: dict[str, Any] = {"epochs": 6, "batch_size": 32, "clip_norm": None, "memory": memory}
    training["checkpoint"] = {"every_steps": 3, "keep": 3}
    whole = package.train({**table_recipe, "training": training}, output=tmp_path, name="whole").path
    stopped = Path(shutil.copytree(whole, tmp_path / "stopped"))
    shutil.rmtree(stopped / "model")
    shutil.rmtree(RunDirectory.open(stopped).checkpoints()[-1])
    steps = [int(path.name[5:]) for path in RunDirectory.open(stopped).checkpoints()]
    package.resume(stopped, verify=steps[-1] - steps[0])
    assert ends(stopped) == ends(whole)


def test_changed_images_are_not_gone_on_with(stopped: Path, image_folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(image_folder, copied)
    recipe = stopped / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(image_folder), str(copied)))
    one, other = sorted(copied.rglob("*.png"))[:2]
    one.write_bytes(other.read_bytes())
    with pytest.raises(DataError, match="has changed since"):
        package.resume(stopped)
    assert RunDirectory.open(stopped).checkpoints()


def test_a_changed_table_is_not_gone_on_with(table_recipe: dict[str, Any], table_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "wine.csv"
    copy.write_bytes(table_file.read_bytes())
    values = {**table_recipe, "data": {"source": str(copy), "target": "cultivar"}}
    run = package.train(values, output=tmp_path, name="run").path
    shutil.rmtree(run / "model")
    frame = pl.read_csv(copy)
    frame.with_columns(pl.when(pl.int_range(pl.len()) == 7).then(9.9).otherwise("ash").alias("ash")).write_csv(copy)
    with pytest.raises(DataError, match=r"has changed since .* was trained"):
        package.resume(run)


def test_two_processes_do_not_train_into_one_run(stopped: Path, danlu: Command) -> None:
    from danlu.artifacts.run import lock_run

    with lock_run(RunDirectory.open(stopped)):
        done = danlu("train", "--resume", stopped)
    assert done.returncode == 1
    assert "another process writes into this run" in done.stderr


def test_the_newest_checkpoints_stay_and_the_best_that_they_know(uninterrupted: Path) -> None:
    run = RunDirectory.open(uninterrupted)
    steps = [int(path.name[5:]) for path in run.checkpoints()]
    newest = [open_checkpoint(run, step) for step in steps[-2:]]
    assert steps[-1] == 120
    assert set(steps) == {found.step for found in newest} | {found.best_step for found in newest}
    best = open_checkpoint(run, newest[-1].best_step)
    assert [file.name for file in best.evaluated_weights.files] == ["judged.safetensors"]  # an average was judged
    assert best.evaluated_weights.files[0].read_bytes() == (run.model / "weights.safetensors").read_bytes()


def test_a_full_disk_ends_training_with_a_way_on(
    table_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up at the third checkpoint; with room again, the run ends as if nothing had been."""
    import danlu.artifacts.checkpoints as checkpoints

    whole = package.train(table_recipe, output=tmp_path, name="whole").path
    save, saved = checkpoints.save_tensors, []

    def full(tensors: dict[str, torch.Tensor], path: Path, pieces: object) -> None:
        saved.append(path)
        if len(saved) > 4:
            raise OSError(28, "No space left on device")
        save(tensors, path, pieces)

    monkeypatch.setattr(checkpoints, "save_tensors", full)
    with pytest.raises(ArtifactError, match="cannot be written: No space left on device; free some space"):
        package.train(table_recipe, output=tmp_path, name="full")
    run = RunDirectory.open(tmp_path / "full")
    assert run.checkpoints()
    assert not list(run.path.rglob("*.partial"))
    monkeypatch.undo()
    package.resume(run.path)
    assert ends(run.path) == ends(whole)


def test_state_of_any_shape_survives_being_kept(tmp_path: Path) -> None:
    state = {
        "state": {0: {"step": torch.tensor(3.0), "moment": torch.randn(4, 2, dtype=torch.bfloat16)}, 1: {}},
        "param_groups": [{"lr": 1e-3, "betas": [0.9, 0.999], "fused": True, "foreach": None, "params": [0, 1]}],
        "tensor": "a word",
    }
    tensors, rest = flatten_state(state)
    back = unflatten_state(tensors, json.loads(json.dumps(rest)))
    assert back["state"].keys() == {0, 1}
    assert torch.equal(back["state"][0]["moment"], state["state"][0]["moment"])
    assert back["param_groups"] == state["param_groups"]
    assert back["tensor"] == "a word"


def test_runs_are_listed_with_how_far_they_came(stopped: Path, uninterrupted: Path) -> None:
    step = int(RunDirectory.open(stopped).checkpoints()[-1].name[5:])
    assert [row["state"] for row in package.runs(stopped.parent)] == [f"kept at step {step}"]
    assert [row["state"] for row in package.runs(uninterrupted.parent)] == ["trained"]
