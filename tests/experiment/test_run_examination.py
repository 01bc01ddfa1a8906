"""`danlu doctor RUN` says what is wrong with a run, and mends what can be mended."""

import json
import os
import shutil
from pathlib import Path

import pytest

import danlu as package
from danlu.artifacts.ownership import REPLACED, REPLACING, lock_run
from danlu.errors import ArgumentError
from tests.conftest import Command
from tests.support.faults import turned


@pytest.fixture
def run(table_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(table_run, tmp_path / "run"))


def wrong(run: Path) -> list[str]:
    return [item.subject for item in package.doctor(run) if not item.well]


def mended(run: Path) -> list[str]:
    return [item.subject for item in package.doctor(run) if item.mended]


def test_a_sound_run_has_nothing_wrong_with_it(danlu: Command, run: Path) -> None:
    done = danlu("doctor", run, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert all(set(item) == {"well", "subject", "message", "cure", "mended"} for item in found)
    assert {item["subject"] for item in found} >= {"recipe", "data", "logs", "checkpoints", "model", "evaluation"}
    assert all(item["well"] and not item["mended"] for item in found)


@pytest.mark.parametrize(
    ("file", "subject"),
    [
        ("recipe.yaml", "recipe"),
        ("environment.json", "environment"),
        ("data/split.parquet", "data"),
        ("data/dropped.parquet", "data"),
        ("data/profile.json", "data"),
        ("metrics.jsonl", "logs"),
        ("looks.jsonl", "logs"),
        ("model/weights.safetensors", "model"),
        ("model/golden.parquet", "model"),
        ("predictions/test.parquet", "evaluation"),
        ("evaluation.json", "evaluation"),
    ],
)
def test_a_damaged_file_is_named(run: Path, file: str, subject: str) -> None:
    size = (run / file).stat().st_size
    turned(run / file, 8 * (size // 2) + 1)
    found = {item.subject: item for item in package.doctor(run) if not item.well}
    assert subject in found and found[subject].cure
    assert set(found) <= {subject, "data", "model"} if subject == "recipe" else set(found) == {subject}


def test_a_damaged_checkpoint_is_named(run: Path) -> None:
    newest = package.RunDirectory.open(run).checkpoints()[-1]
    turned(newest / "state.json", 1001)
    assert wrong(run) == ["checkpoints"]


def test_leftovers_are_deleted_and_moves_undone(run: Path) -> None:
    (run / "model" / ".golden.parquet.partial").write_bytes(b"half")
    (run / ".model.partial").mkdir()
    (run / REPLACING).mkdir()
    (run / "recipe.yaml").rename(run / REPLACING / "recipe.yaml")
    assert mended(run) == ["earlier run", "leftovers"]
    assert mended(run) == wrong(run) == []
    assert not list(run.rglob("*.partial")) and (run / "recipe.yaml").is_file()


def test_an_earlier_run_comes_back_whose_replacement_was_killed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "new" / REPLACED).mkdir(parents=True)
    for entry in run.iterdir():
        entry.rename(tmp_path / "new" / REPLACED / entry.name)
    (tmp_path / "new" / "environment.json").write_text("{}")
    assert mended(tmp_path / "new") == ["earlier run"]
    assert wrong(tmp_path / "new") == [] and not (tmp_path / "new" / REPLACED).exists()


def test_what_was_only_begun_is_told_and_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="is not a run directory"):
        package.doctor(tmp_path)
    (tmp_path / ".lock").touch()
    assert wrong(tmp_path) == ["recipe"]
    with pytest.raises(ArgumentError, match="not both"):
        package.doctor(tmp_path, cache=True)


def test_a_run_that_is_written_into_is_left_alone(run: Path) -> None:
    (run / ".model.partial").mkdir()
    with lock_run(run):
        (run / ".model.partial").mkdir()
        assert [item.subject for item in package.doctor(run)] == ["lock"]
        assert (run / ".model.partial").is_dir()


def test_a_damaged_run_exits_with_1(danlu: Command, run: Path) -> None:
    (run / "metrics.jsonl").write_text("no json\n")
    done = danlu("doctor", run)
    assert done.returncode == 1 and "fix   logs: " in done.stdout


def test_the_cache_loses_what_nothing_used_and_what_dead_processes_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from danlu.artifacts.cache import cached_dir

    monkeypatch.setenv("DANLU_CACHE", str(tmp_path))

    def make(name: str) -> Path:
        return cached_dir("figures", name, lambda folder: (folder / "a").write_bytes(b"x" * 1000) and None)

    old, used, new = make("old"), make("used"), make("new")
    left, filling = new.parent / ".0123-dead", new.parent / ".4567-alive"
    for folder in (left, filling):
        folder.mkdir()
        (folder / "half").write_bytes(b"x" * 500)
    month = new.stat().st_mtime - 40 * 86_400
    for path in (old, used, left, left / "half"):
        os.utime(path, (month, month))
    assert make("used") == used  # and that is noted
    found = {item.subject: item for item in package.doctor(cache=True)}
    assert not old.exists() and not left.exists()
    assert used.is_dir() and new.is_dir() and filling.is_dir()
    assert found["cache figures"].message == "2 results, 0.0 MB; deleted 2 unused or half-made, 0.0 MB"
    assert found["cache figures"].mended
    package.doctor(cache=True, unused_days=0)
    assert sorted(new.parent.iterdir()) == [filling]
    with pytest.raises(ArgumentError, match="give a number of at least 0"):
        package.doctor(cache=True, unused_days=-1)


def test_two_that_fill_one_cache_one_killed_leave_it_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing

    from danlu.artifacts.cache import cached_dir

    monkeypatch.setenv("DANLU_CACHE", str(tmp_path))

    def die(folder: Path) -> None:
        (folder / "a").write_text("half")
        os._exit(9)

    killed = multiprocessing.get_context("fork").Process(target=cached_dir, args=("figures", "key", die))
    killed.start()
    killed.join()
    assert killed.exitcode == 9
    whole = cached_dir("figures", "key", lambda folder: (folder / "a").write_text("whole") and None)
    assert (whole / "a").read_text() == "whole"
    assert len(list(whole.parent.iterdir())) == 2  # the other's half is there until it is pruned
