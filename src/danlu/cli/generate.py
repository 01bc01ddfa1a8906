"""danlu generate BUNDLE"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from danlu.artifacts.files import write_text
from danlu.artifacts.outputs import refuse_existing_file, refuse_input
from danlu.cli.options import Greedy, Json, MinP, Overwrite, RepetitionPenalty, Temperature, TopK, TopP
from danlu.core.console import info

if TYPE_CHECKING:
    from danlu.models.generation import Generation


def generate(
    bundle: Annotated[Path, Parameter(help="A bundle's or a run's folder.")],
    *,
    prompt: Annotated[tuple[str, ...], Parameter(help="A text to continue. May be repeated.", negative=())] = (),
    chat: Annotated[
        str | None, Parameter(help="A user message, or a .json or .jsonl file with a conversation to answer.")
    ] = None,
    data: Annotated[
        str | None, Parameter(help="A table (JSONL, …) with a column `messages` or `prompt`; one answer per row.")
    ] = None,
    max_new_tokens: Annotated[int, Parameter(help="Maximum number of generated tokens.")] = 128,
    temperature: Temperature = 1.0,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = 1.0,
    greedy: Greedy = False,
    seed: Annotated[int, Parameter(help="Random seed; the same seed gives the same texts.")] = 0,
    stop: Annotated[tuple[str, ...], Parameter(help="A string that ends a text. May be repeated.", negative=())] = (),
    num_return: Annotated[int, Parameter(help="Texts per prompt.")] = 1,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], help="A .jsonl file for the texts.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> int:
    """Continue a text or answer a conversation with a language model."""
    from danlu.api.generate import generate as generate_verb

    shown = output is None and not as_json
    if output is not None:
        refuse_input(output, [given for given in (data, chat) if given is not None])
        refuse_existing_file(output, overwrite)
    streamed: list[str] = []

    def stream(piece: str) -> None:
        streamed.append(piece)
        sys.stdout.write(piece)
        sys.stdout.flush()

    texts = generate_verb(
        bundle,
        prompt or None,
        chat=chat,
        source=data,
        max_new_tokens=max_new_tokens,
        temperature=0.0 if greedy else temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        stop=stop,
        num_return=num_return,
        seed=seed,
        stream=stream if shown else None,
    )
    lines = "".join(json.dumps(_plain(text), ensure_ascii=False) + "\n" for text in texts)
    if output is not None:
        write_text(output, lines)
        info(f"{len(texts):,} texts in {output}")
    elif as_json:
        print(lines, end="")
    elif streamed:
        print()
    else:
        print("\n\n".join(text.text for text in texts))
    return 0


def _plain(text: "Generation") -> dict[str, Any]:
    """Return a text with its prompt as a file of prompts has it."""
    from danlu.data.sources.chat_rows import ChatRow

    prompt = text.prompt.as_dict() if isinstance(text.prompt, ChatRow) else text.prompt
    return {**asdict(text), "prompt": prompt}
