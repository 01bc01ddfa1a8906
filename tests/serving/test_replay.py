"""A server's log answered again: byte by byte by the same bundle, a table of differences for a candidate."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

import danlu
from danlu.artifacts.files import sha256_of_json
from danlu.errors import ArgumentError, ArtifactError, DataError
from danlu.serving.answering import Served
from danlu.serving.plain import decode
from danlu.serving.request_log import RequestLog, read_log
from tests.conftest import Command
from tests.serving.test_answering import rows_of


def write_log(path: Path, served: Served, requests: list[list[object]], model: str = "wine/1") -> None:
    """Answer requests in batches of two, as a server would, and log them."""
    log = RequestLog(path)
    for start in range(0, len(requests), 2):
        batch = [decode(served, json.dumps({"rows": rows}).encode()) for rows in requests[start : start + 2]]
        place, size = 0, sum(rows.count for rows in batch)
        for at, (rows, answers) in enumerate(zip(batch, served.answer(batch), strict=True)):
            log.write(f"r{start + at}", 1.8e9, model, served, (f"w1-{start}", size, place), rows, answers)
            place += rows.count
    log.flush()
    assert log.lost == 0


@pytest.fixture
def wine_log(wine: Served, table_file: Path, tmp_path: Path) -> Path:
    rows = rows_of(wine, str(table_file))
    broken = {**rows[7], "alcohol": "strong"}
    words = {**rows[8], "alcohol": str(rows[8]["alcohol"])}
    write_log(tmp_path / "log.jsonl", wine, [rows[:2], rows[2:7], [broken, rows[9]], [words], [{}], rows[10:30]])
    return tmp_path / "log.jsonl"


def test_the_same_bundle_answers_its_log_byte_by_byte(wine: Served, wine_log: Path) -> None:
    found = danlu.replay(wine_log, wine.predictor.bundle.folder)
    assert (found.requests, found.equal, found.exact) == (6, 6, 6)
    assert (found.max_deviation, found.labels_changed, found.differences) == (0.0, 0, [])


def test_a_line_holds_what_is_documented_of_it(wine: Served, wine_log: Path) -> None:
    first = json.loads(wine_log.read_text().splitlines()[0])
    assert list(first) == ["id", "time", "model", "digest", "engine", "threads", "batch", "request", "answer"]
    assert (first["digest"], first["engine"], first["batch"]) == (wine.digest, wine.engine, ["w1-0", 7, 0])
    assert len(first["request"]["rows"]) == len(first["answer"]) == 2


def test_images_and_texts_are_replayed_too(
    digits: Served, eras: Served, image_folder: Path, text_file: Path, tmp_path: Path
) -> None:
    from base64 import b64encode

    pictures = [{"image": b64encode(path.read_bytes()).decode()} for path in sorted(image_folder.rglob("*.png"))[:9]]
    write_log(tmp_path / "digits", digits, [pictures[:4], [*pictures[4:], {"image": "?"}]], "digits/1")
    texts = pl.read_ndjson(text_file)["text"].to_list()[:9]
    write_log(tmp_path / "eras", eras, [texts[:4], texts[4:]], "eras/1")
    for name, served in (("digits", digits), ("eras", eras)):
        found = danlu.replay(tmp_path / name, served.predictor.bundle.folder)
        assert (found.requests, found.equal, found.exact) == (2, 2, 2)


def test_a_candidate_is_compared_and_no_failure(
    wine: Served, wine_log: Path, table_recipe: dict[str, object], tmp_path: Path, danlu: Command
) -> None:
    import danlu as package

    other = {**table_recipe, "training": {"max_steps": 3, "batch_size": 32}, "evaluation": {"baselines": False}}
    candidate = package.run(other, output=tmp_path / "runs").path
    done = danlu("replay", wine_log, candidate, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["format"] == 1
    assert found["requests"] == 6
    assert found["equal"] + len(found["differences"]) == 6
    assert {each["id"] for each in found["differences"]} >= {"r0", "r1"}
    assert set(found["differences"][0]) == {"id", "was", "is"}
    assert "r4" not in {each["id"] for each in found["differences"]}  # an error is the same error
    assert found["max_deviation"] > 1e-3
    shown = danlu("replay", wine_log, candidate)
    assert "labels changed" in shown.stdout


def test_an_answer_that_changed_for_the_same_digest_exits_with_1(wine: Served, wine_log: Path, danlu: Command) -> None:
    bundle = wine.predictor.bundle.folder
    assert danlu("replay", wine_log, bundle).returncode == 0
    lines = wine_log.read_text().splitlines()
    first = json.loads(lines[0])
    first["answer"][0]["probability"] += 1e-7
    wine_log.write_text("\n".join([json.dumps(first, separators=(",", ":")), *lines[1:]]) + "\n")
    done = danlu("replay", wine_log, bundle, "--json")
    assert done.returncode == 1
    assert [each["id"] for each in json.loads(done.stdout)["differences"]] == ["r0"]


def test_a_batch_of_which_a_request_is_missing_is_held_to_rounding(wine: Served, wine_log: Path) -> None:
    lines = wine_log.read_text().splitlines()
    wine_log.write_text("\n".join(lines[1:]) + "\n")
    found = danlu.replay(wine_log, wine.predictor.bundle.folder)
    assert (found.requests, found.equal, found.exact) == (5, 5, 4)


def test_a_line_that_was_cut_off_is_left_out_and_another_file_is_refused(wine_log: Path, table_file: Path) -> None:
    content = wine_log.read_bytes()
    wine_log.write_bytes(content[:-20])
    assert len(list(read_log(wine_log))) == 5
    with pytest.raises(DataError, match="no line of a server's log"):
        list(read_log(table_file))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_log(wine_log.parent))


def test_a_log_of_several_models_asks_which(wine: Served, cancer: Served, digits: Served, tmp_path: Path) -> None:
    write_log(tmp_path / "log", wine, [[{}]], "wine/1")
    write_log(tmp_path / "log", cancer, [[{}]], "cancer/2")
    bundle = digits.predictor.bundle.folder
    with pytest.raises(ArgumentError, match="cancer, wine"):
        danlu.replay(tmp_path / "log", bundle)
    with pytest.raises(ArgumentError, match="no requests"):
        danlu.replay(tmp_path / "log", bundle, model="beer")
    assert danlu.replay(tmp_path / "log", bundle, model="cancer/2").requests == 1


def test_a_forged_bundle_is_refused_by_name_whoever_opens_it(wine: Served, wine_log: Path, tmp_path: Path) -> None:
    forged = Path(shutil.copytree(wine.predictor.bundle.folder, tmp_path / "forged"))
    manifest = json.loads((forged / "bundle.json").read_text(encoding="utf-8"))
    manifest["columns"][0]["reading"] = {"number": 5}
    manifest["digest"] = sha256_of_json({key: value for key, value in manifest.items() if key != "digest"})
    (forged / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ArtifactError, match="its parts do not fit one another"):
        danlu.replay(wine_log, forged)
    with pytest.raises(ArtifactError, match="its parts do not fit one another"):
        danlu.serve(forged, engine="numpy")
