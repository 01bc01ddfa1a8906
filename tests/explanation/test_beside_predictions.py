"""Texts are explained beside their predictions; what no cell can hold is refused by name."""

import json
from pathlib import Path

import pytest

import danlu
from danlu.errors import ArgumentError
from tests.conftest import Command


def test_a_text_is_explained_by_its_words_beside_its_prediction(text_run: Path, tmp_path: Path, danlu: Command) -> None:
    texts = ["We hold these truths to be sacred", "", "war"]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    ran = danlu("predict", text_run, tmp_path / "rows.jsonl", "--explain", "-o", tmp_path / "a.jsonl")
    assert ran.returncode == 0, ran.stderr
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert rows[1]["explanation"] is None and rows[1]["prediction"]  # no word, and an answer all the same
    words = json.loads(rows[0]["explanation"])
    assert [texts[0][each["start"] : each["end"]] for each in words] == texts[0].split()
    assert set(words[0]) == {"name", "start", "end", "value", "low", "high"}
    alone = danlu("explain", text_run, tmp_path / "rows.jsonl", "--rows", "0", "--json")
    assert json.loads(alone.stdout)["local"][0]["values"] == words


def test_what_no_cell_can_hold_is_refused_by_name(image_run: Path, image_folder: Path) -> None:
    with pytest.raises(ArgumentError, match="an image has a map of pixels, which no cell holds; danlu explain"):
        danlu.predict(image_run, image_folder / "digit-0", explain=True)
