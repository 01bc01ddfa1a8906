"""`danlu generate`: generate text from prompts or conversations with a language model."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from danlu.artifacts.bundle import open_bundle
from danlu.core.seeds import Seed
from danlu.data.sources.conversations import MESSAGES, PROMPT, Message, read_conversation
from danlu.data.sources.reader import read_source
from danlu.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from danlu.models.generation import Generation, Prompt


def generate(
    bundle: str | Path,
    prompt: str | Sequence[str] | None = None,
    *,
    chat: str | Sequence[Message] | None = None,
    source: str | Path | None = None,
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
) -> "list[Generation]":
    """Generate texts with a language model. The same arguments give the same texts.

    Args:
        bundle: a bundle or a run.
        prompt: one or more texts to continue.
        chat: a user message, or the messages of a conversation; the model generates the assistant's answer.
        source: a JSONL file (or another table) with a column `messages` or `prompt`; one answer per row.
        max_new_tokens: maximum number of generated tokens.
        temperature: divides the logits; 0 is greedy decoding.
        top_k, top_p, min_p: restrict sampling to the `top_k` most likely tokens, to the nucleus of probability
            `top_p`, to tokens with at least `min_p` times the probability of the most likely one.
        repetition_penalty: above 1, tokens that occurred already become less likely.
        stop: strings that end a text.
        num_return: number of texts per prompt, returned one after the other.
        seed: of sampling; each text has its own stream, so it does not depend on the other prompts.
        stream: called with each piece of the text as it is generated; only for a single text.

    Returns:
        one item per text, in order.

    Raises:
        ArgumentError: there is no prompt, it is too long, or an option is out of range.
        ArtifactError: the bundle is damaged, or its model is not a language model.
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
    _check_options(sampling, num_return)
    prompts = _read_prompts(prompt, chat, source)
    opened = open_bundle(bundle)
    from danlu.models.generation import Sampling
    from danlu.models.generation import generate as generate_texts
    from danlu.models.predictor import Predictor

    predictor = Predictor.verified(opened)
    return generate_texts(predictor, prompts, Sampling(**sampling), Seed(seed), tuple(stop), num_return, stream)


def _check_options(options: dict[str, Any], num_return: int) -> None:
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "max_new_tokens": (lambda value: value >= 1, "at least 1"),
        "temperature": (lambda value: value >= 0.0, "0 (greedy) or more"),
        "top_k": (lambda value: value >= 1, "at least 1"),
        "top_p": (lambda value: 0.0 < value <= 1.0, "above 0 and at most 1"),
        "min_p": (lambda value: 0.0 <= value <= 1.0, "within 0 and 1"),
        "repetition_penalty": (lambda value: value > 0.0, "above 0 (1 turns it off)"),
        "num_return": (lambda value: value >= 1, "at least 1"),
    }
    for name, value in {**options, "num_return": num_return}.items():
        allowed, rule = rules[name]
        if value is not None and not allowed(value):
            raise ArgumentError(f"{name}: must be {rule}, got {value}")


def _read_prompts(
    prompt: str | Sequence[str] | None, chat: str | Sequence[Message] | None, source: str | Path | None
) -> "list[Prompt]":
    given = [value for value in (prompt, chat, source) if value is not None]
    if len(given) != 1:
        raise ArgumentError("give exactly one of the three: a prompt, a chat, or a file of prompts")
    if prompt is not None:
        return [prompt] if isinstance(prompt, str) else list(prompt)
    if source is not None:
        return _prompts_from_table(str(source))
    assert chat is not None
    if isinstance(chat, str) and Path(chat).suffix in (".json", ".jsonl") and Path(chat).is_file():
        return [_conversation_from_file(Path(chat))]
    if isinstance(chat, str):
        return [[{"role": "user", "content": chat}]]
    return [read_conversation(list(chat), "chat")]


def _conversation_from_file(path: Path) -> list[Message]:
    """Read a conversation file.

    It holds a JSON list of messages, an object with such a list as `messages`, or (.jsonl) one message per line.
    """
    text = path.read_text(encoding="utf-8")
    try:
        lines = [json.loads(line) for line in text.splitlines() if line.strip()] if path.suffix == ".jsonl" else None
        value = json.loads(text) if lines is None else lines[0] if len(lines) == 1 else lines
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error})") from None
    return read_conversation(value.get(MESSAGES) if isinstance(value, dict) else value, str(path))


def _prompts_from_table(source: str) -> "list[Prompt]":
    """Read one conversation or prompt per row of a table."""
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
