"""Where an answer begins: tokens that join the template's blank with its first word are learned, and generated."""

from pathlib import Path

import polars as pl
import pytest

from danlu.data.chats.encode import conversation_tokens, plain_ids
from danlu.data.descriptors import TokenizerFile
from danlu.data.sources.conversations import Message, dump_messages
from danlu.data.text.chat_template import choose_template, exported_template
from danlu.data.text.preprocessor import load_tokenizer
from danlu.models.generation import Sampling, _encode_prompt, _StoppingCriteria
from tests.support.tiny_models import CHATML, CHATML_TOKENS, tokenizer

VICUNA = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}"
    "{% else %}{{ 'ASSISTANT: ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT: ' }}{% endif %}"
)
MARKED = VICUNA.replace(
    "{{ 'ASSISTANT: ' + m['content'] + eos_token }}",
    "{{ 'ASSISTANT: ' }}{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}",
)
CHAT: list[Message] = [
    {"role": "user", "content": "my screen is black"},
    {"role": "assistant", "content": "is the cable plugged in"},
    {"role": "user", "content": "the fan is loud"},
    {"role": "assistant", "content": "wait for the router"},
]


def opened(path: Path, template: str, unigram: bool = False) -> TokenizerFile:
    tokenizer(template, CHATML_TOKENS if template == CHATML else (), unigram=unigram).save_pretrained(path)
    return choose_template(load_tokenizer(path), None)


def learned(file: TokenizerFile, chat: list[Message]) -> tuple[list[int], list[int]]:
    """Return all ids of a conversation, and those that are learned."""
    marked = conversation_tokens(file, pl.Series([dump_messages(chat)]), "chats").ids
    return plain_ids(marked).tolist(), [int(one) for one in marked if one >= 0]


@pytest.mark.parametrize("unigram", [False, True])
@pytest.mark.parametrize("template", [VICUNA, MARKED])
def test_the_token_that_joins_the_blank_is_learned(tmp_path: Path, template: str, unigram: bool) -> None:
    file = opened(tmp_path, template, unigram)
    assert file.blank == " "
    reader = file.open()
    text = "USER: my screen is black ASSISTANT: is the cable plugged in</s>"
    text += "USER: the fan is loud ASSISTANT: wait for the router</s>"
    ids, answers = learned(file, CHAT)
    assert ids == reader.encode(text, add_special_tokens=False).ids  # as transformers has them
    before, blank, after = (
        reader.encode(some, add_special_tokens=False).ids for some in ("ASSISTANT:", "ASSISTANT: ", "ASSISTANT: is")
    )
    joined = after[len(before)]
    assert joined != blank[-1]
    assert answers[0] == joined
    assert answers.count(file.end) == 2
    first, second = (
        reader.decode(answers[: answers.index(file.end)]),
        reader.decode(answers[answers.index(file.end) + 1 :]),
    )
    assert (first.strip(), second.strip()) == (CHAT[1]["content"], CHAT[3]["content"])


@pytest.mark.parametrize("unigram", [False, True])
@pytest.mark.parametrize("turns", [1, 3])
def test_generation_begins_where_training_did(tmp_path: Path, turns: int, unigram: bool) -> None:
    from transformers import AutoTokenizer

    file = opened(tmp_path, VICUNA, unigram)
    ids, _ = learned(file, CHAT[: turns + 1])
    prompt = _encode_prompt(file, file.open(), CHAT[:turns], 1)
    assert ids[: len(prompt)] == prompt
    _, answer = learned(file, [*CHAT[:turns], CHAT[turns]])
    assert ids[len(prompt) :] == answer[-len(ids[len(prompt) :]) :]
    own = AutoTokenizer.from_pretrained(tmp_path)
    own.chat_template = exported_template(file)
    given = own.apply_chat_template(CHAT[:turns], add_generation_prompt=True, return_dict=False)
    assert given == prompt
    assert own.apply_chat_template(CHAT[: turns + 1], return_dict=False) == ids


def test_the_templates_blank_is_no_part_of_a_generated_text(tmp_path: Path) -> None:
    file, pieces = opened(tmp_path, VICUNA), list[str]()
    ids, _ = learned(file, CHAT[:2])
    answer = ids[len(_encode_prompt(file, file.open(), CHAT[:1], 1)) :]
    watcher = _StoppingCriteria(file, (), [len(answer)], [file.blank], pieces.append)
    for token in answer:
        watcher._append_token(0, token)
    found = watcher.result(0, CHAT[:1])
    assert found.text == "".join(pieces) == CHAT[1]["content"]
    assert found.ended == "end"
    assert Sampling().max_new_tokens == 128


def test_a_header_that_ends_in_a_token_of_its_own_keeps_its_blank(tmp_path: Path) -> None:
    file = opened(tmp_path, CHATML)
    assert file.blank == ""
    assert exported_template(file) == CHATML
