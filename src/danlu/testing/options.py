"""Checks of a component's options, whatever its kind: named, frozen, and unchanged by a recipe file.

In: a component, or its class. Out: `CheckFailed` with what is wrong, or nothing.
"""

import inspect
from io import StringIO
from typing import Any

from pydantic import ValidationError

from danlu.core.component import Component, components
from danlu.recipe.load import check_recipe, dump_recipe
from danlu.recipe.schema import Recipe

UNKNOWN = "no_such_option"
# Kind -> the key of a recipe that takes one.
KEYS = {"optimizer": "training.optimizer", "model": "model"}


class CheckFailed(AssertionError):
    """Report what a component does otherwise than danlu expects."""


def require(held: bool, message: str) -> None:
    """Raise CheckFailed with a message unless the condition holds."""
    if not held:
        raise CheckFailed(message)


def options_of(component: Component | type[Component], base: type[Component]) -> Component:
    """Return a component's options; of a class, those by default.

    Raises:
        CheckFailed: it is not derived from the base class of its kind, or the class needs options.
    """
    if not isinstance(component, type):
        require(isinstance(component, base), f"{type(component).__name__} is not derived from danlu.{base.__name__}")
        return component
    require(issubclass(component, base), f"{component.__name__} is not derived from danlu.{base.__name__}")
    require(
        not inspect.isabstract(component),
        f"{component.__name__} lacks {', '.join(sorted(getattr(component, '__abstractmethods__', ())))}",
    )
    try:
        return component.model_validate({})
    except ValidationError as error:
        missing = ", ".join(str(each["loc"][0]) for each in error.errors() if each["loc"])
        raise CheckFailed(
            f"{component.__name__} has no default for {missing}; give the check an instance with options, and each "
            "class a default name"
        ) from None


def check_options(options: Component, kind: str) -> None:
    """Check that options are named, frozen, strict, and survive a recipe file.

    Args:
        options: of the component.
        kind: the table that lists it, as `optimizer`.

    Raises:
        CheckFailed: with what is wrong.
    """
    label = type(options).__name__
    require(bool(options.name), f"{label}: its name is empty; write `name: Literal['NAME'] = 'NAME'`")
    _check_frozen(options, label)
    _check_unknown_keys(options, label)
    require(
        _through_yaml(options) == options,
        f"{label}: its options differ after they were written to a recipe file and read again; every option must be "
        "a plain value that pydantic writes and reads",
    )
    _check_schema(options, label)
    if components(kind).get(options.name.split(":", 1)[0]) is type(options):
        _check_recipe(options, KEYS[kind], label)


def _check_frozen(options: Component, label: str) -> None:
    try:
        setattr(options, "name", options.name)  # noqa: B010  # a type checker would refuse the plain assignment
    except ValidationError:
        return
    raise CheckFailed(f"{label}: its options can be changed; leave model_config as danlu's base class has it")


def _check_unknown_keys(options: Component, label: str) -> None:
    try:
        type(options).model_validate({**options.model_dump(mode="json"), UNKNOWN: 1})
    except ValidationError:
        return
    raise CheckFailed(f"{label}: takes an option that it does not have, so a misspelt key would be ignored")


def _through_yaml(options: Component) -> Component:
    """Return the options as read from the text that a recipe file would hold."""
    from ruamel.yaml import YAML

    text = StringIO()
    YAML().dump(options.model_dump(mode="json", by_alias=True), text)
    read: Any = YAML(typ="safe", pure=True).load(text.getvalue())
    return type(options).model_validate(read)


def _check_schema(options: Component, label: str) -> None:
    """Check that editors can be told of each option."""
    schema = type(options).model_json_schema(by_alias=True)
    absent = {field.alias or name for name, field in type(options).model_fields.items()} - set(schema["properties"])
    require(not absent, f"{label}: its JSON schema lacks {', '.join(sorted(absent))}")


def _check_recipe(options: Component, key: str, label: str) -> None:
    """Check that a whole recipe keeps the component, for one that is installed."""
    from ruamel.yaml import YAML

    values: Any = options.model_dump(mode="json", by_alias=True)
    for part in reversed(key.split(".")):
        values = {part: values}
    recipe = check_recipe({"data": {"source": "builtin:wine"}, **values})
    again = check_recipe(YAML(typ="safe", pure=True).load(dump_recipe(recipe)))
    require(_at(again, key) == options, f"{label}: a recipe that names it reads back with other options")


def _at(recipe: Recipe, key: str) -> Any:
    found: Any = recipe
    for part in key.split("."):
        found = getattr(found, part)
    return found
