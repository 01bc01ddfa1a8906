"""Refuse arguments of the wrong type or out of range, by what a public function's annotations say.

The one place where a Python program's arguments are taken: bodies of functions may rely on them.
"""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, wraps
from operator import getitem
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from pydantic import ConfigDict, InstanceOf, TypeAdapter, ValidationError

from danlu.core.text import suggestion
from danlu.errors import ArgumentError

P = ParamSpec("P")
R = TypeVar("R")
LONGEST = 60  # characters of a value in a message
LONGEST_NAME = 255  # bytes of a file's name on the systems in use
WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    Path: "a path",
    NoneType: "None",
}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of each call against the function's annotations.

    A default is taken as it is. A parameter that is annotated by a name in quotes, or takes any object, is not checked.

    Returns:
        the function, which raises ArgumentError for the first argument that does not fit.
    """
    signature = inspect.signature(function)
    checks = {
        name: _Check(name, parameter.annotation)
        for name, parameter in signature.parameters.items()
        if _says_something(parameter.annotation)
    }

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in checks and value is not signature.parameters[name].default:
                checks[name].refuse_unfit(value)
        return function(*args, **kwargs)

    return call


class _Check:
    """Check one argument. What it takes to do so is made at the first call."""

    def __init__(self, name: str, annotation: Any) -> None:
        self.name, self.annotation = name, annotation

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(_models_as_instances(self.annotation), config=CONFIG)

    @cached_property
    def _is_path(self) -> bool:
        kinds = (get_origin(each) or each for each in _options(self.annotation))
        return any(isinstance(kind, type) and issubclass(kind, os.PathLike) for kind in kinds)

    def refuse_unfit(self, value: Any) -> None:
        try:
            self._adapter.validate_python(_plain(value), strict=True)
            fits = not (self._is_path and is_no_path(value))
        except ValidationError:
            fits = False
        if not fits:
            choices = _choices(self.annotation)
            near = suggestion(value, choices) if isinstance(value, str) and choices else ""
            raise ArgumentError(
                f"{self.name}: cannot take {_shown(value)}; give {described(self.annotation)}{near}", code="DL402"
            )


CONFIG = ConfigDict(arbitrary_types_allowed=True)


def described(annotation: Any) -> str:
    """Describe in words what an annotation allows."""
    parts = dict.fromkeys(_described(each) for each in _options(annotation))
    if {"text", "a path"} <= parts.keys():
        parts.pop("text")
    *others, last = parts
    return f"{', '.join(others)} or {last}" if others else last


def _described(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = [_limit(mark) for mark in arguments[1:]]
        return " ".join([_described(arguments[0]), *filter(None, limits)])
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if isinstance(origin or annotation, type):
        kind = origin or annotation
        if issubclass(kind, os.PathLike):
            return "a path"
        if annotation in WORDS:
            return WORDS[annotation]
        if issubclass(kind, Mapping | dict):
            return "a mapping"
        if kind is Sequence:
            return f"a list of {_several(arguments)}"
        if kind is Callable:
            return "a function"
        return f"a {kind.__name__}"
    return str(annotation)


def _several(arguments: tuple[Any, ...]) -> str:
    return {"text": "texts", "a path": "paths", "a mapping": "mappings"}.get(described(arguments[0]), "values")


def _limit(mark: Any) -> str:
    for name, words in (("ge", "of at least"), ("gt", "above"), ("le", "of at most")):
        if (bound := getattr(mark, name, None)) is not None:
            return f"{words} {bound}"
    return ""


def _options(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _choices(annotation: Any) -> list[str]:
    return [str(word) for each in _options(annotation) if get_origin(each) is Literal for word in get_args(each)]


def _models_as_instances(annotation: Any) -> Any:
    """Return an annotation that takes models of pydantic as they are."""
    made = (getitem(InstanceOf, each) if hasattr(each, "model_config") else each for each in _options(annotation))
    return getitem(Union, tuple(made))


def _says_something(annotation: Any) -> bool:
    options = _options(annotation)
    return not isinstance(annotation, str) and not {Any, object, inspect.Parameter.empty} & set(options)


def _plain(value: Any) -> Any:
    """Return a number of numpy as Python's own, and a range as a list."""
    if isinstance(value, range):
        return list(value)
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () else value


def is_no_path(value: Any) -> bool:
    """Return whether a text is no path: empty, too long, with a zero byte."""
    if not isinstance(value, str | os.PathLike):
        return False
    text = os.fspath(value)
    return not text or "\0" in text or any(len(os.fsencode(part)) > LONGEST_NAME for part in Path(text).parts)


def _shown(value: Any) -> str:
    """Return a value of a short type as it is written, of others the type."""
    written = repr(value) if isinstance(value, str | int | float | bytes | Path | list | tuple | NoneType) else ""
    return written if 0 < len(written) <= LONGEST else f"a value of type {type(value).__name__}"
