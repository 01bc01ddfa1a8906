"""Read a recipe file, the files it extends and `--set` overrides into one checked Recipe, or report every problem with
its line.

YAML is read as 1.2 (so `1e-3` is a number and `no` is a word). Relative paths are taken from the folder of the file
they stand in; those of `--set` from the current folder.
"""

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.core.arguments import checked
from danlu.core.text import suggestion
from danlu.errors import ArgumentError, Problem, RecipeError
from danlu.recipe.conflicts import find_conflicts
from danlu.recipe.not_covered import refuse_transformers
from danlu.recipe.paths import resolve_paths
from danlu.recipe.problems import validate_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.variants import space_problems
from danlu.recipe.yaml_text import YamlProblem, parse_yaml

BUILTIN = Path(__file__).parent / "builtin"
Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Tree:
    """Hold a recipe as written: plain values, and the place (`file:line`) of each key."""

    values: dict[str, Any]
    places: dict[Key, str]

    def merge(self, over: "Tree") -> "Tree":
        """Merge `over` into this tree, section by section.

        A list, or a component of another name, is replaced whole.
        """
        return Tree(_merge_sections(self.values, over.values), {**self.places, **over.places})


def builtin_recipes() -> list[str]:
    """Return the names of the recipes that come with danlu."""
    return sorted(file.stem for file in BUILTIN.glob("*.yaml"))


def find_recipe(source: str | Path) -> Path:
    """Return the recipe file for a path or the name of a built-in recipe.

    Raises:
        RecipeError: there is neither.
        ArgumentError: `source` is no path.
    """
    if not isinstance(source, str | os.PathLike):
        message = "give a file, or the name of a built-in recipe"
        raise ArgumentError(f"recipe: cannot take {_describe(source)}; {message}", code="DL402")
    path = Path(source)
    if _is_file(path):
        return path
    builtin = BUILTIN / f"{source}.yaml"
    if _is_file(builtin):
        return builtin
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        raise RecipeError(
            Problem(str(source), "", "is a folder; give a recipe file (`danlu new` writes one)", code="DL101")
        )
    raise RecipeError(
        Problem(
            str(source),
            "",
            f"no such recipe file or built-in recipe{suggestion(str(source), builtin_recipes())}",
            code="DL101",
        )
    )


