"""Real conversations as the files that people have them in, and the smallest model that learns from them."""

import json
from pathlib import Path
from typing import Any

from tests.support.real import conversations

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
ROLES = ("user", "assistant")


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def chat_file(path: Path, most: int = 150) -> Path:
    """Conversations about technical trouble as OpenAI's messages."""
    chats = [turns[: len(turns) // 2 * 2] for turns in conversations("tech_support", "trivia")][:most]
    rows = [
        {"messages": [{"role": ROLES[place % 2], "content": said} for place, said in enumerate(turns)]}
        for turns in chats
    ]
    return write_lines(path, rows)


def preference_file(path: Path, most: int = 120) -> Path:
    """A question, its answer, and the answer to another question."""
    chats = conversations("tech_support", "trivia")[:most]
    rows = []
    for place, turns in enumerate(chats):
        other = next(chat for chat in chats[place + 1 :] + chats if chat[1] != turns[1])
        rows.append({"prompt": turns[0], "chosen": turns[1], "rejected": other[1].upper()})
    return write_lines(path, rows)


def recipe(source: Path, **training: Any) -> dict[str, Any]:
    return {
        "name": source.stem,
        "data": {"source": str(source), "vocabulary": 400, "sequence_length": 128},
        "model": {"name": "hf:llama", "config": TINY},
        "training": {"batch_size": 8, "optimizer": {"lr": 3e-3}, **training},
    }
