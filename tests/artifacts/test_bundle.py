"""Bundles: what is listed, what is sealed, what is refused, and how format 1 still opens."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu as package
from danlu.artifacts.bundle import FORMAT, GOLDEN, MANIFEST, files_in, open_bundle, write_manifest
from danlu.artifacts.files import sha256, sha256_of_json
from danlu.errors import ArtifactError

FORMAT_1 = Path(__file__).parents[1] / "files" / "format-1"  # written by danlu at 5c05727
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def copied(table_run: Path, tmp_path: Path) -> Path:
    """A bundle to be tampered with."""
    return Path(shutil.copytree(table_run / "model", tmp_path / "model"))


def manifest_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))


def change(folder: Path, edit: Change, sealed: bool = False) -> None:
    """Edit bundle.json; `sealed` writes the digest that fits, as only a forger of the whole would."""
    manifest = manifest_of(folder)
    edit(manifest)
    if sealed:
        manifest["digest"] = sha256_of_json({key: value for key, value in manifest.items() if key != "digest"})
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def test_a_bundle_lists_every_file_that_it_has(copied: Path) -> None:
    manifest = manifest_of(copied)
    assert manifest["format"] == FORMAT == 2
    assert sorted(manifest["files"]) == [name for name in files_in(copied) if name != MANIFEST]
    assert set(manifest["files"]) == {
        *("config.json", "weights.safetensors", "golden.parquet", "reference.json", "reference.parquet")
    }
    assert all(sha256(copied / name) == digest for name, digest in manifest["files"].items())


def test_the_digest_is_of_all_other_fields(copied: Path) -> None:
    manifest = manifest_of(copied)
    digest = manifest.pop("digest")
    assert digest == sha256_of_json(manifest)
    assert sha256_of_json({"b": 1, "a": (2.5, None)}) == sha256_of_json({"a": [2.5, None], "b": 1})


EDITS: dict[str, Change] = {
    "labels swapped": lambda m: m["output"]["labels"].reverse(),
    "another threshold": lambda m: m["output"].update(threshold=0.9),
    "no files": lambda m: m.update(files={}),
    "golden samples taken off the list": lambda m: m["files"].pop(GOLDEN),
    "another number in the preparation": lambda m: m["preprocessing"]["numbers"][0].update(fill=1e6),
    "another batch size": lambda m: m.update(batch_size=1),
    "another reading": lambda m: m.update(reading={"missing_values": ["x"]}),
    "another date": lambda m: m.update(template_date="2020-01-01"),
    "no digest": lambda m: m.pop("digest"),
    "an empty digest": lambda m: m.update(digest=""),
    "called format 1": lambda m: m.update(format=1),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_changed_manifest_is_refused(copied: Path, edit: Change) -> None:
    change(copied, edit)
    with pytest.raises(ArtifactError, match="differs from what was written") as refused:
        package.load(copied)
    assert refused.value.code == "DL305"


def test_writing_the_same_manifest_otherwise_changes_nothing(copied: Path) -> None:
    manifest = manifest_of(copied)
    turned = dict(reversed(list(manifest.items())))
    (copied / MANIFEST).write_text(json.dumps(turned, indent=7, ensure_ascii=True), encoding="utf-8")
    assert open_bundle(copied).manifest.digest == manifest["digest"]


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_a_needed_file_must_be_listed(copied: Path, name: str) -> None:
    change(copied, lambda m: m["files"].pop(name), sealed=True)
    with pytest.raises(ArtifactError, match=f"does not list {name}"):
        package.load(copied)


def test_a_file_that_is_not_listed_is_not_read(copied: Path) -> None:
    (copied / "notes.txt").write_text("mine", encoding="utf-8")
    change(copied, lambda m: m["files"].pop(GOLDEN), sealed=True)
    (copied / GOLDEN).write_bytes(b"no parquet at all")
    assert open_bundle(copied).golden() is None
    assert package.load(copied).manifest.name == "wine"


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "forms/../../secret", "./config.json", "forms\\model", "C:/x", "", MANIFEST]
)
def test_paths_that_leave_the_bundle_are_refused(copied: Path, name: str) -> None:
    (copied.parent / "secret").write_text("x", encoding="utf-8")
    change(copied, lambda m: m["files"].update({name: sha256(copied.parent / "secret")}), sealed=True)
    with pytest.raises(ArtifactError, match="no file inside the bundle"):
        open_bundle(copied)


@pytest.mark.parametrize("linked", ["model.onnx", "forms/model.onnx"])
def test_a_link_that_leads_outside_is_refused(copied: Path, linked: str) -> None:
    outside = copied.parent / "outside"
    outside.mkdir()
    (outside / "model.onnx").write_bytes(b"x")
    if "/" in linked:
        (copied / "forms").symlink_to(outside)
    else:
        (copied / linked).symlink_to(outside / "model.onnx")
    change(copied, lambda m: m["files"].update({linked: sha256(outside / "model.onnx")}), sealed=True)
    with pytest.raises(ArtifactError, match="no file inside the bundle"):
        open_bundle(copied)


def test_files_in_folders_of_the_bundle_are_verified(copied: Path) -> None:
    (copied / "forms").mkdir()
    (copied / "forms" / "model.onnx").write_bytes(b"a form")
    bundle = open_bundle(copied)
    write_manifest(copied, bundle.manifest, {*bundle.manifest.files, "forms/model.onnx"})
    assert open_bundle(copied).require("forms/model.onnx").read_bytes() == b"a form"
    assert package.load(copied).manifest.files["forms/model.onnx"] == sha256(copied / "forms" / "model.onnx")
    (copied / "forms" / "model.onnx").write_bytes(b"another")
    with pytest.raises(ArtifactError, match=r"SHA-256"):
        open_bundle(copied)


def test_a_bundle_can_be_reached_through_a_link(copied: Path) -> None:
    (copied.parent / "linked").symlink_to(copied)
    assert package.load(copied.parent / "linked").manifest.name == "wine"


def test_swapped_labels_are_found_by_the_golden_decisions_too(copied: Path) -> None:
    change(copied, lambda m: m["output"]["labels"].reverse(), sealed=True)
    with pytest.raises(ArtifactError, match="decisions") as refused:
        package.load(copied)
    assert refused.value.code == "DL311"


@pytest.mark.training
def test_golden_samples_hold_labels_answers_and_decisions(table_run: Path) -> None:
    golden = open_bundle(table_run).golden()
    tested = pl.read_parquet(table_run / "predictions" / "test.parquet").head(8)
    assert golden is not None
    assert golden["label"].to_list() == tested["truth"].to_list()
    assert golden["prediction"].to_list() == tested["prediction"].to_list()
    assert [max(answer) for answer in golden["answer"].to_list()] == pytest.approx(tested["probability"].to_list())


def test_a_bundle_of_format_1_still_answers() -> None:
    assert manifest_of(FORMAT_1)["format"] == 1
    answers = package.predict(FORMAT_1, "builtin:wine").head(3)
    assert answers["prediction"].to_list() == ["class_0"] * 3
    assert answers["probability"].to_list() == pytest.approx([0.6229628, 0.5265635, 0.6464528], abs=1e-5)
    bundle = open_bundle(FORMAT_1)
    assert (bundle.manifest.positive, bundle.manifest.digest, bundle.reference()) == (None, "", None)


def test_a_disk_that_is_full_leaves_the_bundle_as_it_was(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: sha256(path) for path in copied.iterdir()}
    bundle = open_bundle(copied)
    golden = bundle.golden()
    assert golden is not None
    written: list[int] = []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 3:  # golden samples and reference are on the disk, the manifest is not
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("danlu.artifacts.files.os.fsync", full)
    with pytest.raises(ArtifactError, match="No space left"):
        bundle.add_golden(golden.head(2), {"rows": 0, "columns": {}})
    assert {path.name: sha256(path) for path in copied.iterdir()} == before
    monkeypatch.undo()
    bundle.add_golden(golden.head(2), {"rows": 0, "columns": {}})
    again = open_bundle(copied)
    assert again.golden().height == 2 and again.reference()["answers"] == {"rows": 0, "columns": {}}  # type: ignore[union-attr, index]


def test_a_changed_file_of_format_1_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FORMAT_1, tmp_path / "old"))
    (folder / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ArtifactError, match="SHA-256"):
        package.load(folder)
    manifest = manifest_of(FORMAT_1)
    (folder / MANIFEST).write_text(json.dumps({**manifest, "files": {}}), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"does not list config\.json"):
        package.load(folder)


OTHER_FORMS: dict[str, Change] = {
    "preprocessing.tokenizer": lambda m: m["preprocessing"].update(tokenizer="x"),
    "preprocessing": lambda m: m.update(preprocessing=[]),
    "columns.1": lambda m: m["columns"].__setitem__(1, 5),
    "columns.0.name": lambda m: m["columns"][0].update(name=""),
    "columns.2.reading": lambda m: m["columns"][2].update(reading="x"),
    "reading.missing_values": lambda m: m["reading"].update(missing_values="NA"),
    "reading.skip_rows": lambda m: m["reading"].update(skip_rows=-1),
    "reading.target.0.type": lambda m: m["reading"].update(target=[{"name": "cultivar"}]),
    "output.labels": lambda m: m["output"].update(labels={"a": 1}),
    "output.task": lambda m: m["output"].pop("task"),
    "batch_size": lambda m: m.update(batch_size=0),
    "files": lambda m: m.update(files=[]),
}


@pytest.mark.parametrize("place", OTHER_FORMS)
def test_a_field_of_another_form_is_refused_by_its_name_before_it_is_used(copied: Path, place: str) -> None:
    change(copied, OTHER_FORMS[place], sealed=True)
    with pytest.raises(ArtifactError, match=rf"bundle\.json: is not a valid bundle manifest: {place}: ") as refused:
        open_bundle(copied)
    assert refused.value.code == "DL303"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("reference.json", "[]", "reference of a bundle"),
        ("reference.json", '{"columns": {"ash": {"quantiles": ["low"]}}}', r"columns\.ash\.quantiles\.0"),
        ("reference.json", '{"columns": {"ash": {"quantiles": [1e999]}}}', r"columns\.ash\.quantiles\.0"),
        ("config.json", "[]", "holds no object"),
    ],
)
def test_a_listed_file_of_another_form_is_refused_by_its_name(copied: Path, name: str, content: str, said: str) -> None:
    (copied / name).write_text(content, encoding="utf-8")
    change(copied, lambda m: m["files"].update({name: sha256(copied / name)}), sealed=True)
    with pytest.raises(ArtifactError, match=rf"{name}: .*{said}") as refused:
        package.load(copied)
    assert refused.value.code == "DL303"


@pytest.mark.parametrize("ready", ["[]", "{}", '{"files": {"../outside": "SHA"}}'])
def test_what_a_foreign_bundle_says_was_decided_moves_no_file_outside_it(copied: Path, ready: str) -> None:
    outside = copied.parent / ".outside.partial"
    outside.write_text("x", encoding="utf-8")
    (copied / f".{MANIFEST}.ready").write_text(ready.replace("SHA", sha256(outside)), encoding="utf-8")
    with pytest.raises(ArtifactError) as refused:
        package.load(copied)
    assert refused.value.code == "DL303" and outside.is_file()
