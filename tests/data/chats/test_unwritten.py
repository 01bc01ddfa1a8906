"""What a template leaves out of conversations is found by what it writes, whatever the template says."""

import polars as pl
import pytest

from danlu.data.chats.preprocessor import ChatPreprocessor
from danlu.data.chats.unwritten import unwritten_parts
from danlu.data.descriptors import TokenizerFile
from danlu.data.sources.chat_rows import ChatRow
from danlu.data.text.chat_template import CHATML
from danlu.data.text.preprocessor import train_tokenizer

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
CALL = {**ANSWER, "tool_calls": [{"function": {"name": "a"}}]}
RESULT = {"role": "tool", "content": "warm"}
ROW = ChatRow(
    [{"role": "system", "content": "Be kind."}, USER, CALL, RESULT, ANSWER],
    {"tools": [{"name": "a"}], "chat_template_kwargs": {"thinking": True}},
)
WRITES_ALL = "{{ tools }}{{ thinking }}{% for m in messages %}{{ m['role'] }}{{ m['content'] }}{{ m['tool_calls'] }}{% endfor %}"  # fmt: skip  # noqa: E501
WHOLE_MESSAGES = "{{ tools }}{{ thinking }}{{ messages | tojson }}"
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] in ('user', 'assistant') %}{{ m['content'] }}{% endif %}{% endfor %}"
)
OPTIONAL = CHATML + "{% if thinking is defined and not thinking %}no{% endif %}"


def with_template(template: str) -> TokenizerFile:
    made = train_tokenizer(["Hi Hello"] * 9, 300, add_special_tokens=False, add_turn_tokens=True)
    return made.model_copy(update={"chat_template": template})


@pytest.mark.parametrize(
    ("template", "lost"),
    [
        (CHATML, {"thinking", "tools", "tool_calls"}),
        (WRITES_ALL, set()),
        (WHOLE_MESSAGES, set()),
        (NO_SYSTEM, {"thinking", "tools", "tool_calls", "messages of the system", "messages of the tool"}),
        (OPTIONAL, {"tools", "tool_calls"}),  # it asks for `thinking`, whose value changes nothing here
    ],
)
def test_parts_that_a_template_does_not_write(template: str, lost: set[str]) -> None:
    found = unwritten_parts(with_template(template), [ChatRow([USER, ANSWER]), ROW])
    assert set(found) == lost
    assert len(found) == len(lost)


def test_a_shown_row_is_the_text_with_its_learned_parts_and_says_what_is_cut() -> None:
    tokenizer = with_template(CHATML)
    ready = ChatPreprocessor(column="messages", longest=200, tokenizer=tokenizer)
    frame = pl.DataFrame({"messages": [ChatRow([USER, CALL, USER, ANSWER], silent=(1,)).dump()]})
    (shown,) = ready.shown_row(frame, "here")
    turn = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert [(part["text"], part["learned"]) for part in shown["parts"]] == [
        (turn + "Hello<|im_end|>\n" + turn, False),
        ("Hello<|im_end|>", True),
        ("\n", False),
    ]
    assert shown["tokens"] == len(ready.tokens(frame).ids)
    assert shown["cut"] == 0
    (short,) = ready.model_copy(update={"longest": shown["tokens"] - 3}).shown_row(frame, "here")
    assert (short["tokens"], short["cut"]) == (shown["tokens"] - 2, 2)
