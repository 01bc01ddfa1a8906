"""Files are on the disk before they take their names."""

import os
from pathlib import Path

import pytest

from danlu.artifacts.files import atomic_folder, write_text


@pytest.fixture
def waited_for(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What the disk was waited for, each with the names that were there by then."""
    found: list[tuple[str, list[str]]] = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        found.append((path.name, sorted(file.name for file in path.parent.iterdir())))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("asks Linux for the name of an open file")
    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_a_file_takes_its_name_when_it_is_on_the_disk(tmp_path: Path, waited_for: list[tuple[str, list[str]]]) -> None:
    write_text(tmp_path / "a.json", "{}")
    assert waited_for == [(".a.json.partial", [".a.json.partial"])]
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_takes_its_name_when_all_in_it_is_on_the_disk(
    tmp_path: Path, waited_for: list[tuple[str, list[str]]]
) -> None:
    home = tmp_path / "home"
    with atomic_folder(home / "kept") as aside:
        (aside / "inner").mkdir()
        (aside / "one").write_text("1")
        (aside / "inner" / "two").write_text("2")
    assert sorted(name for name, _ in waited_for) == ["home", "one", "two"]
    assert waited_for[-1][0] == "home"  # at last the folder that holds the new name
    assert (home / "kept" / "inner" / "two").read_text() == "2"
