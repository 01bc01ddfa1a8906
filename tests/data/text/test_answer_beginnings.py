"""Where an answer begins: tokens that join the template's blank with its first word are learned, and generated."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.chats.encode import conversation_tokens
from danlu.data.descriptors import TokenizerFile
from danlu.data.sources.conversations import Message, dump_messages
from danlu.data.text.chat_template import answer_beginnings, choose_template, exported_template, render_prompt
from danlu.data.text.preprocessor import load_tokenizer
from danlu.data.text.tokenize import plain_ids
from danlu.models.generated_text import GeneratedText
from danlu.models.generation import encode_prompt
from danlu.models.sampling import Sampling
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
    prompt = encode_prompt(file, CHAT[:turns], 1)
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
    answer = ids[len(encode_prompt(file, CHAT[:1], 1)) :]
    found = GeneratedText(file.open(), file, len(answer), blank=file.blank)
    pieces += [found.append(token) for token in answer] + [found.finish()]
    assert found.text == "".join(pieces) == CHAT[1]["content"]
    assert found.ended == "end"
    assert Sampling().max_new_tokens == 128


def test_a_header_that_ends_in_a_token_of_its_own_keeps_its_blank(tmp_path: Path) -> None:
    file = opened(tmp_path, CHATML)
    assert file.blank == ""
    assert exported_template(file) == CHATML


# Merges that join a header's end with what answers begin with: new lines, blanks, signs.
JOINING = ["a\n\n", "a\n\n\n", "\n d", "\n\td", ":)", "::", "###", ": (", '\n"', "\n- e", "  f", " \n"] * 9
HEADERS = {
    "chatml": CHATML,
    "vicuna": VICUNA,
    "colon": VICUNA.replace("ASSISTANT: ", "ASSISTANT:"),
    "alpaca": VICUNA.replace("ASSISTANT: ", "### Response:\n\n"),
    "trimming": CHATML.replace("m['content']", "m['content'] | trim"),
}
ANSWERS = st.text('a\n\t :)#-é"', min_size=1, max_size=6).filter(lambda text: bool(text.strip()))


@lru_cache
def joining(name: str) -> TokenizerFile:
    """Return the tokenizer that joins, with a header's template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made, inner = tokenizer(HEADERS[name], CHATML_TOKENS), Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<unk>", "<s>", "</s>", *CHATML_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator(JOINING, trainer)
    made._tokenizer = inner
    with TemporaryDirectory() as folder:
        made.save_pretrained(folder)
        return load_tokenizer(Path(folder)).model_copy(update={"parses_special": False})


@pytest.mark.parametrize("name", HEADERS)
@settings(max_examples=40, deadline=None)
@given(said=st.lists(ANSWERS, min_size=1, max_size=3))
def test_whatever_answers_begin_with_generation_begins_where_training_did(name: str, said: list[str]) -> None:
    check_boundaries(name, choose_template(joining(name), None, answer_beginnings(said)), said)


@pytest.mark.parametrize("parses", [False, True])
@pytest.mark.parametrize("name", HEADERS)
@settings(max_examples=25, deadline=None)
@given(said=st.lists(ANSWERS, min_size=1, max_size=3))
def test_so_it_does_where_no_training_answer_begins_so(name: str, parses: bool, said: list[str]) -> None:
    known = joining(name).model_copy(update={"parses_special": parses})
    check_boundaries(name, choose_template(known, None, answer_beginnings(["no"])), said)


def check_boundaries(name: str, file: TokenizerFile, said: list[str]) -> None:
    """Check that each answer begins in training where its prompt ends, and is whole."""
    chat: list[Message] = []
    for answer in said:
        chat += [{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}]
    marked = conversation_tokens(file, pl.Series([dump_messages(chat)]), "chats").ids
    ids = plain_ids(marked).tolist()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (marked >= 0).astype(int), [0]]))).reshape(-1, 2)
    assert len(edges) == len(said)
    for place, (begin, end) in enumerate(edges.tolist()):
        prompt = encode_prompt(file, chat[: 2 * place + 1], 1)
        assert prompt == ids[:begin]
        answer = said[place].strip() if name == "trimming" else said[place]
        ending = "<|im_end|>" if "im_start" in HEADERS[name] else "</s>"
        assert file.open().decode(ids[begin:end], skip_special_tokens=False) == file.blank + answer + ending


@pytest.mark.parametrize(
    ("name", "answer", "blank"),
    [
        ("chatml", "\nyes", "\n"),
        ("chatml", "yes", ""),
        ("colon", ") ok", ":"),
        ("colon", "ok", ""),
        ("trimming", "\nyes", ""),
    ],
)
def test_the_headers_end_belongs_to_an_answer_that_it_joins(name: str, answer: str, blank: str) -> None:
    assert choose_template(joining(name), None, answer_beginnings([answer, "no"])).blank == blank


def test_an_unknown_character_beside_the_headers_new_line_is_part_of_the_prompt(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    file = opened(tmp_path, CHATML, unigram=True)
    chat: list[Message] = [{"role": "user", "content": "is it on"}, {"role": "assistant", "content": "屏 is the cable"}]
    ids, answer = learned(file, chat)
    prompt = encode_prompt(file, chat[:1], 1)
    assert prompt[-1] == file.open().token_to_id("<unk>")  # the new line, which this tokenizer does not know
    assert ids == prompt + ids[len(prompt) :] and answer == ids[len(prompt) : len(prompt) + len(answer)]
    assert AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(chat, return_dict=False) == ids


EDGES = [
    "\n\n{}",
    " Be kind. {}",
    "{{{{- 'Be kind. ' -}}}}\n{}\n",
    "{{% if true %}}\n{}{{% endif %}}\n\n",
    "  {{% if true %}}{}{{% endif %}}",
    "{}{{{{ '' }}}}\n",
]


@pytest.mark.parametrize("date", [None, "2026-11-30"])
@pytest.mark.parametrize("edge", EDGES)
def test_an_exported_template_keeps_its_white_space(tmp_path: Path, edge: str, date: str | None) -> None:
    from transformers import AutoTokenizer

    file = opened(tmp_path, edge.format(VICUNA + ("{# strftime_now #}" if date else "")))
    own = AutoTokenizer.from_pretrained(tmp_path)
    expected = own.apply_chat_template(CHAT, return_dict=False)
    prompt = own.apply_chat_template(CHAT[:3], add_generation_prompt=True, tokenize=False).removesuffix(" ")
    file = file.model_copy(update={"date": date})
    assert file.blank == " "
    assert learned(file, CHAT)[0] == expected
    assert render_prompt(file, CHAT[:3]) == prompt
    own.chat_template = exported_template(file)
    assert own.apply_chat_template(CHAT, return_dict=False) == expected
    assert own.apply_chat_template(CHAT[:3], add_generation_prompt=True, tokenize=False) == prompt


def test_an_end_of_several_tokens_is_no_part_of_a_streamed_text(tmp_path: Path) -> None:
    file, pieces = opened(tmp_path, VICUNA).model_copy(update={"blank": "T: "}), list[str]()
    answer = file.open().encode("T: is the cable</s>", add_special_tokens=False).ids
    text = GeneratedText(file.open(), file, len(answer), blank="T: ")
    pieces += [text.append(token) for token in answer] + [text.finish()]
    assert text.text == "".join(pieces) == "is the cable"
