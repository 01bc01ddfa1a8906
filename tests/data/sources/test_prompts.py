"""Prompts have what their chat template is told besides: tools, documents, options, a system text."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.data.sources.chat_rows import ChatRow
from danlu.data.sources.prompts import read_prompts
from tests.support.chatting import write_lines

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"default": None}}}


def test_rows_with_tools_and_without(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"messages": [USER], "tools": [TOOL], "chat_template_kwargs": {"thinking": False}},
        {"messages": [USER]},
    ]
    expected = [ChatRow([USER], {"tools": [TOOL], "chat_template_kwargs": {"thinking": False}}), [USER]]
    assert read_prompts(None, None, write_lines(tmp_path / "asked.jsonl", rows)) == expected


@pytest.mark.parametrize("as_file", [True, False])
def test_one_conversation_with_tools(tmp_path: Path, as_file: bool) -> None:
    held: dict[str, Any] = {"system": "Be kind.", "messages": [USER], "tools": [TOOL]}
    (tmp_path / "asked.json").write_text(json.dumps(held), encoding="utf-8")
    (found,) = read_prompts(None, str(tmp_path / "asked.json") if as_file else held, None)
    assert found == ChatRow([{"role": "system", "content": "Be kind."}, USER], {"tools": [TOOL]})


def test_prompts_of_messages_and_of_text(tmp_path: Path) -> None:
    rows = [{"prompt": [USER], "tools": [TOOL]}, {"prompt": "Once upon a time"}, {"prompt": "[{]"}]
    expected = [ChatRow([USER], {"tools": [TOOL]}), "Once upon a time", "[{]"]
    assert read_prompts(None, None, write_lines(tmp_path / "asked.jsonl", rows)) == expected


def test_a_text_with_a_system_text_or_tools_beside_it_is_what_a_user_says(tmp_path: Path) -> None:
    rows = [{"prompt": "Hi", "system": "Be kind."}, {"prompt": "Hi", "tools": [TOOL]}, {"prompt": "Hi", "system": ""}]
    expected = [[{"role": "system", "content": "Be kind."}, USER], ChatRow([USER], {"tools": [TOOL]}), "Hi"]
    assert read_prompts(None, None, write_lines(tmp_path / "asked.jsonl", rows)) == expected
