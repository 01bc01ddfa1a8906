"""Docstrings are short and say what a thing does; ruff's D401 sees to the imperative of functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "danlu"
LONGEST = 15  # words in a first line
NO_VERBS = {"A", "An", "The", "What", "Which", "One", "Of", "This", "These", "Some", "All", "Each"}

Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def first_lines(source: Path) -> Iterator[tuple[Documented, str]]:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, Documented) and (told := ast.get_docstring(node)):
            yield node, told.splitlines()[0]


@pytest.mark.parametrize("folder", sorted(path.name for path in SOURCE.iterdir() if path.is_dir()))
def test_first_lines_are_short_and_classes_begin_with_a_verb(folder: str) -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{node.lineno}: {line}"
        for path in (SOURCE / folder).rglob("*.py")
        for node, line in first_lines(path)
        if len(line.split()) > LONGEST or (isinstance(node, ast.ClassDef) and line.split()[0] in NO_VERBS)
    ]
    assert wrong == []
