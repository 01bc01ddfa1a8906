"""Editors and type checkers know every key of a recipe, in a user's file without danlu's settings or plugins.

The file is made by walking the schema, so a new key is in it at once.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

import danlu
from danlu.core.component import Component, OneOf, components
from danlu.core.tables import TABLES
from danlu.recipe.schema import Recipe
from danlu.training.optimizers import Optimizer
from danlu.training.optimizers.options import AdamW
from danlu.training.schedules import Schedule

SOURCE = Path(danlu.__file__).parents[1]
# The types of a recipe's keys are made of these alone; thousands of modules of transformers … would take minutes.
FOLLOWED = ("danlu", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection")
MOST_NESTED = 8


def lines_of(model: type[BaseModel], value: str, indent: str = "    ") -> Iterator[str]:
    """Statements that read every field behind an expression, those of inner sections and components included."""
    assert len(indent) < 4 * MOST_NESTED, value
    for name, field in model.model_fields.items():
        yield f"{indent}{value}.{name}"
        yield from lines_of_type(field.annotation, field.metadata, f"{value}.{name}", indent)


def lines_of_type(annotation: Any, metadata: list[Any], value: str, indent: str) -> Iterator[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    chosen = next((item for item in metadata if isinstance(item, OneOf)), None)
    if origin is Annotated:
        yield from lines_of_type(arguments[0], list(annotation.__metadata__), value, indent)
    elif origin in (Union, UnionType):
        for part in arguments:
            yield from lines_of_type(part, [], value, indent)
    elif origin in (tuple, dict):
        item = f"each_{value.replace('.', '_')}"
        inside = list(lines_of_type(arguments[origin is dict], [], item, f"{indent}    "))
        if inside:
            yield f"{indent}for {item} in {value}{'.values()' if origin is dict else ''}:"
            yield from inside
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for each in (annotation, *(components(chosen.kind).values() if chosen else ())):
            yield f"{indent}if isinstance({value}, {each.__name__}_{number_of(each)}):"
            yield f"{indent}    {value}.__class__"
            yield from lines_of(each, value, f"{indent}    ")


def number_of(model: type[BaseModel]) -> int:
    """A number for each class, since two kinds have components of one name."""
    return CLASSES.setdefault(model, len(CLASSES))


CLASSES: dict[type[BaseModel], int] = {}


@pytest.fixture(scope="module")
def program() -> str:
    """A user's file that reads every key of a recipe."""
    body = list(lines_of(Recipe, "recipe"))
    imports = [f"from {each.__module__} import {each.__name__} as {each.__name__}_{n}" for each, n in CLASSES.items()]
    return "\n".join([*imports, "import danlu", "", "", "def read(recipe: danlu.Recipe) -> None:", *body, ""])


def checked(program: str, folder: Path) -> str:
    """What mypy says of a user's file, with neither danlu's configuration nor pydantic's plugin."""
    (folder / "mine.py").write_text(program, encoding="utf-8")
    followed = ",".join(f"{name}.*" for name in FOLLOWED)
    (folder / "mypy.ini").write_text(
        f"[mypy]\nstrict = true\nfollow_imports = skip\n[mypy-{followed}]\nfollow_imports = normal\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=mypy.ini", f"--cache-dir={folder / 'cache'}", "mine.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    return done.stdout + done.stderr


def test_the_walk_reaches_every_component_and_nested_section(program: str) -> None:
    reached = set(CLASSES)
    assert {each for kind in TABLES for each in components(kind).values()} <= reached
    for key in ("recipe.training.optimizer.lr", "recipe.evaluation.intervals.conformal.coverage", "recipe.seed"):
        assert f" {key}\n" in program


@pytest.mark.slow
def test_a_type_checker_knows_every_key_and_refuses_each_when_misspelt(
    program: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("typed")
    assert "Success: no issues found" in checked(program, folder)
    wrong, keys = re.subn(r"^( +\w[\w.]*\.(?!__class__$)\w+)$", r"\1_x", program, flags=re.MULTILINE)
    told = checked(wrong, folder)
    assert '"OptimizerOptions" has no attribute "lr_x"' in told and f"Found {keys} errors" in told and keys > 400


def test_a_component_is_given_with_its_methods_by_the_base_class_of_its_kind() -> None:
    recipe = danlu.load_recipe("wine")
    assert Optimizer.of(recipe.training.optimizer) is recipe.training.optimizer
    assert AdamW.of(recipe.training.optimizer).betas == (0.9, 0.999)


def test_a_component_of_another_kind_is_refused() -> None:
    with pytest.raises(
        danlu.errors.ArgumentError, match=r"a Schedule is needed, and adamw \(AdamW\) is none"
    ) as refused:
        Schedule.of(AdamW())
    assert refused.value.code == "DL412"
    with pytest.raises(danlu.errors.ArgumentError, match="a Schedule is needed, and nothing is chosen"):
        Schedule.of(None)


def test_nothing_asserts_the_class_of_a_recipes_component() -> None:
    """`Base.of` gives it its type, and refuses a plugin's wrong class with a sentence."""
    bases = {base.__name__ for base, _ in declared_kinds(Recipe)}
    bases |= {each.__name__ for base, _ in declared_kinds(Recipe) for each in base.__subclasses__()}
    assert {"Optimizer", "Model", "Splitter", "Task", "OptimizerOptions"} <= bases
    asserted = re.compile(rf"assert isinstance\([^()]*,\s*({'|'.join(bases)})\b")
    found = [path.name for path in (SOURCE / "danlu").rglob("*.py") if asserted.search(path.read_text())]
    assert found == []


def test_every_component_has_the_type_that_its_key_declares() -> None:
    declared = {kind: base for base, kind in declared_kinds(Recipe)}
    assert set(declared) == set(TABLES)
    for kind, base in declared.items():
        assert [name for name, each in components(kind).items() if not issubclass(each, base)] == []


def declared_kinds(model: type[BaseModel]) -> Iterator[tuple[type[Component], str]]:
    """The declared type of each kind of component in a recipe."""
    for field in model.model_fields.values():
        yield from declared_in(field.annotation, field.metadata)


def declared_in(annotation: Any, metadata: list[Any]) -> Iterator[tuple[type[Component], str]]:
    for item in metadata:
        if isinstance(item, OneOf):
            yield annotation, item.kind
    if get_origin(annotation) is Annotated:
        yield from declared_in(get_args(annotation)[0], list(annotation.__metadata__))
    elif get_args(annotation):
        for part in get_args(annotation):
            yield from declared_in(part, [])
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and not issubclass(annotation, Component):
        yield from declared_kinds(annotation)
