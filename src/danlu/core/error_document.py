"""An error as JSON for programs: what `--json` prints on stdout beside the message on stderr."""

import re
from typing import Any

from danlu.core.text import nearest_in
from danlu.errors import DanluError, Problem, RecipeError

FORMAT = 1
UNEXPECTED = "DL900"
# Errors outside a recipe's checks name its key at the beginning: `training.device: torch finds no cuda …`.
KEY = re.compile(r"((?:data|model|training|evaluation|tuning)(?:\.\w+)+): ")


def error_document(error: Exception) -> dict[str, Any]:
    """Describe an error as `{"format": 1, "error": {...}}`; what is not known is absent.

    Returns:
        `code`, `kind` (recipe, data, artifact, argument, training, stopped, extra or unexpected) and `message`; of a
        recipe also `place` (file and line) and `key`, and `nearest`, the allowed name that a misspelt one is most
        similar to. A recipe with several problems has them all in `problems`, the first one's fields also beside it.
    """
    if isinstance(error, RecipeError):
        problems = [_of_problem(problem) for problem in error.problems]
        more = {"problems": problems} if len(problems) > 1 else {}
        return _document({"kind": error.kind, **problems[0], **more})
    if not isinstance(error, DanluError):
        message = f"{type(error).__name__}: {error}"
        return _document({"code": UNEXPECTED, "kind": "unexpected", "message": message})
    message = str(error)
    key = KEY.match(message)
    described = {"code": error.code or None, "kind": error.kind, "key": key and key[1], "message": message}
    return _document({**described, "nearest": nearest_in(message)})


def _of_problem(problem: Problem) -> dict[str, Any]:
    named = {"code": problem.code or None, "place": problem.place or None, "key": problem.key or None}
    return _without_unknown({**named, "message": problem.message, "nearest": nearest_in(problem.message)})


def _document(error: dict[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "error": _without_unknown(error)}


def _without_unknown(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
