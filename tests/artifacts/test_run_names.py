"""A run's name is that of one folder, one process owns it, and an earlier run stays until the new one has come on."""

import multiprocessing
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu.artifacts import ownership
from danlu.artifacts import run as run_module
from danlu.artifacts.ownership import LOCK, REPLACED, REPLACING, lock_run, refuse_existing
from danlu.artifacts.run import RunDirectory
from danlu.errors import ArgumentError, ArtifactError


def create(parent: Path, name: str = "mine", overwrite: bool = False) -> AbstractContextManager[RunDirectory]:
    return RunDirectory.create(parent, name="r", folder=name, overwrite=overwrite, needed_bytes=1)


def make(parent: Path, mark: str, overwrite: bool = False) -> Path:
    """A run with a checkpoint, of which nothing else is told than a mark."""
    with create(parent, overwrite=overwrite) as run:
        (run.path / "mark").write_text(mark)
        (run.path / "recipe.yaml").touch()
        (run.path / "checkpoints" / "step-000001").mkdir()
    return run.path


def fail(parent: Path, *made: str, overwrite: bool = False, before: str = "") -> None:
    """Begin a run that makes some folders and fails; `before` is the mark of the earlier run, while it is aside."""
    with create(parent, overwrite=overwrite) as run:
        (run.path / "recipe.yaml").write_text("new")
        for folder in made:
            (run.path / folder).mkdir()
        assert not before or (run.path / REPLACED / "mark").read_text() == before
        raise ZeroDivisionError


def contents(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != LOCK)


@pytest.mark.parametrize(
    "name",
    ["a/../../b", "../b", "/b", "a/b", "a\\b", "..", ".", "", " ", "a\0b", "a\nb", " a", "a ", "\x1b[1m", "a" * 250],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_that_is_more_than_one_folder_or_unreadable_is_refused(
    tmp_path: Path, name: str, overwrite: bool
) -> None:
    runs = tmp_path / "deep" / "runs"
    with pytest.raises(ArgumentError, match="names one folder below the folder of runs") as caught:
        refuse_existing(runs, name, overwrite)
    assert caught.value.code == "DL402"
    assert str(caught.value).isprintable()
    with pytest.raises(ArgumentError, match="names one folder"), create(runs, name, overwrite):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["b", "..b", "a b", "最初", "v1.2"])
def test_the_name_of_one_folder_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    refuse_existing(tmp_path, name, overwrite=False)
    with create(tmp_path, name) as run:
        assert run.path == tmp_path / name and run.path.is_dir()


def test_a_run_that_is_trained_into_is_not_replaced(tmp_path: Path) -> None:
    run = make(tmp_path, "old")
    replacement = create(tmp_path, overwrite=True)
    with lock_run(run), pytest.raises(ArtifactError, match="another process writes into this run") as caught:
        replacement.__enter__()
    assert caught.value.code == "DL307" and (run / "mark").read_text() == "old"
    with create(tmp_path, overwrite=True) as new:
        entered = create(tmp_path, overwrite=True)
        with pytest.raises(ArtifactError, match="another process writes into this run"):
            entered.__enter__()
        assert (new.path / REPLACED / "mark").read_text() == "old"
    assert contents(run) == ["checkpoints", "data", "predictions"]


def test_the_earlier_run_comes_back_where_the_new_one_fails(tmp_path: Path) -> None:
    run = make(tmp_path, "old")
    before = contents(run)
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path, overwrite=True, before="old")
    assert contents(run) == before and (run / "mark").read_text() == "old"
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path, "checkpoints/step-000001", overwrite=True, before="old")  # it can be resumed, so it stays
    assert not (run / "mark").exists() and (run / "checkpoints" / "step-000001").is_dir()


def test_a_run_that_fails_at_once_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_whatever_moment_a_replacement_is_killed_in_the_earlier_run_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th move of a replacement does not come back, for every n; then it is tried again, and fails at its end."""
    rename, done = Path.rename, 0

    def killed(self: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return rename(self, target)

    for count in range(20):
        run = make(tmp_path, "old")
        before, left = contents(run), count
        monkeypatch.setattr(Path, "rename", killed)
        monkeypatch.setattr(run_module, "discard", lambda path: None)  # a killed process cleans nothing up
        try:
            with create(tmp_path, overwrite=True):
                raise ZeroDivisionError
        except KeyboardInterrupt:
            done += 1
        except ZeroDivisionError:
            pass
        monkeypatch.undo()
        with pytest.raises(ZeroDivisionError):
            fail(tmp_path, overwrite=True, before="old")
        assert contents(run) == before
        shutil.rmtree(run)
        if left:
            break
    assert done > 3


def test_a_folder_that_was_only_begun_can_be_overwritten_and_a_persons_cannot(tmp_path: Path) -> None:
    for name, files in {"empty": [], "locked": [LOCK], "half": [LOCK, "environment.json"]}.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
        with create(tmp_path, name, overwrite=True) as run:
            assert not (run.path / "environment.json").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.png").touch()
    with pytest.raises(ArgumentError, match="is not a run of danlu"), create(tmp_path, "photos", overwrite=True):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="is not a run of danlu"), create(tmp_path, "file", overwrite=True):
        pass


def test_leftovers_of_dead_processes_are_swept_when_a_run_is_written_into(tmp_path: Path) -> None:
    run = make(tmp_path, "x")
    (run / "model").mkdir()
    for name in (".recipe.yaml.partial", "model/.golden.parquet.partial", "checkpoints/.step-000002.partial/weights"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).touch()
    (run / "model" / "mine.partial").touch()
    with lock_run(run):
        pass
    assert [name for name in contents(run) if name.endswith(".partial")] == ["model/mine.partial"]


def test_of_two_that_start_at_once_the_slower_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = make(tmp_path, "first") / "mark"
    monkeypatch.setattr(run_module, "refuse_existing", lambda *arguments: None)  # as if it had been asked before
    with pytest.raises(ArgumentError, match="exists already; choose another --name") as caught, create(tmp_path):
        pass
    assert caught.value.code == "DL404" and marker.exists()


def _race(folder: str, start: Any, owners: Any, overwrite: bool) -> None:
    """Own a name for a moment, and count who else does."""
    start.wait()
    try:
        with create(Path(folder), overwrite=overwrite):
            with owners.get_lock():
                owners.value += 1
                assert owners.value == 1, "two processes own one run"
            with owners.get_lock():
                owners.value -= 1
            raise ZeroDivisionError  # makes the name free again while others ask for it
    except (ZeroDivisionError, ArgumentError, ArtifactError):
        pass


def test_processes_that_race_for_a_name_never_own_it_together(tmp_path: Path) -> None:
    forks = multiprocessing.get_context("fork")
    for number in range(15):
        start, owners = forks.Barrier(4), forks.Value("i", 0)
        racing = [
            forks.Process(target=_race, args=(str(tmp_path), start, owners, bool(each % 2 or number % 2)))
            for each in range(4)
        ]
        for process in racing:
            process.start()
        for process in racing:
            process.join()
        assert [process.exitcode for process in racing] == [0] * 4
    assert not (tmp_path / "mine" / REPLACING).exists()


def test_a_lock_that_was_removed_with_its_run_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path, "x")
    monkeypatch.setattr(ownership, "_is_same_file", lambda path, descriptor: False)
    with pytest.raises(ArtifactError, match="another process writes"), lock_run(run):
        pass


@pytest.mark.training
def test_evaluation_waits_for_nobody_and_disturbs_nobody(table_run: Path) -> None:
    with lock_run(table_run), pytest.raises(ArtifactError, match="another process writes into this run"):
        danlu.evaluate(table_run)
