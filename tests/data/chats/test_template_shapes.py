"""What is learned, for the shapes of twelve templates: exactly the assistant's turns with their ends, read alike.

Training, generation and what transformers reads from an exported folder are the same ids.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.data.chats.encode import conversation_tokens
from danlu.data.descriptors import TokenizerFile
from danlu.data.sources.conversations import Message, dump_messages
from danlu.data.text.chat_template import choose_template
from danlu.data.text.preprocessor import load_tokenizer
from danlu.data.text.tokenize import plain_ids
from danlu.exporters.tokenizer_files import write_tokenizer
from danlu.models.generation import encode_prompt
from tests.support.tiny_models import tokenizer


@dataclass(frozen=True)
class Shape:
    """What stands before and after each role's words; `asks` is what an answer is asked for with."""

    user: tuple[str, str]
    assistant: tuple[str, str]
    system: tuple[str, str]
    tool: tuple[str, str]
    asks: str
    tokens: tuple[str, ...] = ()
    begins: str = ""

    def jinja(self) -> str:
        parts = "".join(
            f"{{% {'elif' if place else 'if'} m['role'] == '{role}' %}}{{{{ {before!r} + m['content'] + {after!r} }}}}"
            for place, (role, (before, after)) in enumerate(self.roles().items())
        )
        begins = f"{{{{ {self.begins!r} }}}}" if self.begins else ""
        asks = f"{{% if add_generation_prompt %}}{{{{ {self.asks!r} }}}}{{% endif %}}" if self.asks else ""
        return f"{begins}{{% for m in messages %}}{parts}{{% endif %}}{{% endfor %}}{asks}"

    def roles(self) -> dict[str, tuple[str, str]]:
        return {"user": self.user, "assistant": self.assistant, "system": self.system, "tool": self.tool}


def turns(start: str, after: str, end: str, names: dict[str, str], **more: Any) -> Shape:
    """A shape in which every turn is written alike."""
    made: dict[str, Any] = {role: (f"{start}{name}{after}", end) for role, name in names.items()}
    return Shape(**made, asks=made["assistant"][0], **more)


SAME = {role: role for role in ("user", "assistant", "system", "tool")}
IM = ("<|im_start|>", "<|im_end|>")
HEADERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
ROLES = ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>")
TURN = ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>")
COMMAND = {"user": "<|USER_TOKEN|>", "assistant": "<|CHATBOT_TOKEN|>", "system": "<|SYSTEM_TOKEN|>"}
DEEP = ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "<｜out｜>", "<｜/out｜>")
MISTRAL = ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]")
PHI = ("<|user|>", "<|assistant|>", "<|system|>", "<|tool|>", "<|end|>")
CHATML = turns("<|im_start|>", "\n", "<|im_end|>\n", SAME, tokens=IM)
SHAPES = {
    "chatml": CHATML,
    "llama3": turns(
        *("<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"),
        {**SAME, "tool": "ipython"},
        tokens=HEADERS,
        begins="<|begin_of_text|>",
    ),
    "mistral": Shape(
        *(("[INST] ", "[/INST]"), (" ", "</s>"), MISTRAL[2:4], MISTRAL[4:6], ""), tokens=MISTRAL, begins="<s>"
    ),
    "gemma": turns(
        *("<start_of_turn>", "\n", "<end_of_turn>\n"),
        {**SAME, "assistant": "model", "system": "user", "tool": "user"},
        tokens=("<bos>", "<start_of_turn>", "<end_of_turn>"),
        begins="<bos>",
    ),
    "qwen3": Shape(
        *(CHATML.user, CHATML.assistant, CHATML.system),
        ("<|im_start|>user\n<tool_response>\n", "\n</tool_response><|im_end|>\n"),
        CHATML.asks,
        tokens=IM,
    ),
    "phi": turns("<|", "|>\n", "<|end|>\n", SAME, tokens=PHI),
    "vicuna": Shape(("USER: ", " "), ("ASSISTANT: ", "</s>"), ("", " "), ("TOOL: ", " "), "ASSISTANT:"),
    "vicuna with a blank": Shape(("USER: ", " "), ("ASSISTANT: ", "</s>"), ("", " "), ("TOOL: ", " "), "ASSISTANT: "),
    "alpaca": Shape(
        ("### Instruction:\n", "\n\n"),
        ("### Response:\n", "</s>\n\n"),
        ("", "\n\n"),
        ("### Input:\n", "\n\n"),
        "### Response:\n",
    ),
    "deepseek": Shape(
        *((DEEP[1], ""), (DEEP[2], DEEP[3]), ("", ""), DEEP[4:6], DEEP[2]),
        tokens=DEEP,
        begins="<｜begin▁of▁sentence｜>",
    ),
    "granite": turns("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>\n", SAME, tokens=ROLES),
    "command": turns(TURN[0], "", TURN[1], {**COMMAND, "tool": "<|SYSTEM_TOKEN|>"}, tokens=(*TURN, *COMMAND.values())),
    "plain": Shape(
        *(("### user\n", "\n"), ("### assistant\n", "</s>\n"), ("### system\n", "\n"), ("### tool\n", "\n")),
        "### assistant\n",
    ),
}
WORDS = st.text("ab is\nthe.é屏|", min_size=1, max_size=12).filter(lambda text: bool(text.strip()))


