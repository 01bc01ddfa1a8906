"""What OpenAI's API lets a client ask: what is followed, what is refused by name, and how calls are read back."""

import json
from typing import Any

import msgspec
import pytest

from danlu.data.descriptors import TokenizerFile
from danlu.serving.language.requests import (
    ChatRequest,
    CompletionRequest,
    decode,
    prompts_of,
    wish_of_chat,
    wish_of_completion,
)
from danlu.serving.language.responses import error_body
from danlu.serving.language.tools import (
    CallForm,
    CallReader,
    HermesCalls,
    LlamaCalls,
    MistralCalls,
    form_of,
    require_choice,
)
from danlu.serving.refusals import Refusal, Refused
from tests.serving.language.conftest import TEMPLATE

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def refused(body: dict[str, Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        wish_of_chat(decode(json.dumps(body).encode(), ChatRequest))
    return caught.value


@pytest.mark.parametrize(
    ("more", "field", "said"),
    [
        ({"foo": 1}, "foo", "no parameter"),
        ({"stream_options": {"foo": 1}, "stream": True}, "stream_options.foo", "no parameter"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "not supported"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format", "not supported"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls", "not supported"),
        ({"n": 0}, "n", "within 1 and 16"),
        ({"temperature": -1}, "temperature", "0 (greedy) or more"),
        ({"top_p": 1.5}, "top_p", "at most 1"),
        ({"top_logprobs": 3}, "top_logprobs", "needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "within 0 and 20"),
        ({"stop": [""]}, "stop", "none of them empty"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens", "differ"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "needs stream"),
        ({"messages": "Hi"}, "messages", "Expected"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_its_name(more: dict[str, Any], field: str, said: str) -> None:
    error = refused({**CHAT, **more})
    assert error.field == field and said in error.message
    told = json.loads(error_body(Refusal.of(error)))["error"]
    assert (told["type"], told["param"]) == ("invalid_request_error", field)


def test_values_that_change_nothing_are_taken() -> None:
    neutral = {"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "response_format": {"type": "text"}}
    wish = wish_of_chat(decode(json.dumps({**CHAT, **neutral, "user": "u", "stop": "x"}).encode(), ChatRequest))
    assert wish.stop == ("x",) and wish.max_tokens is None and wish.top_logprobs is None


def test_prompts_are_texts_or_ids() -> None:
    for given, found in (("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2]], [[1], [2]])):
        request = decode(json.dumps({"model": "m", "prompt": given}).encode(), CompletionRequest)
        assert prompts_of(request) == found
        assert wish_of_completion(request).max_tokens == 16
    for wrong in ([], [[]], [1, "a"], [None]):
        with pytest.raises(Refused, match="prompt: give"):
            prompts_of(decode(json.dumps({"model": "m", "prompt": wrong}).encode(), CompletionRequest))


def test_statuses_are_those_of_openai() -> None:
    for status, kind, code in (
        (401, "authentication_error", "invalid_api_key"),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (503, "server_error", "overloaded"),
    ):
        told = json.loads(error_body(Refusal(status, "no")))["error"]
        assert (told["message"], told["type"], told["code"]) == ("no", kind, code)


def tokenizer(template: str | None) -> TokenizerFile:
    return TokenizerFile(json_text="{}", pad=0, end=0, vocabulary=1, chat_template=template)


def test_the_template_tells_how_calls_are_written() -> None:
    llama = '{%- if tools %}{{ \'{"name": function name, "parameters": dictionary}\' }}{% endif %}'
    mistral = "{%- if tools %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]"
    for template, form in ((TEMPLATE, HermesCalls), (mistral, MistralCalls), (llama, LlamaCalls)):
        assert form_of(tokenizer(template), "m") is form
    with pytest.raises(Refused, match="has no tools"):
        form_of(tokenizer("{{ messages }}"), "m")
    with pytest.raises(Refused, match="a form that is not known"):
        form_of(tokenizer("{% if tools %}<tool_call><function=x>{% endif %}"), "m")
    assert require_choice("auto") and not require_choice("none")
    for demanded in ("required", {"type": "function", "function": {"name": "f"}}):
        with pytest.raises(Refused, match="cannot be enforced"):
            require_choice(demanded)


CALLED = '{"name": "f", "arguments": {"a": [1, "<x>"]}}'


@pytest.mark.parametrize(
    ("form", "text", "content", "names"),
    [
        (
            HermesCalls,
            f"Well, <b>.<tool_call>\n{CALLED}\n</tool_call>\n<tool_call>{CALLED}</tool_call>",
            "Well, <b>.",
            2,
        ),
        (HermesCalls, f"<tool_call>{CALLED}", "", 1),
        (HermesCalls, "<tool_call>no call</tool_call>", "<tool_call>no call</tool_call>", 0),
        (HermesCalls, "a <tool", "a <tool", 0),
        (MistralCalls, f"[TOOL_CALLS][{CALLED}, {CALLED}]", "", 2),
        (LlamaCalls, '<|python_tag|>{"name": "f", "parameters": {"a": [1, "<x>"]}}', "", 1),
        (LlamaCalls, '{"name": "f", "parameters": {"a": [1, "<x>"]}}', "", 1),
        (LlamaCalls, 'It is {"a": 1}', 'It is {"a": 1}', 0),
        (LlamaCalls, '{"a": 1}', '{"a": 1}', 0),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_are_told_from_content_however_a_text_is_cut(
    form: type[CallForm], text: str, content: str, names: int, size: int
) -> None:
    reader = CallReader(form, "r")
    shown = "".join(reader.take(text[at : at + size]) for at in range(0, len(text), size))
    rest, calls = reader.finish()
    assert shown + rest == content
    assert [call.function.name for call in calls] == ["f"] * names
    assert all(json.loads(call.function.arguments) == {"a": [1, "<x>"]} for call in calls)
    assert len({call.id for call in calls}) == names
    assert "index" not in msgspec.to_builtins(calls[0]) if calls else True
