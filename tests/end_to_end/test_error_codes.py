"""Every command with `--json` prints an error as JSON on stdout, beside the message with its code on stderr."""

import json
from pathlib import Path

import pytest

from tests.conftest import Command

WRONG = {
    "check": ("nowhere", "DL101", 2),
    "train": ("wine --set training.epoch=3", "DL105", 2),
    "run": ("wine --set training.epochs=-1", "DL108", 2),
    "tune": ("wine", "DL401", 2),
    "plan": ("wine --set data.source=nowhere.csv", "DL201", 3),
    "evaluate": ("nowhere", "DL406", 2),
    "compare": ("one", "DL401", 2),
    "generate": ("nowhere --prompt hello", "DL301", 1),
    "chat": ("nowhere", "DL301", 1),
    "export": ("nowhere out", "DL301", 1),
    "explain": ("nowhere", "DL301", 1),
    "compress": ("nowhere", "DL406", 2),
    "visualize": ("nowhere", "DL101", 2),
    "serve": ("nowhere", "DL301", 1),
    "deploy": ("", "DL401", 2),
    "sign": ("nowhere --key nothing", "DL301", 1),
    "replay": ("nowhere.jsonl nowhere", "DL301", 1),
    "models": ("--like no-such-model-at-all", "DL402", 2),
    "report": ("nowhere", "DL406", 2),
    "runs": ("--no-such-option", "DL416", 2),
    "doctor": ("--no-such-option", "DL416", 2),
}


def commands_with_json() -> set[str]:
    """The commands whose functions take `--json`."""
    import importlib
    import inspect

    from danlu.api import COMMANDS

    found = {name: getattr(importlib.import_module(f"danlu.cli.{name}"), name) for name in COMMANDS}
    return {name for name, verb in found.items() if {"json", "as_json"} & set(inspect.signature(verb).parameters)}


def test_the_table_has_every_command_with_json() -> None:
    assert set(WRONG) == commands_with_json()


@pytest.mark.parametrize("verb", WRONG)
def test_an_error_is_json_on_stdout_and_a_sentence_on_stderr(verb: str, danlu: Command, tmp_path: Path) -> None:
    words, code, exit_code = WRONG[verb]
    done = danlu(verb, *words.split(), "--json", cwd=tmp_path)
    assert done.returncode == exit_code, done.stderr
    told = json.loads(done.stdout)
    assert told["format"] == 1 and told["error"]["code"] == code
    assert told["error"]["message"].splitlines()[0] in done.stderr or code == "DL416"
    assert f"[{code}]" in done.stderr or code == "DL416"


def test_without_json_stdout_stays_empty_and_the_code_stands_once(danlu: Command, tmp_path: Path) -> None:
    done = danlu("train", "wine", "--set", "training.epoch=3", cwd=tmp_path)
    assert (done.stdout, done.stderr.count("[DL105]")) == ("", 1)
