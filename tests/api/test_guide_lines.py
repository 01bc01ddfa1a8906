"""Every line of the docs that hands a run to a function runs as it is written, with what `danlu.run` returns."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu.artifacts.run import RunDirectory
from danlu.data.builtin import read_builtin
from tests.support.chatting import chat_file, recipe

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("guide*.md"))]
CALL = re.compile(
    r"danlu\.(?:generate|load|predict|evaluate|export|check|compare)\([^()\n]*\b(?:run|bundle)\b[^()\n]*\)"
)
LINES = sorted({line for page in DOCS for line in CALL.findall(page.read_text(encoding="utf-8"))})
FORMS: dict[str, Callable[[RunDirectory], Any]] = {
    "run": lambda run: run,
    "path": lambda run: run.path,
    "bundle": lambda run: run.model,
    "text": lambda run: str(run.path),
}


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    recipe = {"name": "wine", "data": {"source": "builtin:wine"}, "model": "linear", "training": {"epochs": 3}}
    return danlu.run(recipe, output=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("chat")
    return danlu.train(recipe(chat_file(folder / "chats.jsonl", 20), max_steps=2), output=folder)


def test_the_docs_hand_runs_to_functions() -> None:
    told = "\n".join(LINES)
    for call in (
        "generate(run, chat=",
        "load(run.model)",
        "predict(run, data)",
        "evaluate(run, data=",
        "against=bundle",
    ):
        assert call in told


@pytest.mark.training
@pytest.mark.parametrize("line", LINES)
def test_the_line_runs(line: str, wine: RunDirectory, chat: RunDirectory) -> None:
    frame = read_builtin("wine").frame
    names = {"danlu": danlu, "frame": frame, "data": frame, "bundle": wine.model}
    assert eval(line, {**names, "run": chat if "generate" in line else wine}) is not None


@pytest.mark.training
@pytest.mark.parametrize("form", FORMS)
def test_a_run_is_taken_in_every_form(form: str, wine: RunDirectory, chat: RunDirectory, tmp_path: Path) -> None:
    given = FORMS[form](wine)
    assert danlu.load(given).target == danlu.load(wine.model).target
    assert danlu.predict(given, "builtin:wine").height == 178
    assert danlu.check("builtin:wine", against=given)["missing_columns"] == []
    assert len(danlu.generate(FORMS[form](chat), chat="hello", max_new_tokens=1)) == 1
    exported = danlu.export(FORMS[form](chat), tmp_path / "out")
    assert (exported / "config.json").is_file()
    if form != "bundle":  # an evaluation belongs to a run
        assert danlu.evaluate(given, "builtin:wine")["source"]["rows"] == 178
