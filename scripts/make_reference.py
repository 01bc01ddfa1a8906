"""Makes docs/reference.md from the code: recipe keys, components, metrics, verbs, Python names, what comes with danlu.

In: the recipe's models, the component tables, the command line's functions, the public names. Out: one Markdown file.
`--check` writes nothing and exits with 1 when the file is not what would be written.
"""

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
from cyclopts import Parameter
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import danlu
from danlu import testing
from danlu.api import COMMANDS
from danlu.core.component import Component, OneOf, components
from danlu.core.imports import EXTRAS, install_command
from danlu.core.tables import TABLES
from danlu.data.builtin import BUILTIN
from danlu.recipe.load import builtin_recipes, load_recipe
from danlu.recipe.schema import Recipe
from danlu.tasks.metric_table import METRICS
from danlu.tasks.table import all_tasks

OUTPUT = Path(__file__).parents[1] / "docs" / "reference.md"
INTRODUCTION = """\
# Reference

Made from the code by `scripts/make_reference.py`; do not edit it by hand. The [guide](guide.md) explains how the parts
are used together.

- [Recipe](#recipe): every key, its type and default
- [Components](#components): what may stand where a key names a splitter, scaler, model, optimizer …
- [Metrics](#metrics)
- [Commands](#commands)
- [Python](#python): the public names, each with an example
- [What comes with danlu](#what-comes-with-danlu)
"""
PLAIN = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`", Any: "any value"}


def reference() -> str:
    """The whole page."""
    parts = [INTRODUCTION, *_recipe(), *_components(), *_metrics(), *_commands(), *_python(), *_included()]
    return "\n".join(parts).rstrip() + "\n"


def _recipe() -> Iterator[str]:
    yield "## Recipe\n"
    yield "Only `data.source` is required. A key without a default is empty (null) until it is said, or filled in from"
    yield "the data.\n"
    yield "`extends` stands beside these keys: one recipe file, or a list of them, that this recipe is laid over.\n"
    yield from _section(Recipe, "")


def _section(model: type[BaseModel], key: str) -> Iterator[str]:
    """A table of a model's own fields, then one for each section inside it."""
    yield f"### `{key}`\n" if key else "### The whole recipe\n"
    yield f"{_summary(model)}\n"
    rows: list[tuple[str, str, str, str]] = []
    for name, field in model.model_fields.items():
        rows.append((f"`{name}`", _words(field.annotation, field.metadata), _default(field), field.description or ""))
    yield from _table(("key", "type", "default", "meaning"), rows)
    for name, section in _sections(model):
        yield from _section(section, f"{key}.{name}" if key else name)


def _sections(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The fields of a model that are sections themselves."""
    for name, field in model.model_fields.items():
        if section := _section_of(field.annotation):
            yield name, section


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section behind an annotation; a component is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return None if issubclass(annotation, Component) else annotation
    if get_origin(annotation) in (Union, UnionType):
        return next((found for part in get_args(annotation) if (found := _section_of(part))), None)
    return None


def _words(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """A type as a reader of YAML would say it."""
    for item in metadata:
        if isinstance(item, OneOf):
            return f"[{item.kind}](#{item.kind})"
    return _plain(annotation) + _limits(metadata)


def _plain(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0], annotation.__metadata__)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in arguments if part is not NoneType))
    if origin is tuple:
        inside = [_words(part) for part in arguments if part is not Ellipsis]
        return f"list of {inside[0]}" if Ellipsis in arguments else f"[{'; '.join(inside)}]"
    if origin is dict:
        return f"mapping of text to {_words(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return PLAIN[annotation]


def _limits(metadata: list[Any] | tuple[Any, ...]) -> str:
    """What bounds a number or the form of a text."""
    signs = {
        annotated_types.Gt: ("gt", ">"),
        annotated_types.Ge: ("ge", "≥"),
        annotated_types.Lt: ("lt", "<"),
        annotated_types.Le: ("le", "≤"),
    }
    found: list[str] = []
    for item in metadata:
        if isinstance(item, FieldInfo):
            found.extend(limit for limit in [_limits(item.metadata).strip()] if limit)
        elif type(item) in signs:
            attribute, sign = signs[type(item)]
            found.append(f"{sign} {getattr(item, attribute):g}")
        elif pattern := getattr(item, "pattern", None):
            found.append(f"matching `{pattern}`")
    return f" {', '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel) or value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(_quoted(part) for part in value)}]`"
    return f"`{value}`" if value != {} else "`{}`"


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _components() -> Iterator[str]:
    yield "## Components\n"
    yield "A component is written as its name, as `{NAME: {OPTION: VALUE}}` or as `{name: NAME, OPTION: VALUE}`. Other"
    yield "packages add to a table through the entry-point group `danlu.KIND`.\n"
    for kind in TABLES:
        inner: dict[str, type[BaseModel]] = {}
        yield f"### {kind}\n"
        rows = [
            (f"`{name}`", _summary(component), "<br>".join(_options(component)))
            for name, component in components(kind).items()
        ]
        yield from _table(("name", "meaning", "options"), rows)
        for component in components(kind).values():
            inner |= {f"{kind}.{name}": part for name, part in _sections(component)}
        for path, section in inner.items():
            yield from _section(section, path)


