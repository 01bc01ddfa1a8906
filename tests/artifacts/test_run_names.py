"""A run's name is that of one folder, and a run that is trained into is not replaced."""

from pathlib import Path

import pytest

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
