"""The graph of imports, those for types and those inside functions included: no circle of modules, nothing upward.

Layers and circles of packages are contracts in pyproject.toml (import-linter); here is what they do not see.
"""

import re
import tomllib
from pathlib import Path

import grimp
import pytest

SOURCE = Path(__file__).parents[1] / "src" / "danlu"


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Module -> modules of danlu that it imports."""
    graph = grimp.build_graph("danlu", exclude_type_checking_imports=False, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Modules that can all reach one another (Tarjan's strongly connected components of more than one)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        path.append(module)
        for other in sorted(imports[module]):
            if other not in order:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in path:
                lowest[module] = min(lowest[module], order[other])
        if lowest[module] == order[module]:
            start = path.index(module)
            if len(path) - start > 1:
                found.append(sorted(path[start:]))
            del path[start:]

    for module in sorted(imports):
        if module not in order:
            visit(module)
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_no_circle_of_modules(imports: dict[str, set[str]]) -> None:
    assert circles(imports) == []


def test_only_the_command_line_imports_the_package_itself(imports: dict[str, set[str]]) -> None:
    """Its names are the functions of the top layer."""
    users = {module for module, others in imports.items() if "danlu" in others}
    assert {user for user in users if not user.startswith(("danlu.cli", "danlu.__main__"))} == set()


def test_every_folder_has_its_layer() -> None:
    contracts = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rooms = [name for layer in contracts[0]["layers"] for name in layer.split(" | ")]
    layers = {name.strip("()").removeprefix("danlu.") for name in rooms}
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= layers


def test_core_names_no_module_above_it() -> None:
    """Not even in a string, which no import graph sees."""
    named = re.compile(r"[\"']danlu\.(?!core\b)\w+(\.\w+|:)")
    assert [path.name for path in (SOURCE / "core").rglob("*.py") if named.search(path.read_text())] == []