def _options(component: type[Component]) -> Iterator[str]:
    for name, field in component.model_fields.items():
        if name == "name":
            pattern = _limits(field.metadata).strip()
            if pattern:
                yield f"`name`: {pattern}"
            continue
        default = _default(field)
        words = f"`{name}`: {_words(field.annotation, field.metadata)}"
        meaning = f" ({field.description})" if field.description else ""
        shown = f", default {default}" if default not in ("", "required") else f", {default}" if default else ""
        yield words + shown + meaning


def _metrics() -> Iterator[str]:
    yield "## Metrics\n"
    usual = {name for task in all_tasks() for name in task.default_metrics}
    main = ", ".join(f"`{task.main_metric}` ({task})" for task in all_tasks())
    yield "Those marked usual are computed unless `evaluation.metrics` names others; averages over classes count every"
    yield "class alike unless they say otherwise. Your own are written `package.module:function`. What sums a run"
    yield f"up in the report and in `danlu runs`: {main}.\n"
    rows = [
        (
            f"`{name}`",
            metric.task,
            "yes" if name in usual else "",
            "higher" if metric.higher_is_better else "lower",
            metric.description,
        )
        for name, metric in METRICS.items()
    ]
    yield from _table(("metric", "task", "usual", "better", "meaning"), rows)


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    yield "`--debug` with any command shows the traceback of an error. Exit codes: 0 done, 2 the recipe or the"
    yield "arguments are wrong, 3 the data is wrong, 1 anything else.\n"
    for verb, purpose in COMMANDS.items():
        yield f"### `danlu {verb}`\n"
        yield f"{purpose}\n"
        function = getattr(importlib.import_module(f"danlu.cli.{verb}"), verb)
        rows = list(_parameters(function))
        if rows:
            yield from _table(("argument", "default", "meaning"), rows)


def _parameters(function: Any) -> Iterator[tuple[str, str, str]]:
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        said = next(item for item in hints[name].__metadata__ if isinstance(item, Parameter))
        positional = parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        names = said.name or (name.upper() if positional else f"--{name.replace('_', '-')}",)
        shown = ", ".join(f"`{word}`" for word in ((names,) if isinstance(names, str) else names))
        yield shown, _argument_default(parameter), said.help or ""


def _argument_default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "required"
    if parameter.default in (None, (), False):
        return ""
    return f"`{parameter.default}`"


def _python() -> Iterator[str]:
    yield "## Python\n"
    yield "What stands here is public, with `danlu.errors` ([codes](errors.md)) and `danlu.testing`; other modules are"
    yield "private. Arguments after the `*` are given by name. The tests run the examples in one folder; `runs/wine` is"
    yield "the run that the example of `danlu.run` makes.\n"
    for home, names in ((danlu, danlu.__all__), (testing, testing.__all__)):
        for name in sorted(names, key=lambda name: (name[0].isupper(), name != "run", name)):
            yield from _public_name(f"{home.__name__}.{name}", getattr(home, name))


def _public_name(label: str, value: Any) -> Iterator[str]:
    """A name with its signature, where it is a function, its purpose and its example."""
    yield f"### `{label}`\n"
    if inspect.isfunction(value):
        arguments = [_argument(parameter) for parameter in inspect.signature(value).parameters.values()]
        yield f"`{label.rsplit('.', 1)[-1]}({', '.join(_with_star(arguments))})`\n"
    documented = inspect.getdoc(value) or ""
    yield f"{_summary(value)}\n"
    _, found, example = documented.partition("\nExample:\n")
    if found:
        yield f"```pycon\n{inspect.cleandoc(example)}\n```\n"


def _argument(parameter: inspect.Parameter) -> tuple[bool, str]:
    """Whether an argument is given by name, and how it is written with its default."""
    required = parameter.default is inspect.Parameter.empty
    shown = parameter.name if required else f"{parameter.name}={parameter.default!r}"
    return parameter.kind is inspect.Parameter.KEYWORD_ONLY, shown


def _with_star(arguments: list[tuple[bool, str]]) -> Iterator[str]:
    starred = False
    for by_name, shown in arguments:
        if by_name and not starred:
            yield "*"
            starred = True
        yield shown


def _included() -> Iterator[str]:
    yield "## What comes with danlu\n"
    yield "Recipes to run by name, and the data that `data.source` may name; neither needs a download.\n"
    recipes = {name: load_recipe(name) for name in builtin_recipes()}
    rows = [
        (f"`{name}`", f"`{recipe.data.source}`", f"`{recipe.model.name}`" if recipe.model else "")
        for name, recipe in recipes.items()
    ]
    yield from _table(("recipe", "data", "model"), rows)
    yield f"Data: {', '.join(f'`builtin:{name}`' for name in BUILTIN)}.\n"
    extras = [
        (f"`{extra}`", ", ".join(f"`{module}`" for module in modules), f"`{install_command(extra)}`")
        for extra, modules in EXTRAS.items()
    ]
    yield from _table(("extra", "modules", "installed by"), extras)


def _summary(model: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(model) or "").split("\n\n")[0].split())


def _table(head: tuple[str, ...], rows: list[Any]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


def main() -> None:
    """Write the page, or with `--check` say whether it is up to date."""
    page = reference()
    if "--check" not in sys.argv[1:]:
        OUTPUT.parent.mkdir(parents=True, exist_ok=True)
        OUTPUT.write_text(page, encoding="utf-8")
        return
    if not OUTPUT.is_file() or OUTPUT.read_text(encoding="utf-8") != page:
        print(f"{OUTPUT}: not up to date; run scripts/make_reference.py", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
