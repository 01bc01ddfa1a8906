"""Splits without an answer within reach are refused; templates go by name; an answer that was begun is continued."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import danlu as package
from danlu.data.chats.encode import conversation_tokens
from danlu.data.chats.preprocessor import PreferencePreprocessor
from danlu.data.descriptors import Origin, TokenizerFile
from danlu.data.sources.conversations import Message, dump_messages
from danlu.data.text.chat_template import choose_template, render_prompt
from danlu.data.text.preprocessor import load_tokenizer
from danlu.errors import DataError, RecipeError
from danlu.tasks.token_losses import IGNORED
from tests.support.chatting import TINY, write_lines
from tests.support.tiny_models import CHATML, CHATML_TOKENS, SENTENCES, tokenizer

QUESTION = "my screen is black and the mouse does not move"


def opened(path: Path, template: Any = CHATML, choice: str | None = None) -> TokenizerFile:
    tokenizer(template, CHATML_TOKENS).save_pretrained(path)
    return choose_template(load_tokenizer(path), choice)


@pytest.mark.parametrize("form", ["chat", "preference"])
@pytest.mark.parametrize("far", ["train", "validation", "test"])
def test_a_split_without_an_answer_within_reach_is_refused(tmp_path: Path, form: str, far: str) -> None:
    sources = {}
    for name in ("train", "validation", "test"):
        asked = " ".join([QUESTION] * (30 if name == far else 1))
        rows = [
            {"prompt": f"{asked} {text}", "response": text}
            if form == "chat"
            else {"prompt": f"{asked} {text}", "chosen": text, "rejected": f"no {text}"}
            for text in SENTENCES
        ]
        sources[name] = str(write_lines(tmp_path / f"{name}.jsonl", rows))
    said: dict[str, Any] = {
        "data": {"source": sources, "vocabulary": 400, "sequence_length": 100},
        "model": {"name": "hf:llama", "config": TINY},
        "training": {"max_steps": 1, "batch_size": 4},
    }
    with pytest.raises(DataError, match=rf"sequence_length is 100, and no answer of the {far} split's 10") as raised:
        package.train(said, output=tmp_path, name="run")
    needed = int(str(raised.value).split("the earliest needs ")[1].split(":")[0])
    said["data"]["sequence_length"] = needed
    package.train(said, output=tmp_path, name="run")
    said["data"]["sequence_length"] = needed - 1
    with pytest.raises(DataError, match=f"sequence_length is {needed - 1}.*needs {needed}"):
        package.train(said, output=tmp_path, name="other")


def test_of_a_pair_that_lacks_an_answer_nothing_is_learned(tmp_path: Path) -> None:
    file = opened(tmp_path)
    chats = [
        [[{"role": "user", "content": "hi"}], "is it on", "no"],
        [[{"role": "user", "content": QUESTION * 5}], "is it on", "no"],
    ]
    frame = pl.DataFrame(
        {
            "prompt": [dump_messages(prompt) for prompt, _, _ in chats],  # type: ignore[arg-type]
            "chosen": [dump_messages([{"role": "assistant", "content": one}]) for _, one, _ in chats],
            "rejected": [dump_messages([{"role": "assistant", "content": one}]) for _, _, one in chats],
        }
    )
    preprocessor = PreferencePreprocessor(column="chosen", longest=40, tokenizer=file)
    answers = preprocessor.transform(frame, Origin("pairs", tmp_path)).columns[0].take(np.arange(2))["answers"]
    assert ((answers != IGNORED).sum(dim=-1) > 0).tolist() == [[True, True], [False, False]]


SEVERAL = {"default": CHATML, "tool_use": "{{ 'TOOLS' }}" + CHATML}


def test_of_several_templates_default_or_the_named_one_is_taken(tmp_path: Path) -> None:
    assert opened(tmp_path, SEVERAL).chat_template == SEVERAL["default"]
    assert opened(tmp_path, SEVERAL, "tool_use").chat_template == SEVERAL["tool_use"]
    assert opened(tmp_path, SEVERAL, "tool_use").templates == {}
    with pytest.raises(RecipeError, match=r"no template 'tool_uses'.*tool_use"):
        opened(tmp_path, SEVERAL, "tool_uses")
    with pytest.raises(
        RecipeError, match="several chat templates and none is named default; name one of tool_use, rag"
    ):
        opened(tmp_path / "other", {"tool_use": SEVERAL["tool_use"], "rag": CHATML})


@pytest.mark.parametrize("drawn", ["{{ ['a', 'b'] | random }}", "{{ lipsum(1) }}"])
def test_a_template_that_draws_by_chance_is_refused(tmp_path: Path, drawn: str) -> None:
    with pytest.raises(RecipeError, match="draws by chance"):
        opened(tmp_path, drawn + CHATML)


TRIMMING = CHATML.replace("m['content']", "m['content'] | trim")


@pytest.mark.parametrize("template", [CHATML, TRIMMING])
@pytest.mark.parametrize("begun", ["is the", "is the ", "is", "two\nand", "e", "im", "user", "|"])
def test_an_answer_that_was_begun_is_continued(tmp_path: Path, template: str, begun: str) -> None:
    file = opened(tmp_path, template)
    chat: list[Message] = [{"role": "user", "content": "is it on"}, {"role": "assistant", "content": begun}]
    kept = begun if template == CHATML else begun.strip()
    expected = f"<|im_start|>user\nis it on<|im_end|>\n<|im_start|>assistant\n{kept}"
    assert render_prompt(file, chat) == expected
    chat[1]["content"] = " "
    assert render_prompt(file, chat) == "<|im_start|>user\nis it on<|im_end|>\n<|im_start|>assistant\n"


def test_what_continues_is_what_training_reads(tmp_path: Path) -> None:
    file = opened(tmp_path)
    chat: list[Message] = [{"role": "user", "content": "is it on"}, {"role": "assistant", "content": "is the cable in"}]
    ids = conversation_tokens(file, pl.Series([dump_messages(chat)]), "chats").ids
    ids = np.where(ids < 0, ~ids, ids).tolist()
    begun = [chat[0], {"role": "assistant", "content": "is the"}]
    prompt = file.open().encode(render_prompt(file, begun), add_special_tokens=False).ids
    assert ids[: len(prompt)] == prompt
