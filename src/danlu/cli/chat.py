"""danlu chat BUNDLE"""

import json
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from danlu.cli.options import Greedy, Json, MinP, RepetitionPenalty, Temperature, TopK, TopP
from danlu.core.console import info
from danlu.errors import ArgumentError

PROMPT = "> "
COMMANDS = {"/clear": "forgets what was said", "/exit": "ends"}


def chat(
    bundle: Annotated[Path, Parameter(help="A bundle's or a run's folder.")],
    *,
    system: Annotated[str | None, Parameter(help="The system's message, which begins the conversation.")] = None,
    max_new_tokens: Annotated[int, Parameter(help="Maximum number of tokens of an answer.")] = 512,
    temperature: Temperature = 1.0,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = 1.0,
    greedy: Greedy = False,
    seed: Annotated[int, Parameter(help="Random seed; the same words and seed give the same answers.")] = 0,
    stop: Annotated[
        tuple[str, ...], Parameter(help="A string that ends an answer. May be repeated.", negative=())
    ] = (),
    as_json: Json = False,
) -> int:
    """Talk with a language model; Ctrl-C ends an answer, /exit the conversation."""
    from danlu.api.chat import chat as chat_verb

    talk = chat_verb(
        bundle,
        system=system,
        max_new_tokens=max_new_tokens,
        temperature=0.0 if greedy else temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        stop=stop,
        seed=seed,
    )
    if sys.stdin.isatty():
        info(f"{', '.join(f'{name} {what}' for name, what in COMMANDS.items())}, Ctrl-C ends an answer")
    while (line := _next_line()) is not None:
        if line == "/clear":
            talk.clear()
            continue
        try:
            answer = talk.answer(line, None if as_json else _show)
        except ArgumentError as error:  # the conversation no longer fits; it can be cleared
            info(f"{error} (/clear forgets what was said)")
            continue
        if as_json:
            event = {"event": "answer", "text": answer.text, "tokens": answer.tokens, "ended": answer.ended}
            _show(json.dumps({"format": 1, **event}, ensure_ascii=False))
        _show("\n")
    return 0


def _next_line() -> str | None:
    """Return the next line that says something; None at the end.

    Ctrl-C twice in a row is the end too.
    """
    interrupted = False
    while True:
        try:
            line = _read_line()
        except KeyboardInterrupt:
            if interrupted:
                return None
            interrupted = True
            info("/exit ends the conversation, Ctrl-C again too")
            continue
        if line is None or line.strip() == "/exit":
            return None
        if line.strip():
            return line.strip()


def _read_line() -> str | None:
    """Read a line, in a terminal with a prompt; None where the input ends."""
    if not sys.stdin.isatty():
        return sys.stdin.readline() or None
    if find_spec("readline") is not None:  # Windows has none, and edits lines itself
        import_module("readline")  # makes input() edit lines
    try:
        return input(PROMPT)
    except EOFError:
        return None


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
