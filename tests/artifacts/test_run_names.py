"""A run's name is that of one folder, and a run that is trained into is not replaced."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu.artifacts import run as run_module
from danlu.artifacts.run import RunDirectory, lock_run, refuse_existing
from danlu.errors import ArgumentError, ArtifactError


@pytest.mark.parametrize("name", ["a/../../b", "../b", "/b", "a/b", "a\\b", "..", ".", "", " ", "a\0b"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_that_is_more_than_one_folder_is_refused(tmp_path: Path, name: str, overwrite: bool) -> None:
    runs = tmp_path / "deep" / "runs"
    with pytest.raises(ArgumentError, match="names one folder below the folder of runs") as caught:
        refuse_existing(runs, name, overwrite)
    assert caught.value.code == "DL402"
    with pytest.raises(ArgumentError, match="names one folder"):
        RunDirectory.create(runs, name="r", folder=name, overwrite=overwrite, needed_bytes=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["b", "..b", "a b", "最初", "v1.2"])
def test_the_name_of_one_folder_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    refuse_existing(tmp_path, name, overwrite=False)
    run = RunDirectory.create(tmp_path, name="r", folder=name, overwrite=False, needed_bytes=1)
    assert run.path == tmp_path / name and run.path.is_dir()


def test_a_run_that_is_trained_into_is_not_replaced(tmp_path: Path) -> None:
    def replace() -> RunDirectory:
        return RunDirectory.create(tmp_path, name="r", folder="mine", overwrite=True, needed_bytes=1)

    run = replace()
    (run.path / "recipe.yaml").touch()
    with lock_run(run), pytest.raises(ArtifactError, match="another process trains into this run") as caught:
        replace()
    assert caught.value.code == "DL307" and (run.path / "recipe.yaml").exists()
    assert sorted(path.name for path in replace().path.iterdir()) == ["checkpoints", "data", "predictions"]


def test_of_two_that_start_at_once_the_slower_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create() -> RunDirectory:
        return RunDirectory.create(tmp_path, name="r", folder="mine", overwrite=False, needed_bytes=1)

    marker = create().path / "marker"
    marker.touch()
    monkeypatch.setattr(run_module, "refuse_existing", lambda *arguments: None)  # as if it had been asked before
    with pytest.raises(ArgumentError, match="exists already; choose another --name") as caught:
        create()
    assert caught.value.code == "DL404" and marker.exists()


@pytest.mark.training
def test_a_training_that_finds_its_run_held_leaves_it_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = RunDirectory.create.__func__  # type: ignore[attr-defined]
    recipe = {"data": {"source": "builtin:wine"}, "model": "linear", "training": {"max_steps": 1}}
    with contextlib.ExitStack() as other:

        def create(cls: type[RunDirectory], *arguments: Any, **options: Any) -> RunDirectory:
            run: RunDirectory = made(cls, *arguments, **options)
            other.enter_context(lock_run(run))
            return run

        monkeypatch.setattr(RunDirectory, "create", classmethod(create))
        with pytest.raises(ArtifactError, match="another process trains into this run"):
            danlu.train(recipe, output=tmp_path, name="mine")
        assert (tmp_path / "mine" / "checkpoints").is_dir()
