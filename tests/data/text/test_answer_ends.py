"""Where an answer ends: the token that ends a turn is learned, or it is said that none is; so are answers left out."""

from pathlib import Path

import polars as pl
import pytest

from danlu.data.chats.encode import conversation_tokens
from danlu.data.chats.preprocessor import ChatPreprocessor
from danlu.data.descriptors import Origin, TokenizerFile
from danlu.data.sources.conversations import Message, dump_messages
from danlu.data.text.chat_template import choose_template
from danlu.data.text.preprocessor import load_tokenizer
from tests.support.tiny_models import CHATML, CHATML_TOKENS, tokenizer

MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] INSIDE }}{% endgeneration %}{{ OUTSIDE }}"
    "{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{{ m['content'] if loop.last else m['content'].split('</think>')[-1] }}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHAT: list[Message] = [
    {"role": "user", "content": "my screen is black"},
    {"role": "assistant", "content": "is it on"},
    {"role": "user", "content": "the fan is loud"},
    {"role": "assistant", "content": "clean the vents"},
]


def opened(path: Path, template: str) -> TokenizerFile:
    tokenizer(template, CHATML_TOKENS).save_pretrained(path)
    return choose_template(load_tokenizer(path), None)


def learned(file: TokenizerFile, chat: list[Message]) -> str:
    ids = conversation_tokens(file, pl.Series([dump_messages(chat)]), "chats").ids
    return str(file.open().decode([int(one) for one in ids if one >= 0], skip_special_tokens=False))


@pytest.mark.parametrize(
    ("inside", "outside", "expected"),
    [
        ("", "'<|im_end|>\n'", "is it on<|im_end|>clean the vents<|im_end|>"),
        ("", "'\n<|im_end|>\n'", "is it on\n<|im_end|>clean the vents\n<|im_end|>"),
        ("+ '<|im_end|>'", "'\n'", "is it on<|im_end|>clean the vents<|im_end|>"),
        ("", "eos_token", "is it on</s>clean the vents</s>"),
    ],
)
def test_the_end_of_a_turn_is_learned_wherever_the_marks_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], inside: str, outside: str, expected: str
) -> None:
    file = opened(tmp_path, MARKED.replace("INSIDE", inside).replace("OUTSIDE", outside))
    assert learned(file, CHAT) == expected
    assert file.open().token_to_id("</s>" if "</s>" in expected else "<|im_end|>") in file.stops
    assert "no end is learned" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "template",
    [
        MARKED.replace("INSIDE", "").replace("OUTSIDE", "'\n'"),
        CHATML.replace("m['content'] + '<|im_end|>'", "m['content']"),
    ],
)
def test_that_no_end_is_learned_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], template: str) -> None:
    file = opened(tmp_path, template)
    assert "ends the assistant's turns with no token of their own, so no end is learned" in capsys.readouterr().err
    assert "<|im_end|>" not in learned(file, CHAT)


def test_answers_that_are_not_learned_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thinking = [{**m, "content": f"hm</think>{m['content']}"} if m["role"] == "assistant" else m for m in CHAT]
    frame = pl.DataFrame({"messages": [dump_messages(chat) for chat in (thinking, CHAT, thinking[:2])]})
    for template, said in ((THINKING, "chats: 4 of 5 answers are learned"), (CHATML, "")):
        file = opened(tmp_path, template)
        preprocessor = ChatPreprocessor(column="messages", longest=256, tokenizer=file)
        preprocessor.transform(frame, Origin("chats", tmp_path))
        told = capsys.readouterr().err
        assert said in told
        assert bool(said) is ("answers are learned" in told)
    file = opened(tmp_path, THINKING)
    assert learned(file, thinking) == "hm</think>clean the vents<|im_end|>"
