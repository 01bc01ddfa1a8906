"""Calls of tools in what a model writes, for the chat templates whose form of calls is known.

Which form it is is told by the template: Hermes' (Qwen 2.5 and 3, Hermes), Mistral's, Llama 3's. A template that has no
tools, or calls in another form, refuses requests with tools.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from danlu.data.descriptors import TokenizerFile
from danlu.serving.language.responses import Function, ToolCall
from danlu.serving.refusals import Refused

USES_TOOLS = re.compile(r"\{[%{][^}]*\btools\b")
Found = list[tuple[str, Any]]  # names and arguments


class CallForm(ABC):
    """Describe how a family of templates writes calls.

    Attributes:
        opening: what calls begin with; text before it is content.
        at_start: whether a call is all that a message says, so that it can only begin there.
    """

    opening: str
    at_start = False

    @classmethod
    @abstractmethod
    def is_of(cls, template: str) -> bool:
        """Return whether a template writes calls so."""

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Found | None:
        """Return the calls of a text that begins with `opening`; None for others."""


class HermesCalls(CallForm):
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, one or several."""

    opening = "<tool_call>"
    _ONE = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)

    @classmethod
    def is_of(cls, template: str) -> bool:
        return cls.opening in template and "arguments" in template and "<function=" not in template

    @classmethod
    def parse(cls, text: str) -> Found | None:
        return _named([_json(one) for one in cls._ONE.findall(text)], "arguments")


class MistralCalls(CallForm):
    """`[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]`."""

    opening = "[TOOL_CALLS]"

    @classmethod
    def is_of(cls, template: str) -> bool:
        return cls.opening in template and "[ARGS]" not in template

    @classmethod
    def parse(cls, text: str) -> Found | None:
        held = _json(text.removeprefix(cls.opening).strip())
        return _named(held, "arguments") if isinstance(held, list) else None


class LlamaCalls(CallForm):
    """`{"name": ..., "parameters": {...}}` as the whole message, after `<|python_tag|>` or not."""

    opening = "{"
    at_start = True
    TAG = "<|python_tag|>"

    @classmethod
    def is_of(cls, template: str) -> bool:
        return '"parameters"' in template and '"name"' in template and "<tool_call>" not in template

    @classmethod
    def parse(cls, text: str) -> Found | None:
        return _named([_json(one) for one in text.removeprefix(cls.TAG).split(";")], "parameters")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _named(held: Sequence[Any], arguments: str) -> Found | None:
    """Return names and arguments of objects; None where one is no call."""
    if not held or not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in held):
        return None
    return [(one["name"], one.get(arguments, {})) for one in held]


FORMS: tuple[type[CallForm], ...] = (HermesCalls, MistralCalls, LlamaCalls)


def form_of(tokenizer: TokenizerFile, model: str) -> type[CallForm]:
    """Return how a model writes calls.

    Raises:
        Refused: its template has no tools, or writes calls in a form that is not known.
    """
    template = tokenizer.chat_template or ""
    if not USES_TOOLS.search(template):
        raise Refused(
            f"the chat template of {model} has no tools; leave tools out", field="tools", code="unsupported_parameter"
        )
    for form in FORMS:
        if form.is_of(template):
            return form
    raise Refused(
        f"the chat template of {model} writes calls of tools in a form that is not known here; known are Hermes', "
        "Mistral's and Llama 3's",
        field="tools",
        code="unsupported_parameter",
    )


def require_choice(choice: str | Mapping[str, Any] | None) -> bool:
    """Return whether tools are shown to the model.

    Raises:
        Refused: a call is demanded, which nothing here can enforce.
    """
    if choice in (None, "auto"):
        return True
    if choice == "none":
        return False
    raise Refused(
        "tool_choice: auto and none are followed; that a tool is called cannot be enforced here",
        field="tool_choice",
        code="unsupported_parameter",
    )


class CallReader:
    """Take a message's pieces: content is shown, a call is kept until it is whole."""

    def __init__(self, form: type[CallForm], name: str) -> None:
        self._form, self._name = form, name
        self._held = ""
        self._begun = self._said = False  # a call has begun; content was shown

    def take(self, piece: str) -> str:
        """Return the content that can be shown now."""
        self._held += piece
        if self._begun or (self._form.at_start and self._said):
            return "" if self._begun else self._show(len(self._held))
        text, opening = self._held, self._form.opening
        if self._form.at_start:
            bare = text.lstrip()
            tag = LlamaCalls.TAG
            self._begun = bare.startswith((opening, tag))
            return "" if self._begun or not bare or tag.startswith(bare) else self._show(len(text))
        place = text.find(opening)
        if place >= 0:
            self._begun = True
            return self._show(place)
        held = max((size for size in range(1, len(opening)) if text.endswith(opening[:size])), default=0)
        return self._show(len(text) - held)

    def finish(self) -> tuple[str, list[ToolCall]]:
        """Return the rest of the content, and the calls; what is no call is content."""
        calls = self._form.parse(self._held.strip()) if self._begun else None
        if calls is None:
            return self._show(len(self._held)), []
        told = [
            Function(name, arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False))
            for name, arguments in calls
        ]
        return "", [ToolCall(f"call_{self._name}_{number}", one) for number, one in enumerate(told)]

    def _show(self, size: int) -> str:
        shown, self._held = self._held[:size], self._held[size:]
        self._said = self._said or bool(shown.strip())
        return shown
