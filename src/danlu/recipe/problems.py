"""Turn pydantic's errors into problems in the recipe's own words: place, key, the value given, the values allowed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from danlu.core.component import OneOf, components
from danlu.core.text import suggestion
from danlu.errors import Problem, RecipeError
from danlu.recipe.not_covered import refuse_model, refuse_task
from danlu.recipe.schema import CODES, WRONG, Recipe

Key = tuple[str | int, ...]
MAX_KEYS = 6  # of a section that is no section, named as examples


def validate_recipe(values: Mapping[str, Any], places: Mapping[Key, str], origin: str) -> Recipe:
    """Return values as a recipe.

    Args:
        values: by section.
        places: where the keys stand.
        origin: of those that stand nowhere.

    Raises:
        RecipeError: they are none; with one Problem for each error, in the order of the file.
    """
    try:
        return Recipe.model_validate(values)
    except (ValidationError, RecipeError) as error:
        found = error if isinstance(error, ValidationError) else error.__cause__
        if not isinstance(found, ValidationError):
            raise
    raise RecipeError(*_described(found, values, places, origin))


def _described(
    error: ValidationError, values: Mapping[str, Any], places: Mapping[Key, str], origin: str
) -> Iterator[Problem]:
    """Return one Problem for each validation error, in the order of the file."""
    problems = _problems(error, values, places, origin)
    return iter(sorted(problems, key=lambda problem: _line(problem.place)))


def _line(place: str) -> int:
    last = place.rsplit(":", 1)[-1]
    return int(last) if last.isdecimal() else 0


def _problems(
    error: ValidationError, values: Mapping[str, Any], places: Mapping[Key, str], origin: str
) -> Iterator[Problem]:
    found: dict[Key, list[ErrorDetails]] = {}
    for details in error.errors():
        found.setdefault(_written_key(details["loc"], values, details["type"]), []).append(details)
    for key, alternatives in found.items():
        alternatives = _meant(key, alternatives, found)
        if not alternatives:
            continue
        details = _nearest(alternatives)
        place, shorter = None, key
        while place is None and shorter:
            place, shorter = places.get(shorter), shorter[:-1]
        refused = _refused(details, key)
        sentence, code = _sentence(details, key), CODES.get(details["type"], WRONG)
        yield Problem(place or origin, ".".join(map(str, key)), refused or sentence, "DL112" if refused else code)


def _meant(key: Key, alternatives: list[ErrorDetails], found: Mapping[Key, object]) -> list[ErrorDetails]:
    """Drop errors about plain types where an invalid mapping was given."""
    if not isinstance(alternatives[0]["input"], Mapping):
        return alternatives
    others = [details for details in alternatives if not details["type"].endswith(("_type", "literal_error"))]
    deeper = any(other[: len(key)] == key and other != key for other in found)
    return others if others or deeper else alternatives


def _nearest(alternatives: list[ErrorDetails]) -> ErrorDetails:
    """Choose the error of a union that the writer likely meant.

    A word is a word.
    """
    word = isinstance(alternatives[0]["input"], str)
    meant = [details for details in alternatives if (details["type"] == "literal_error") is word]
    return (meant or alternatives)[0]


def _written_key(location: Key, values: Any, error_type: str) -> Key:
    """Return pydantic's location as the user wrote it.

    What pydantic adds of its own (a union's tag) is stripped.
    """
    key: list[str | int] = []
    for position, part in enumerate(location):
        written = (isinstance(values, Mapping) and part in values) or (
            isinstance(values, list) and isinstance(part, int) and part < len(values)
        )
        if written:
            values = values[part]
        elif error_type != "missing" or position < len(location) - 1:
            continue
        key.append(part)
    return tuple(key)


def _refused(details: ErrorDetails, key: Key) -> str | None:
    """Return why danlu leaves a model or task to other tools; else None."""
    if details["type"] != "union_tag_invalid":
        return None
    refusals = {("model",): refuse_model, ("data", "task"): refuse_task}
    named = str(details.get("ctx", {})["tag"])
    return next((refuse(named) for at, refuse in refusals.items() if key[: len(at)] == at), None)


def _sentence(details: ErrorDetails, key: Key) -> str:
    """Describe one error in one sentence."""
    error_type, given, context = details["type"], details["input"], details.get("ctx", {})
    if error_type == "extra_forbidden":
        return f"unknown key{suggestion(str(key[-1]), _fields(details['loc'][:-1]))}"
    if error_type == "missing":
        return "is required"
    if error_type == "union_tag_invalid":
        allowed = [tag.strip().strip("'") for tag in context["expected_tags"].split(",")]
        named = str(context["tag"])
        return f"unknown name {named!r}{_as_weights(named, key) or suggestion(named, allowed)}"
    if error_type == "union_tag_not_found":
        return f"must be a name, or a mapping with `name` and options, got {_shown(given)}"
    if error_type == "model_type":
        names = _fields(details["loc"])
        keys = ", ".join(names[:MAX_KEYS]) + (" …" if len(names) > MAX_KEYS else "")
        return f"must be a section{f' with keys of {keys}' if keys else ''}, got {_shown(given)}"
    if error_type == "literal_error":
        allowed = [part.strip().strip("'") for part in context["expected"].replace(" or ", ", ").split(",")]
        return f"got {_shown(given)}{suggestion(str(given), allowed)}"
    if error_type == "string_pattern_mismatch":
        return f"must match {context['pattern']}, got {_shown(given)}"
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input should ").removeprefix("be ")
    if error_type == "value_error":
        return message
    return f"must be {message}, got {_shown(given)}" if "Input should be" in details["msg"] else message


def _as_weights(name: str, key: Key) -> str:
    """Return how pretrained weights are named, where a model's name is their path."""
    if key[:1] != ("model",) or not ("/" in name or "\\" in name or Path(name).exists()):
        return ""
    return (
        f"; a folder of transformers or a GGUF file is named as hf:{name}; weights for a network of timm are named in "
        "model.pretrained"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fields(location: Key) -> list[str]:
    """Return the keys allowed at a pydantic location."""
    model: Any = Recipe
    for part in location:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
        if isinstance(part, int) or part not in model.model_fields:
            continue
        model = _model_of(model, str(part), location)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    names = [field.alias or name for name, field in model.model_fields.items()]
    return names if model is not Recipe else [*names, "extends"]


def _model_of(model: type[BaseModel], name: str, location: Key) -> Any:
    """Return the model class behind a field: a section, or a named component.

    The location's tag names the component.
    """
    field = model.model_fields[name]
    for choice in _choices(field):
        table = components(choice.kind)
        for part in location:
            if part in table:
                return table[str(part)]
    candidates = list(_classes(field.annotation))
    # Of a union of sections, the location names the one that was tried.
    tried = (candidate for candidate in candidates if candidate.__name__ in location)
    return next(tried, candidates[0] if candidates else None)


def _choices(field: Any) -> Iterator[OneOf]:
    yield from (item for item in field.metadata if isinstance(item, OneOf))
    yield from _metadata(field.annotation)


def _metadata(annotation: Any) -> Iterator[OneOf]:
    yield from (item for item in getattr(annotation, "__metadata__", ()) if isinstance(item, OneOf))
    for argument in getattr(annotation, "__args__", ()):
        yield from _metadata(argument)


def _classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _classes(argument)
