"""Paths in a recipe: the types of fields that name files or folders, and the walk that makes them absolute.

A field is a path by its type alone, in danlu's own sections and components as in those of other packages. The walk
works on values as they were written, before they are checked, since a path is relative to the file it stands in.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from danlu.core.component import OneOf, components


@dataclass(frozen=True)
class IsPath:
    """Mark text that names a path: `Annotated[str, IsPath(...)]`.

    Attributes:
        regex: matches text that holds a path, the group `path`; other text is no path and stays as it is.
    """

    regex: str = "(?P<path>.+)"

    def absolute(self, text: str, folder: Path) -> str:
        """Return the text with its path absolute; a relative one is taken from `folder`."""
        match = re.fullmatch(self.regex, text, re.DOTALL)
        if match is None:
            return text
        written = Path(match["path"])
        with suppress(RuntimeError):  # no such user: then it is a file of that name, which is missed by name
            written = written.expanduser()
        path = (folder / written).absolute()
        return f"{text[: match.start('path')]}{path}{text[match.end('path') :]}"


RecipePath = Annotated[str, IsPath()]
SourcePath = Annotated[str, IsPath("(?!builtin:|memory:)(?P<path>.+)")]
TemplatePath = Annotated[str, IsPath(r"(?P<path>.*[./\\].*)")]  # a bare word names a template
TrackingUri = Annotated[str, IsPath("sqlite:///(?!:memory:)(?P<path>[^?]+)([?].*)?")]
HF_FOLDER = IsPath("hf:(?P<path>[./~].*)")  # `hf:./MiniLM` names a folder, `hf:llama` does not


def resolve_paths(model: type[BaseModel], values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a section's values with every path absolute, found by the types of its fields.

    Args:
        model: the section.
        values: as they were written, right or wrong; what no field knows stays as it is.
        folder: where relative paths begin.
    """
    return _resolve_fields([model], values, folder)


def _resolve_fields(models: Iterable[type[BaseModel]], values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    resolved = dict(values)
    for model in models:
        for name, field in model.model_fields.items():
            key = field.alias or name
            if key in resolved:
                resolved[key] = _resolve(field.annotation, field.metadata, resolved[key], folder)
    return resolved


def _resolve(annotation: Any, marks: Iterable[Any], value: Any, folder: Path) -> Any:
    """Make the paths in one field's value absolute."""
    for mark in marks:
        if isinstance(mark, IsPath):
            return mark.absolute(value, folder) if isinstance(value, str) else value
        if isinstance(mark, OneOf):
            return _resolve_component(mark, value, folder)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _resolve(arguments[0], arguments[1:], value, folder)
    if origin in (Union, UnionType):
        for argument in arguments:  # at most one of them is of the value's type
            value = _resolve(argument, (), value, folder)
    elif origin is tuple and isinstance(value, list | tuple):
        return [_resolve(arguments[0], (), item, folder) for item in value]
    elif origin is dict and isinstance(value, Mapping):
        return {key: _resolve(arguments[1], (), item, folder) for key, item in value.items()}
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and isinstance(value, Mapping):
        return _resolve_fields([annotation], value, folder)
    return value


def _resolve_component(choice: OneOf, value: Any, folder: Path) -> Any:
    """Make the paths of a component absolute, whichever of the three spellings it uses."""
    table = components(choice.kind)
    if isinstance(value, str):
        return _resolve_component(choice, {"name": value}, folder)["name"]
    if not isinstance(value, Mapping):
        return value
    name = value.get("name", choice.default)
    if len(value) == 1 and "name" not in value:
        (first, options), *_ = value.items()
        component = table.get(_family(first))
        if component is not None:
            only = next((field for field in component.model_fields if field != "name"), "")
            if not only and not isinstance(options, Mapping):  # it has no option that this could be
                return value
            written = options if isinstance(options, Mapping) else {only: options}
            resolved = _resolve_fields([component], {**written, "name": first}, folder)
            named = resolved.pop("name")
            return {named: resolved if isinstance(options, Mapping) else resolved[only]}
    # A file may give options to a component that another file names: then any component may have them.
    component = table.get(_family(name))
    return _resolve_fields(table.values() if component is None else [component], value, folder)


def _family(name: Any) -> str:
    return str(name).split(":", 1)[0]
