"""A tiny model of conversations that calls a tool, a sentence encoder, and a server of both."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("msgspec", reason="the extra [serve] is not installed")

import danlu
from tests.support.serving import Server, serving

CALL = {"name": "weather", "arguments": {"city": "Oslo"}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
# Hermes' form, as Qwen's templates have it.
TEMPLATE = (
    "{%- if tools %}{{ '<|im_start|>system\\n' + (tools | tojson) + '<|im_end|>\\n' }}{% endif -%}"
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}"
    "{%- for call in message.tool_calls or [] -%}"
    '{{ \'<tool_call>\\n{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{ call.function.arguments | tojson }}{{ '}\\n</tool_call>' }}"
    "{%- endfor -%}{{ '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}"
)
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


@pytest.fixture(scope="session")
def chat_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It has learned to call the weather's tool, whatever is asked."""
    folder = tmp_path_factory.mktemp("talker")
    (folder / "template.jinja").write_text(TEMPLATE, encoding="utf-8")
    answer = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALL}]}
    rows = [
        {"messages": [{"role": "user", "content": f"Is day {at} warm?"}, answer], "tools": TOOLS} for at in range(60)
    ]
    source = folder / "chats.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe: dict[str, Any] = {
        "name": "talker",
        "data": {
            "source": str(source),
            "vocabulary": 300,
            "sequence_length": 256,
            "chat_template": str(folder / "template.jinja"),
        },
        "model": {"name": "hf:llama", "config": TINY},
        "training": {"max_steps": 80, "batch_size": 8, "optimizer": {"lr": 1e-2}},
        "evaluation": {"baselines": False},
    }
    return danlu.run(recipe, output=folder / "runs").path


@pytest.fixture(scope="session")
def encoder_run(text_recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = {"name": "hf:bert", "config": {**TINY, "num_hidden_layers": 1}, "pooling": "mean"}
    recipe = {**text_recipe, "name": "encoder", "model": model, "training": {"max_steps": 4, "batch_size": 8}}
    return danlu.run(recipe, output=tmp_path_factory.mktemp("encoder")).path


@pytest.fixture(scope="session")
def talking(chat_run: Path, encoder_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("log") / "requests.jsonl"
    with serving(f"talker={chat_run}", f"encoder={encoder_run}", "--engine", "torch", "--log", str(log)) as running:
        running.log = log  # type: ignore[attr-defined]
        yield running
