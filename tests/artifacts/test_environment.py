"""What a run notes of where it was made."""

import sys

import pytest

from danlu.artifacts.environment import command_line


@pytest.mark.parametrize("program", ["/usr/bin/danlu", "/usr/lib/python3/danlu/__main__.py"])
def test_a_command_is_named_alike_however_it_was_started(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "run", "recipe.yaml"])
    assert command_line() == ["danlu", "run", "recipe.yaml"]
