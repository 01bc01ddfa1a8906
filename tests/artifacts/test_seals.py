"""What a later command reads is as it was written, or refused: sealed JSON, lines of logs, recipes, groups of files."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.artifacts import files
from danlu.artifacts.files import (
    append_jsonl,
    finish_together,
    json_bytes,
    read_jsonl,
    read_sealed,
    require_companion,
    sha256,
    sha256_of_json,
    truncate_jsonl,
    write_sealed,
    write_together,
)
from danlu.artifacts.run_recipe import SEAL, load_run_recipe, recipe_text, write_run_recipe
from danlu.errors import DanluError
from danlu.recipe.load import check_recipe, load_recipe

RECORDS = [{"step": step, "loss": 1 / step, "note": "é\n"} for step in range(1, 6)]


def flipped(content: bytes, bit: int) -> bytes:
    """The content with one bit turned."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def each_flip(content: bytes, count: int) -> list[bytes]:
    drawn = random.Random(0)
    return [flipped(content, drawn.randrange(8 * len(content))) for _ in range(count)]


def read_flips(path: Path, count: int, read: Callable[[Path], Any]) -> list[Any]:
    """What is read of a file with a turned bit, each time that it is not refused."""
    found = []
    for changed in each_flip(path.read_bytes(), count):
        path.write_bytes(changed)
        with suppress(DanluError):
            found.append(read(path))
    return found


def test_a_bit_of_a_sealed_file_that_was_turned_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path, value = tmp_path / "a.json", {"version": 1, "figures": {"accuracy": 0.95, "é": None}, "names": ["a", "b"]}
    write_sealed(path, value)
    assert read_sealed(path) == value
    opened = read_flips(path, 400, read_sealed)
    assert all({key: found.get(key) for key in value} == value for found in opened)
    assert len(opened) < 100


def test_a_file_that_a_sealed_one_lists_is_as_it_was(tmp_path: Path) -> None:
    other, late = tmp_path / "rows.parquet", tmp_path / "late.parquet"
    other.write_bytes(b"rows")
    write_sealed(tmp_path / "a.json", {"rows": 4}, [other, late])
    known = read_sealed(tmp_path / "a.json")
    assert known == {"rows": 4, "files": {"rows.parquet": sha256(other)}}
    assert require_companion(tmp_path / "a.json", known, other) == other
    for file, content in ((other, b"Rows"), (late, b"written by someone else")):
        file.write_bytes(content)
        with pytest.raises(DanluError, match="differs from what was written"):
            require_companion(tmp_path / "a.json", known, file)


@pytest.mark.parametrize(
    "text", ["[1]", "{", '{"a": NaN}', "[" * 100_000, '{"a": 1' + "0" * 5000 + "}", '{"a": "\\ud800"}']
)
def test_what_is_no_sealed_file_is_refused_or_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    if "ud800" in text:
        assert read_sealed(tmp_path / "a.json") == {"a": "\ud800"}
        return
    with pytest.raises(DanluError, match="damaged"):
        read_sealed(tmp_path / "a.json")


def test_a_turned_bit_of_a_log_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for record in RECORDS:
        append_jsonl(path, record)
    assert read_jsonl(path) == RECORDS
    content, refused = path.read_bytes(), 0
    for changed in [*each_flip(content, 400), *(flipped(content, 8 * len(content) - 1 - bit) for bit in range(16))]:
        path.write_bytes(changed)
        try:
            assert read_jsonl(path) == RECORDS
        except DanluError as error:
            refused += "line" in str(error)
    assert refused > 300


@given(cut=st.integers(min_value=0))
def test_a_log_that_a_crash_cut_off_loses_at_most_its_last_line_and_goes_on(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "trials.jsonl"
    for record in RECORDS:
        append_jsonl(path, record)
    content = path.read_bytes()
    last = content[:-1].rfind(b"\n") + 1
    path.write_bytes(content[: last + cut % (len(content) - last)])
    assert read_jsonl(path) in (RECORDS[:-1], RECORDS)
    truncate_jsonl(path, 4)
    assert read_jsonl(path) == RECORDS[:-1]
    append_jsonl(path, RECORDS[-1])
    assert path.read_bytes() == content


def test_what_a_crash_left_of_a_line_is_no_part_of_the_next(tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    append_jsonl(path, RECORDS[0])
    with path.open("ab") as file:
        file.write(b'{"step": 2, "lo')
    append_jsonl(path, RECORDS[1])
    assert read_jsonl(path) == RECORDS[:2]


def test_lines_of_an_older_log_are_read_without_checksums(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS) + '{"step": 6')
    assert read_jsonl(path) == RECORDS


def test_files_that_belong_together_are_all_new_or_all_old_whatever_rename_a_process_dies_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle whose reference was renamed and whose manifest was not could never be opened again."""
    old, new = ({"a": word.encode(), "b": word.encode() * 2} for word in ("old", "new"))

    def manifest(contents: dict[str, bytes]) -> bytes:
        import hashlib

        listed = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        return json_bytes({"files": listed, "digest": sha256_of_json({"files": listed})})

    replace = Path.replace
    for count in range(5):
        folder = tmp_path / str(count)
        folder.mkdir()
        write_together(folder, {**old, "m.json": manifest(old)})
        left = count

        def dies(self: Path, target: Path) -> Path:
            nonlocal left
            if left == 0:
                raise SystemExit
            left -= 1
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", dies)
        if count < 4:
            with pytest.raises(SystemExit):
                write_together(folder, {**new, "m.json": manifest(new)})
        else:
            write_together(folder, {**new, "m.json": manifest(new)})
        monkeypatch.undo()
        finish_together(folder, "m.json")
        known = read_sealed(folder / "m.json")
        assert all(require_companion(folder / "m.json", known, folder / name).is_file() for name in new)
        assert (folder / "a").read_bytes() == (b"old" if count == 0 else b"new")
        assert sorted(file.name for file in folder.iterdir()) == ["a", "b", "m.json"]


def test_a_runs_recipe_tells_whether_it_was_changed_wherever_its_data_lies(tmp_path: Path) -> None:
    values = {"name": "r", "data": {"source": str(tmp_path / "a.csv"), "target": "y"}, "model": "linear"}
    recipe, path = check_recipe(values), tmp_path / "recipe.yaml"
    write_run_recipe(path, recipe)
    assert load_run_recipe(path) == recipe == load_recipe(path)
    text = path.read_text()
    assert text.startswith(SEAL) and not recipe_text(path).startswith("#")
    path.write_text(text.replace("a.csv", "moved/a.csv"))
    assert load_run_recipe(path).data.source == str(tmp_path / "moved" / "a.csv")
    path.write_text(text.replace("seed: 0", "seed: 1"))
    with pytest.raises(DanluError, match="differs from what the run was trained with"):
        load_run_recipe(path)
    path.write_text(recipe_text(path))
    assert load_run_recipe(path).seed == 1  # without its first line it is a recipe like any other


def test_a_turned_bit_of_a_runs_recipe_is_found_or_changes_nothing(tmp_path: Path) -> None:
    recipe, path = load_recipe("wine"), tmp_path / "recipe.yaml"
    write_run_recipe(path, recipe)
    opened = read_flips(path, 60, load_run_recipe)
    assert all(found.model_copy(update={"data": recipe.data}) == recipe for found in opened)
    assert len(opened) < 20


def test_checksums_are_of_what_is_read(tmp_path: Path) -> None:
    assert files.CHECK in json.loads(files._checked_line({"a": 1}))
    assert files._checked_line({}) == b'{"check": "' + files._checksum({}).encode() + b'"}\n'
