"""What `import danlu` offers: every name through `danlu.`, whatever else was imported before."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu import testing
from danlu.api import COMMANDS, FUNCTIONS
from danlu.core.component import components
from danlu.core.tables import TABLES

ROOT = Path(danlu.__file__).parent
REPOSITORY = ROOT.parents[1]
# Two things that belong together; elsewhere one.
POSITIONAL = {
    "evaluate": 2,
    "export": 2,
    "explain": 2,
    "generate": 2,
    "predict": 2,
    "replay": 2,
    "Predictor.answer_columns": 3,
    "Predictor.decode": 3,
    "Predictor.outputs": 2,
    "Predictor.raw_outputs": 2,
    "check_task": 2,
}


def test_no_package_hides_a_public_name() -> None:
    """A subpackage of a public function's name would replace it as soon as anything imports the package."""
    for module in pkgutil.iter_modules(danlu.__path__):
        if module.name != "__main__":
            importlib.import_module(f"danlu.{module.name}")
    found = {name: getattr(danlu, name) for name in danlu.__all__}
    assert [name for name, value in found.items() if inspect.ismodule(value) or not callable(value)] == []
    assert not set(danlu.__all__) & {module.name for module in pkgutil.iter_modules(danlu.__path__)}


@pytest.mark.training
def test_public_names_answer_when_they_are_called(tmp_path: Path) -> None:
    assert danlu.check("wine")["kind"] == "tabular"
    assert "mlp" in {model.name for model in danlu.list_models("table")}
    assert danlu.runs(tmp_path) == []
    assert danlu.schema()["type"] == "object"
    assert danlu.new("builtin:wine").startswith("# 178 rows")
    assert danlu.load_recipe("wine").name == danlu.Recipe.model_validate(danlu.load_recipe("wine").model_dump()).name


def test_each_command_is_a_function_of_its_name() -> None:
    others = {"batch", "list_models", "load", "resume"}
    assert set(FUNCTIONS) == {name for name in COMMANDS if name != "models"} | others
    for command in COMMANDS:
        assert callable(getattr(importlib.import_module(f"danlu.cli.{command}"), command))


def test_editors_see_the_names_that_there_are() -> None:
    """The imports under TYPE_CHECKING are written by hand, so that editors and type checkers follow them."""
    block = next(node for node in ast.parse((ROOT / "__init__.py").read_text()).body if isinstance(node, ast.If))
    imported = {
        alias.asname or alias.name: f"{node.module}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == danlu._MODULES


def test_api_holds_verbs_and_nothing_else() -> None:
    modules = {f"danlu.api.{file.stem}" for file in (ROOT / "api").glob("*.py") if file.stem != "__init__"}
    assert modules == set(FUNCTIONS.values())
    assert {file.stem for file in (ROOT / "cli").glob("*.py")} >= set(COMMANDS)


def callables() -> Iterator[tuple[str, Any]]:
    """Public functions, and the methods of the classes that they return, without `self`."""
    for name in danlu.__all__:
        value = getattr(danlu, name)
        if inspect.isfunction(value):
            yield name, value
    for home in (danlu.Predictor, danlu.RunDirectory):
        for name, _ in inspect.getmembers(home, lambda value: inspect.isfunction(value) or inspect.ismethod(value)):
            if not name.startswith("_"):
                yield f"{home.__name__}.{name}", inspect.getattr_static(home, name)
    for name in testing.__all__:
        if inspect.isfunction(getattr(testing, name)):
            yield name, getattr(testing, name)


def test_arguments_after_the_first_are_given_by_name() -> None:
    tried = dict(callables())
    assert {"train", "load_recipe", "Predictor.predict", "RunDirectory.create", "check_model"} <= set(tried)
    for name, value in tried.items():
        method = "." in name
        plain = value.__func__ if isinstance(value, classmethod) else value
        kinds = [parameter.kind for parameter in inspect.signature(plain).parameters.values()]
        assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) - method <= POSITIONAL.get(name, 1), name


@pytest.mark.training
def test_a_run_is_a_path_to_functions_that_take_one(table_run: Path) -> None:
    run = danlu.RunDirectory.open(table_run)
    assert Path(run) == table_run and (Path(run) / "recipe.yaml").is_file()
    assert danlu.RunDirectory.open(run) == run
    assert danlu.load(run).manifest.name == danlu.load(table_run).manifest.name


def test_base_classes_of_plugins_are_public() -> None:
    for kind in set(TABLES) - {"encoder", "gaps", "compression"}:  # of these danlu knows every member
        bases = {base.__name__ for each in components(kind).values() for base in each.__mro__}
        assert bases & set(danlu.__all__), kind


def test_the_readme_names_every_command() -> None:
    said = re.search(r"the commands (.*?)\.\n", (REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert said is not None
    assert set(re.findall(r"`(\w+)`", said[1])) == set(COMMANDS)


def test_the_version_stands_in_one_place() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in project
    assert f'__version__ = "{danlu.__version__}"' in (ROOT / "_version.py").read_text(encoding="utf-8")


def test_importing_danlu_imports_nothing_heavy() -> None:
    program = "import sys, danlu; print(sorted({'torch', 'numpy', 'polars', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
