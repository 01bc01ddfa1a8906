"""A conversation set of each public form goes from file to answer; `danlu check` shows a row as the model reads it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import danlu as package
from tests.support.chatting import TINY, write_lines

ROWS = 12
TOOL = {"type": "function", "function": {"name": "router", "parameters": {}}}
TEMPLATE = (
    "{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% if m['tool_calls'] %}{{ m['tool_calls'] | tojson }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOLD_TOOL = '<tools>{"type": "function", "function": {"name": "router", "parameters": {}}}</tools>\n'
ASKED = "<|im_start|>user\nScreen {n} is black.<|im_end|>\n<|im_start|>assistant\n"
ANSWERED = "Is cable {n} in?<|im_end|>"
BE_KIND = "<|im_start|>system\nBe kind.<|im_end|>\n"
EARLIER = "<|im_start|>user\nHelp!<|im_end|>\n<|im_start|>assistant\n"


def user(n: int) -> dict[str, Any]:
    return {"role": "user", "content": f"Screen {n} is black."}


def answer(n: int, word: str = "Is") -> dict[str, Any]:
    return {"role": "assistant", "content": f"{word} cable {n} in?"}


def calling(n: int) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "router", "arguments": {"n": n}}}]}


def sharegpt(n: int) -> dict[str, Any]:
    turns = [{"from": "human", "value": user(n)["content"]}, {"from": "gpt", "value": answer(n)["content"]}]
    return {"conversations": turns, "system": "Be kind.", "tools": json.dumps([TOOL])}


def alpaca(n: int) -> dict[str, Any]:
    said = {"instruction": "Screen", "input": f"{n} is black.", "output": answer(n)["content"]}
    return {**said, "system": "Be kind.", "history": [["Help!", "Gladly."]]}


# Of each form: a row, and the text before what is learned, what is learned, and so on in turns.
FORMS: dict[str, tuple[Callable[[int], dict[str, Any]], list[str]]] = {
    "openai": (lambda n: {"messages": [user(n), answer(n)]}, [ASKED, ANSWERED]),
    "openai-tools": (
        lambda n: {
            "messages": [user(n), calling(n), {"role": "tool", "content": "on"}, {**answer(n), "weight": 1}],
            "tools": [TOOL],
        },
        [
            TOLD_TOOL + ASKED,
            '[{"function": {"name": "router", "arguments": {"n": {n}}}}]<|im_end|>',
            "\n<|im_start|>tool\non<|im_end|>\n<|im_start|>assistant\n",
            ANSWERED,
        ],
    ),
    "openai-weights": (
        lambda n: {
            "messages": [
                {"role": "user", "content": "Help!"},
                {"role": "assistant", "content": "Gladly.", "weight": 0},
                user(n),
                answer(n),
            ]
        },
        [EARLIER + "Gladly.<|im_end|>\n" + ASKED, ANSWERED],
    ),
    "sharegpt": (sharegpt, [TOLD_TOOL + BE_KIND + ASKED, ANSWERED]),
    "alpaca": (
        alpaca,
        [
            BE_KIND + EARLIER,
            "Gladly.<|im_end|>",
            "\n<|im_start|>user\nScreen\n\n{n} is black.<|im_end|>\n<|im_start|>assistant\n",
            ANSWERED,
        ],
    ),
    "dolly": (
        lambda n: {"instruction": f"Screen {n} is black.", "context": "", "response": answer(n)["content"]},
        [ASKED, ANSWERED],
    ),
    "trl": (lambda n: {"prompt": [user(n)], "completion": [answer(n)]}, [ASKED, ANSWERED]),
    "gsm8k": (lambda n: {"question": user(n)["content"], "answer": answer(n)["content"]}, [ASKED, ANSWERED]),
}
PAIRS: dict[str, Callable[[int], dict[str, Any]]] = {
    "ultrafeedback": lambda n: {
        "prompt": user(n)["content"],
        "chosen": [user(n), answer(n)],
        "rejected": [user(n), answer(n, "Was")],
        "messages": [user(n), answer(n)],
    },
    "hh-rlhf": lambda n: {
        name: f"\n\nHuman: {user(n)['content']}\n\nAssistant: {answer(n, word)['content']}"
        for name, word in (("chosen", "Is"), ("rejected", "Was"))
    },
    "orca": lambda n: {
        "question": user(n)["content"],
        "chosen": answer(n)["content"],
        "rejected": answer(n, "Was")["content"],
    },
    "sharegpt-pairs": lambda n: {
        "conversations": [{"from": "human", "value": user(n)["content"]}],
        "chosen": {"from": "gpt", "value": answer(n)["content"]},
        "rejected": {"from": "gpt", "value": answer(n, "Was")["content"]},
    },
}


def recipe(folder: Path, row: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    source = write_lines(folder / "chats.jsonl", [row(n) for n in range(ROWS)])
    (folder / "template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return {
        "data": {
            "source": str(source),
            "vocabulary": 330,
            "sequence_length": 256,
            "chat_template": str(folder / "template.jinja"),
        },
        "model": {"name": "hf:llama", "config": TINY},
        "training": {"max_steps": 2, "batch_size": 4},
        "evaluation": {"baselines": False},
    }


def filled(parts: list[str], shown: dict[str, Any]) -> list[str]:
    """The expected parts with the number of the row that is shown."""
    whole = "".join(part["text"] for part in shown["parts"])
    number = next(n for n in reversed(range(ROWS)) if f"{n} is black." in whole)
    return [part.replace("{n}", str(number)) for part in parts]


@pytest.mark.parametrize("form", FORMS)
def test_check_shows_a_row_with_what_is_learned(tmp_path: Path, form: str) -> None:
    row, parts = FORMS[form]
    found = package.check(recipe(tmp_path, row))
    assert found["kind"] == "chat"
    (shown,) = found["shown"]
    texts = [part["text"] for part in shown["parts"]]
    assert texts[: len(parts)] == filled(parts, shown)
    assert texts[len(parts) :] == ["\n"]
    assert [part["learned"] for part in shown["parts"]] == [place % 2 == 1 for place in range(len(texts))]


@pytest.mark.parametrize("form", PAIRS)
def test_check_shows_both_answers(tmp_path: Path, form: str) -> None:
    found = package.check(recipe(tmp_path, PAIRS[form]))
    assert found["kind"] == "preference"
    for shown, name, word in zip(found["shown"], ("chosen", "rejected"), ("Is", "Was"), strict=True):
        assert shown["name"] == name
        expected = filled([ASKED, word + ANSWERED.removeprefix("Is"), "\n"], shown)
        assert [part["text"] for part in shown["parts"]] == expected
        assert [part["learned"] for part in shown["parts"]] == [False, True, False]


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("form", [*FORMS, *PAIRS])
def test_from_file_to_answer(danlu: Any, tmp_path: Path, form: str) -> None:
    row = FORMS[form][0] if form in FORMS else PAIRS[form]
    (tmp_path / "chat.yaml").write_text(yaml.safe_dump(recipe(tmp_path, row)), encoding="utf-8")
    checked = danlu("check", "chat.yaml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert " in?<|im_end|>⟫" in checked.stdout
    ran = danlu("run", "chat.yaml", "--name", "chat", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    asked = ("generate", "runs/chat", "--chat", "Screen 3 is black.", "--max-new-tokens", "4", "--json")
    answered = danlu(*asked, cwd=tmp_path)
    assert answered.returncode == 0, answered.stderr
    assert json.loads(answered.stdout)["tokens"] <= 4
    told = {"messages": [user(3)], "tools": [TOOL]}
    write_lines(tmp_path / "asked.jsonl", [told])
    with_tools = ("--data", "asked.jsonl", "--max-new-tokens", "4", "--output", "said.jsonl")
    answered = danlu("generate", "runs/chat", *with_tools, cwd=tmp_path)
    assert answered.returncode == 0, answered.stderr
    assert json.loads((tmp_path / "said.jsonl").read_text())["prompt"] == told


def test_what_is_not_read_is_named(danlu: Any, tmp_path: Path) -> None:
    def row(n: int) -> dict[str, Any]:
        return {**sharegpt(n), "source": f"page {n}", "meta": {"n": n}, "chat_template_kwargs": {"thinking": True}}

    asked = recipe(tmp_path, row)
    del asked["data"]["chat_template"]  # ChatML, which writes no tools
    (tmp_path / "chat.yaml").write_text(yaml.safe_dump(asked), encoding="utf-8")
    checked = danlu("check", "chat.yaml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "never reads them: source, meta" in checked.stdout
    assert "the chat template does not write thinking, tools" in checked.stderr
