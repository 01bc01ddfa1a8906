"""`danlu generate`: a language model goes on with prompts, or answers conversations."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from danlu.artifacts.bundle import open_bundle
from danlu.core.errors import ArgumentError, DataError
from danlu.core.seeds import Seed
from danlu.data.chats.messages import MESSAGES, PROMPT, Message, read_conversation
from danlu.data.sources import read_source

if TYPE_CHECKING:
    from danlu.models.generation import Prompt, Written


def generate(
    bundle: str | Path,
    prompt: str | Sequence[str] | None = None,
    chat: str | Sequence[Message] | None = None,
    source: str | Path | None = None,
    *,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    stop: Sequence[str] = (),
    num_return: int = 1,
    seed: int = 0,
    stream: Callable[[str], None] | None = None,
) -> "list[Written]":
    """Have a language model write. The same arguments give the same texts.

    Args:
        bundle: a bundle or a run.
        prompt: a text to go on with, or several.
        chat: what the user says, or the messages of a conversation, which the assistant answers.
        source: a JSONL file (or another table) with a column `messages`, or else `prompt`; one answer a row.
        max_new_tokens: at most so many.
        temperature: below 1 safer, above it bolder; 0 always takes the likeliest token.
        top_k, top_p, min_p: what may be drawn: only so many tokens, only so much of the probability, only those with
            this share of the likeliest one's.
        repetition_penalty: above 1, what stands there already becomes less likely.
        stop: words at which a text ends.
        num_return: texts a prompt, behind one another.
        seed: of the draws; each text has its own, so it is the same alone and among others.
        stream: is given the pieces of a text as they come, where there is one text.

    Returns:
        one a text, in order.

    Raises:
        ArgumentError: there is no prompt, it is too long, or an option is out of its range.
        ArtifactError: the bundle is damaged, or its model does not write.
        DataError: the source holds no prompts.
    """
    sampling = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
    }
    _refuse_out_of_range(sampling, num_return)
    prompts = _prompts(prompt, chat, source)
    opened = open_bundle(bundle)
    from danlu.models.generation import write
    from danlu.models.predictor import Predictor
    from danlu.models.sampling import Sampling

    predictor = Predictor.verified(opened)
    return write(predictor, prompts, Sampling(**sampling), Seed(seed), tuple(stop), num_return, stream)


def _refuse_out_of_range(options: dict[str, Any], num_return: int) -> None:
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "max_new_tokens": (lambda value: value >= 1, "at least 1"),
        "temperature": (lambda value: value >= 0.0, "0 (always the likeliest) or more"),
        "top_k": (lambda value: value >= 1, "at least 1"),
        "top_p": (lambda value: 0.0 < value <= 1.0, "above 0 and at most 1"),
        "min_p": (lambda value: 0.0 <= value <= 1.0, "within 0 and 1"),
        "repetition_penalty": (lambda value: value > 0.0, "above 0; 1 changes nothing"),
        "num_return": (lambda value: value >= 1, "at least 1"),
    }
    for name, value in {**options, "num_return": num_return}.items():
        allowed, rule = rules[name]
        if value is not None and not allowed(value):
            raise ArgumentError(f"{name}: must be {rule}, got {value}")


def _prompts(
    prompt: str | Sequence[str] | None, chat: str | Sequence[Message] | None, source: str | Path | None
) -> "list[Prompt]":
    given = [value for value in (prompt, chat, source) if value is not None]
    if len(given) != 1:
        raise ArgumentError("give a prompt, a chat or a file of prompts; one of the three")
    if prompt is not None:
        return [prompt] if isinstance(prompt, str) else list(prompt)
    if source is not None:
        return _prompts_of_file(str(source))
    assert chat is not None
    if isinstance(chat, str) and Path(chat).suffix in (".json", ".jsonl") and Path(chat).is_file():
        return [_conversation_of_file(Path(chat))]
    if isinstance(chat, str):
        return [[{"role": "user", "content": chat}]]
    return [read_conversation(list(chat), "chat")]


def _conversation_of_file(path: Path) -> list[Message]:
    """A conversation: a JSON list of messages, an object that holds one as `messages`, or a line for each message."""
    text = path.read_text(encoding="utf-8")
    try:
        lines = [json.loads(line) for line in text.splitlines() if line.strip()] if path.suffix == ".jsonl" else None
        value = json.loads(text) if lines is None else lines[0] if len(lines) == 1 else lines
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error})") from None
    return read_conversation(value.get(MESSAGES) if isinstance(value, dict) else value, str(path))


def _prompts_of_file(source: str) -> "list[Prompt]":
    """The conversations, or else the prompts, of a table's rows."""
    read = read_source(source)
    frame = read.frame.lazy().collect()
    if MESSAGES in frame.columns:
        values = enumerate(frame[MESSAGES].to_list(), 1)
        return [read_conversation(value, f"{read.origin}: row {row}") for row, value in values]
    if PROMPT not in frame.columns or frame.schema[PROMPT] != pl.String:
        raise DataError(f"{read.origin}: no column messages or prompt (columns: {', '.join(frame.columns)})")
    missing = frame[PROMPT].is_null()
    if missing.any():
        raise DataError(f"{read.origin}: row {int(missing.arg_max() or 0) + 1}: the prompt is missing")
    return list(frame[PROMPT].to_list())