@lru_cache
def opened(name: str) -> tuple[TokenizerFile, Any]:
    """Return a shape's tokenizer, and what transformers reads of the exported one."""
    from transformers import AutoTokenizer

    shape = SHAPES[name]
    with TemporaryDirectory() as folder:
        tokenizer(shape.jinja(), shape.tokens).save_pretrained(folder)
        loaded = load_tokenizer(Path(folder)).model_copy(update={"parses_special": False})
        file = choose_template(loaded, "plain" if name == "plain" else None)
        preprocessor: Any = SimpleNamespace(tokenizer=file, inputs=None, longest=None)
        write_tokenizer(preprocessor, Path(folder) / "exported", None)
        return file, AutoTokenizer.from_pretrained(Path(folder) / "exported")


@st.composite
def conversations(draw: st.DrawFn, said: st.SearchStrategy[str] = WORDS) -> list[Message]:
    roles = ["system"] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        roles += ["user", "assistant", *(["tool", "assistant"] if draw(st.booleans()) else [])]
    return [{"role": role, "content": draw(said)} for role in roles]


def answers(file: TokenizerFile, chat: list[Message]) -> tuple[list[int], list[list[int]]]:
    """Return a conversation's ids, and where each run of learned ones begins and ends."""
    marked = conversation_tokens(file, pl.Series([dump_messages(chat)]), "chats").ids
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (marked >= 0).astype(int), [0]])))
    return plain_ids(marked).tolist(), edges.reshape(-1, 2).tolist()


def check_learned(name: str, chat: list[Message], ids: list[int], runs: list[list[int]]) -> None:
    file, shape, given = opened(name)[0], SHAPES[name], [m["content"] for m in chat if m["role"] == "assistant"]
    reader = file.open()
    blank = shape.assistant[0].removeprefix(shape.asks) or file.blank
    expected = [f"{blank}{said}{shape.assistant[1].rstrip()}" for said in given]
    assert [reader.decode(ids[begin:end], skip_special_tokens=False) for begin, end in runs] == expected
    places = [place for place, message in enumerate(chat) if message["role"] == "assistant"]
    for place, (begin, _) in zip(places, runs, strict=True):
        assert encode_prompt(file, chat[:place], 1) == ids[:begin]


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=25, deadline=None)
@given(chat=conversations())
def test_exactly_the_answers_with_their_ends_are_learned(name: str, chat: list[Message]) -> None:
    file, exported = opened(name)
    ids, runs = answers(file, chat)
    check_learned(name, chat, ids, runs)
    shape = SHAPES[name]
    whole = "".join(f"{before}{m['content']}{after}" for m in chat for before, after in [shape.roles()[m["role"]]])
    assert file.open().decode(ids, skip_special_tokens=False) == shape.begins + whole
    assert exported.apply_chat_template(chat, return_dict=False) == ids
    (last, _) = runs[-1]
    asked = exported.apply_chat_template(chat[:-1], add_generation_prompt=True, return_dict=False)
    assert asked == ids[:last]


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_so_they_are_where_messages_hold_the_templates_own_tokens(name: str, data: st.DataObject) -> None:
    special = st.sampled_from(["</s>", "<s>", *SHAPES[name].tokens])
    said = st.builds("{}{}{}".format, WORDS, special, WORDS)
    chat = data.draw(conversations(said))
    file, _ = opened(name)
    ids, runs = answers(file, chat)
    check_learned(name, chat, ids, runs)