def _is_file(path: Path) -> bool:
    """Return whether a path is a file; one that no file can have is none."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises where a name is too long


def recipe_files(file: Path) -> list[Path]:
    """Return a valid recipe file and every file that it extends, directly or indirectly."""
    bases = parse_yaml(file.read_text(encoding="utf-8"), with_places=False).get("extends", ())
    paths = [file.parent / base for base in ([bases] if isinstance(bases, str) else bases)]
    return [file, *(found for path in paths for found in recipe_files(path))]


@checked
def load_recipe(source: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """Read, merge, override and check a recipe.

    Args:
        source: a YAML file or the name of a built-in recipe.
        overrides: `key.path=value`, the value in YAML; later ones win.

    Raises:
        RecipeError: with every problem found.

    Example:
        >>> import danlu
        >>> recipe = danlu.load_recipe("wine", overrides=["training.optimizer.lr=3e-4", "seed=5"])
        >>> recipe.training.optimizer.lr, recipe.seed
        (0.0003, 5)
    """
    tree = _read(find_recipe(source), seen=())
    for override in overrides:
        tree = _override(tree, override)
    return _check(tree, str(source))


def as_recipe(recipe: Recipe | Mapping[str, Any] | str | Path | None, *, source: str | None = None) -> Recipe:
    """Build a Recipe from a Recipe, plain values, a file or a built-in's name.

    Args:
        recipe: as users hand it over.
        source: replaces `data.source`, which the recipe may then leave out.

    Raises:
        RecipeError: with every problem found.
        ArgumentError: it is of another type.
    """
    if isinstance(recipe, Recipe):  # one built by hand has not passed the checks beyond types
        recipe = recipe.model_dump(mode="json", by_alias=True)
    if not isinstance(recipe, Mapping | str | os.PathLike):
        message = "give a Recipe, a mapping, a file, or the name of a built-in recipe"
        raise ArgumentError(f"recipe: cannot take {_describe(recipe)}; {message}", code="DL402")
    if not isinstance(recipe, Mapping):
        return load_recipe(recipe, overrides=() if source is None else (f"data.source={source}",))
    section = recipe.get("data", {})
    if source is not None and isinstance(section, Mapping):
        recipe = {**recipe, "data": {**section, "source": source}}
    return check_recipe(recipe)


def check_recipe(values: Mapping[str, Any]) -> Recipe:
    """Build a Recipe from plain values, with the same errors as from a file.

    Relative paths are taken from the current folder.

    Raises:
        RecipeError: with every problem found.
    """
    return _check(Tree(_with_absolute_paths(copy.deepcopy(dict(values)), Path.cwd()), {}), "recipe")


def dump_recipe(recipe: Recipe) -> str:
    """Write the recipe as YAML with every default; it loads back to an equal Recipe."""
    from io import StringIO

    from ruamel.yaml import YAML

    writer, text = YAML(), StringIO()
    writer.width = 120
    writer.dump(recipe.model_dump(mode="json", by_alias=True), text)
    return text.getvalue()


def _describe(value: object) -> str:
    """Name a value that is no recipe by its type."""
    return f"a value of type {type(value).__name__}"


def _check(tree: Tree, origin: str) -> Recipe:
    recipe = validate_recipe(tree.values, tree.places, origin)
    against = {"DL110": find_conflicts(recipe), "DL112": refuse_transformers(recipe)}
    problems = [
        Problem(_place(tree, tuple(key.split(".")), origin), key, sentence, code)
        for code, found in against.items()
        for key, sentence in found
    ]
    for key, sentence in () if problems else space_problems(recipe):
        place = _place(tree, ("tuning", "space", key), origin)
        problems.append(Problem(place, f"tuning.space.{key}", sentence, code="DL113"))
    if problems:
        raise RecipeError(*problems)
    return recipe


def _place(tree: Tree, key: Key, origin: str) -> str:
    """Return the place of the longest part of a key that was written."""
    while key and key not in tree.places:
        key = key[:-1]
    return tree.places.get(key, origin)


def _read(file: Path, seen: tuple[Path, ...]) -> Tree:
    """Read a file and merge it over the files it extends."""
    if file.resolve() in seen:
        raise RecipeError(Problem(str(file), "extends", "the recipe extends itself", code="DL103"))
    try:
        written = parse_yaml(file.read_text(encoding="utf-8-sig"), with_places=True)
    except UnicodeDecodeError as error:
        raise RecipeError(
            Problem(str(file), "", f"is not UTF-8 (byte {error.start}); save it as UTF-8", code="DL102")
        ) from None
    except OSError as error:
        raise RecipeError(Problem(str(file), "", f"cannot be read: {error.strerror or error}", code="DL102")) from None
    except YamlProblem as error:
        place = f"{file}:{error.line or 1}"
        raise RecipeError(Problem(place, "", f"is not YAML: {error.reason}", code="DL102")) from None
    if not isinstance(written, Mapping):
        raise RecipeError(Problem(str(file), "", "a recipe is a mapping of sections; start with `data:`", code="DL102"))
    places: dict[Key, str] = {}
    values = _with_absolute_paths(_plain(written, str(file), (), places), file.parent)
    own = Tree(values, places)
    bases = values.pop("extends", ())
    merged, place = Tree({}, {}), own.places.get(("extends",), str(file))
    listed = [bases] if isinstance(bases, str) else bases
    if not isinstance(listed, list | tuple) or not all(isinstance(base, str) for base in listed):
        raise RecipeError(Problem(place, "extends", "names a recipe file, or a list of them", code="DL103"))
    for base in listed:
        path = file.parent / base
        if not _is_file(path):
            raise RecipeError(Problem(place, "extends", f"no such file: {path}", code="DL103"))
        merged = merged.merge(_read(path, (*seen, file.resolve())))
    return merged.merge(own)


def _plain(node: Any, file: str, key: Key, places: dict[Key, str]) -> Any:
    """Copy ruamel's values into plain ones and note the line of every key and item."""
    items: Iterable[tuple[Any, Any]]
    if isinstance(node, Mapping):
        items = [(str(name), name) for name in node]
    elif isinstance(node, list):
        items = [(index, index) for index in range(len(node))]
    else:
        return _scalar(node)
    copied: list[tuple[Any, Any]] = []
    for name, original in items:
        position = node.lc.data.get(original) if node.lc.data else None
        places[(*key, name)] = f"{file}:{position[0] + 1}" if position else places.get(key, file)
        copied.append((name, _plain(node[original], file, (*key, name), places)))
    return dict(copied) if isinstance(node, Mapping) else [value for _, value in copied]


