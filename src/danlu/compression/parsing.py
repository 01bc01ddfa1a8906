"""Steps as a command line has them: `prune=0.5,quantize=int8-static`, options in braces: `prune={amount: 0.5, ...}`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from danlu.compression.base import Step
from danlu.core.component import OneOf, components, first_fault
from danlu.core.text import suggestion
from danlu.errors import ArgumentError
from danlu.recipe.components import CompressionOptions
from danlu.recipe.yaml_text import YamlProblem, parse_yaml

OPENING, CLOSING = "{[", "}]"
NAMED = re.compile(r"\s*([\w-]+)\s*(?:=(.*))?", re.DOTALL)


def parse_steps(given: str | Sequence[Any]) -> tuple[Step, ...]:
    """Return steps given as text of a command line, or as a recipe has them.

    Raises:
        ArgumentError: a step or an option is unknown, or a value is wrong.
    """
    written = list(_parts(given)) if isinstance(given, str) else list(given)
    if not written:
        raise ArgumentError("steps: names none; give one, as prune=0.5 or quantize=int8-static", code="DL402")
    return tuple(_step(each) for each in written)


def _parts(text: str) -> Iterator[Any]:
    """Yield each step of a text as a recipe has it."""
    depth, begin = 0, 0
    for at, letter in enumerate(f"{text},"):
        depth += (letter in OPENING) - (letter in CLOSING)
        if letter == "," and depth == 0:
            yield _named(text[begin:at])
            begin = at + 1
    if depth:
        raise ArgumentError(f"steps: a bracket in {text!r} is not closed", code="DL402")


def _named(part: str) -> Any:
    found = NAMED.fullmatch(part)
    if found is None:
        raise ArgumentError(
            f"steps: {part.strip()!r} is no step; write NAME or NAME=VALUE, as prune=0.5,quantize=int8-static",
            code="DL402",
        )
    name, value = found.groups()
    if value is None:
        return name
    try:
        return {name: parse_yaml(f"value: {value}", with_places=False)["value"]}
    except YamlProblem as error:
        raise ArgumentError(f"steps: {part.strip()}: the value is not YAML: {error.reason}", code="DL402") from None


def _step(written: Any) -> Step:
    if isinstance(written, Step):
        return written
    name = _name_of(written)
    known = components("compression")
    if name not in known:
        raise ArgumentError(f"steps: {name!r} is no step{suggestion(name, known)}", code="DL402")
    reader: TypeAdapter[Any] = TypeAdapter(Annotated[CompressionOptions, OneOf("compression")])
    try:
        return Step.of(reader.validate_python(written))
    except ValidationError as error:
        raise ArgumentError(f"steps: {first_fault(error)}", code="DL402") from None


def _name_of(written: Any) -> str:
    if isinstance(written, Mapping):
        return str(written.get("name", next(iter(written), "")))
    return str(written)
