"""Each problem has a code that stays, is raised somewhere, and is explained in both languages."""

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import danlu
from danlu import errors
from danlu.errors import CODES, ArgumentError, DanluError, DataError, Problem, RecipeError, message_with_codes

SOURCE = Path(danlu.__file__).parent
DOCS = SOURCE.parents[1] / "docs"
RAISED = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, DanluError)}
WITH_CODE = (RAISED - {"RecipeError"}) | {"Problem"}
CODE = re.compile(r"DL\d{3}")


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        if path != SOURCE / "errors.py":
            yield path.relative_to(SOURCE), ast.parse(path.read_text(encoding="utf-8"))


def made(tree: ast.Module) -> Iterator[ast.Call]:
    """Calls that make an error; a recipe's error has its codes from its problems."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in WITH_CODE:
            yield node


def test_every_error_that_danlu_makes_has_a_code() -> None:
    without = [
        f"{path}:{call.lineno}"
        for path, tree in trees()
        for call in made(tree)
        if not any(keyword.arg == "code" for keyword in call.keywords) and len(call.args) < 4
    ]
    assert without == []


def test_the_codes_in_the_source_are_those_of_the_table() -> None:
    used = {
        node.value
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value)
    }
    assert used == set(CODES)


@pytest.mark.parametrize(("page", "colon"), [("errors.md", ": "), ("errors.zh.md", "：")])
def test_the_page_explains_every_code_with_a_cause_and_a_cure(page: str, colon: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    entries = re.findall(rf"^### (DL\d{{3}}){colon}(.+)\n\n(.+)\n\n- (.+)\n- (.+)$", text, re.MULTILINE)
    assert [code for code, *_ in entries] == list(CODES)
    assert text.count("\n### ") == len(entries)
    if page == "errors.md":
        assert {code: title for code, title, *_ in entries} == CODES


def test_codes_are_grouped_by_hundreds_in_order() -> None:
    assert list(CODES) == sorted(CODES)
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    for part in text.split("\n## ")[1:]:
        assert len({code[2] for code in CODE.findall("".join(re.findall(r"^### .*$", part, re.MULTILINE)))}) == 1


def test_a_message_stays_as_it_is_and_a_terminal_shows_the_code_behind_it() -> None:
    error = DataError("a.csv: is empty", code="DL203")
    assert (str(error), error.code, error.kind) == ("a.csv: is empty", "DL203", "data")
    assert message_with_codes(error) == "a.csv: is empty [DL203]"


def test_an_error_of_a_plugin_needs_no_code() -> None:
    error = DataError("stars.fits: has no table")
    assert (error.code, message_with_codes(error)) == ("", "stars.fits: has no table")


def test_a_wrong_recipe_shows_the_code_of_each_problem() -> None:
    error = RecipeError(Problem("r.yaml:2", "seed", "must be 0", "DL108"), Problem("", "x", "unknown key", "DL105"))
    assert error.code == "DL108"
    assert message_with_codes(error) == "r.yaml:2: seed: must be 0 [DL108]\nx: unknown key [DL105]"


def test_errors_keep_their_code_between_processes() -> None:
    for error in (ArgumentError("no", code="DL402"), RecipeError(Problem("a", "b", "c", "DL105"))):
        copied = pickle.loads(pickle.dumps(error))
        assert (type(copied), str(copied), copied.code) == (type(error), str(error), error.code)