def _scalar(value: Any) -> Any:
    """Drop ruamel's subclasses, which keep how a number or a quoted word was written."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _with_absolute_paths(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a recipe's values with every path absolute, including those of a search space."""
    resolved = resolve_paths(Recipe, values, folder)
    tuning = resolved.get("tuning")
    space = tuning.get("space") if isinstance(tuning, Mapping) else None
    if isinstance(space, Mapping):
        searched = {key: _with_absolute_choices(str(key), value, folder) for key, value in space.items()}
        resolved["tuning"] = {**resolved["tuning"], "space": searched}
    return resolved


def _with_absolute_choices(key: str, searched: Any, folder: Path) -> Any:
    """Return the values that a search may put under a key with every path absolute."""
    if isinstance(searched, Mapping):
        return {name: _with_absolute_choices(key, value, folder) for name, value in searched.items()}
    return [_resolve_at(key, choice, folder) for choice in searched] if isinstance(searched, list | tuple) else searched


def _resolve_at(key: str, value: Any, folder: Path) -> Any:
    """Make the paths absolute that a value has under a recipe key."""
    parts = key.split(".")
    for part in reversed(parts):
        value = {part: value}
    value = resolve_paths(Recipe, value, folder)
    for _ in parts:
        (value,) = value.values()
    return value


def _override(tree: Tree, override: str) -> Tree:
    """Merge one `--set key.path=value` into a tree."""
    key, equals, text = override.partition("=")
    place = f"--set {override}"
    if not equals or not all(key.split(".")):
        raise RecipeError(Problem(place, "", "is not `key.path=value`, as in training.optimizer.lr=3e-4", code="DL104"))
    try:
        value = parse_yaml(text, with_places=False)
    except YamlProblem as error:
        raise RecipeError(Problem(place, key, f"the value is not YAML: {error.reason}", code="DL104")) from None
    path = tuple(key.split("."))
    nested: Any = value
    for depth in reversed(range(len(path))):
        current = tree.values
        for part in path[:depth]:
            current = current.get(part, {}) if isinstance(current, dict) else {}
            if isinstance(current, str):  # a component written by its name alone: `optimizer: adamw`
                current = {"name": current}
        nested = {path[depth]: nested}
        if isinstance(current, dict) and "name" in current and path[depth] != "name" and depth > 0:
            nested = {"name": current["name"], **nested}
    nested = _with_absolute_paths(nested, Path.cwd())
    places: dict[Key, str] = {path[: depth + 1]: place for depth in range(len(path))}
    kept = {written: where for written, where in tree.places.items() if written[: len(path)] != path}
    return Tree(_merge_sections(tree.values, nested), {**places, **kept, path: place})


def _merge_sections(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge one mapping of keys over another.

    The name of a recipe, unlike a component's, replaces nothing else.
    """
    return {**under, **{key: _merge(under.get(key), value) for key, value in over.items()}}


def _merge(under: Any, over: Any) -> Any:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    if "name" in over and "name" in under and over["name"] != under["name"]:
        return over
    return _merge_sections(under, over)
