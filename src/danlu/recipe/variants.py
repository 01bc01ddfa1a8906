"""Variants of a recipe with other values under some keys, for a search, and the check that all of them are valid.

In: a recipe and values by key. Out: another recipe, without the section `tuning`; or the problems of a search space,
key by key. Nothing here knows the data.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from danlu.errors import Problem, RecipeError
from danlu.recipe.conflicts import find_conflicts
from danlu.recipe.problems import validate_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.tuning import Choices, LogRange, SearchSpec, StepRange

# Keys that may differ between trials with the same rows and targets: how data is prepared, not which data.
DATA_KEYS = (
    *("scale", "encode", "select", "balance", "augment", "image_size", "sequence_length", "vocabulary", "packing"),
    "clean.missing",
)
SECTIONS = ("data", "model", "training")
Values = Mapping[str, Any]


def variant(recipe: Recipe, values: Values) -> Recipe:
    """Return the recipe with other values under some keys.

    A component of another name drops the old component's options.

    Raises:
        RecipeError: it is no valid recipe.
    """
    written = recipe.model_dump(mode="json", by_alias=True, exclude={"tuning"})
    for key in sorted(values, key=_outer_first):
        written = put_value(written, key.split("."), values[key])
    made = validate_recipe(written, {}, "")
    against = [Problem("", key, sentence, code="DL110") for key, sentence in find_conflicts(made)]
    if against:
        raise RecipeError(*against)
    return made


def end_points(searched: SearchSpec) -> tuple[Any, ...]:
    """Return the end points of a range, or every choice."""
    if isinstance(searched, LogRange):
        return searched.log
    if isinstance(searched, StepRange):
        return searched.range
    return searched.choices if isinstance(searched, Choices) else searched


def outermost(space: Mapping[str, SearchSpec]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield values to check: each key's end points, with every deciding choice.

    A deciding choice is one of a key that decides whether the first key exists.

    Yields:
        a key and the values to put in.
    """
    for key, searched in space.items():
        deciding = [other for other in space if _decides(other, key)]
        for end in end_points(searched):
            for chosen in itertools.product(*(end_points(space[other]) for other in deciding)):
                yield key, {**dict(zip(deciding, chosen, strict=True)), key: end}


def space_problems(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the problems of a search space, one sentence per key."""
    if recipe.tuning is None:
        return
    space, told = recipe.tuning.space, set[str]()
    for key in space:
        if refused := _refusal(key):
            told.add(key)
            yield key, refused
    for key, values in outermost(space):
        if key in told or told & values.keys():
            continue
        try:
            variant(recipe, values)
        except RecipeError as error:
            told.add(key)
            yield key, explain_refusal(recipe, key, values, error.problems[0])


def explain_refusal(recipe: Recipe, key: str, values: Values, problem: Problem) -> str:
    """Describe why a variant of the space is invalid, as its key's problem."""
    named = key == "model.name" or any(other.startswith("model") for other in values.keys() - {key})
    if recipe.model is None and key.startswith("model.") and not named:
        return "the recipe names no model, so its options are unknown; set model.name"
    others = ", ".join(f"{other}: {_shown(value)}" for other, value in values.items() if other != key)
    where = f"{problem.key}: " if problem.key not in (key, "") else ""
    return f"{f'with {others}, ' if others else ''}{_shown(values[key])} cannot be tried: {where}{problem.message}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _refusal(key: str) -> str:
    """Return why a search may not change a key, or an empty string."""
    section, _, rest = key.partition(".")
    if section in Recipe.model_fields and section not in SECTIONS:
        return f"cannot be searched; a search may change {', '.join(SECTIONS)}"
    if section == "data" and not any(rest == may or rest.startswith(f"{may}.") for may in DATA_KEYS):
        return "all trials train and validate on the same rows; of data a search may change " + ", ".join(DATA_KEYS)
    return ""


def _decides(other: str, key: str) -> bool:
    """Return whether the value of one key decides if another key exists.

    It does where it stands above the other, or names the component that the other belongs to.
    """
    above = other.removesuffix(".name") if other.endswith(".name") else other
    return other != key and key.startswith(f"{above}.")


def _outer_first(key: str) -> tuple[int, bool]:
    return key.count("."), not key.endswith(".name")


def put_value(section: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return a copy of a section with a value in it.

    Args:
        section: as written; a component may stand there by its name alone.
        path: the key, part by part; sections that are missing on the way are added.
        value: replaces the old one. Another name of a component drops the old one's options.

    Raises:
        RecipeError: a part of the path holds a value that is no section.
    """
    first, *rest = path
    if not rest:
        if first == "name" and section.get("name") != value:
            return {"name": value}
        return {**section, first: value}
    inner = section.get(first)
    if isinstance(inner, str):  # a component written by its name alone
        inner = {"name": inner}
    if not isinstance(inner, dict | None):
        raise RecipeError(Problem("", first, f"is not a section, so it has no {'.'.join(rest)}", code="DL104"))
    return {**section, first: put_value(inner or {}, rest, value)}
