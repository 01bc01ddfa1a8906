"""The recipe of a run on disk: YAML below one line that says its SHA-256, so that a changed one is not gone on with.

The digest leaves out `data.source`: data may be moved, and a run knows its rows by a digest of their own.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from danlu.artifacts.files import write_text
from danlu.errors import ArtifactError
from danlu.recipe.load import dump_recipe, load_recipe
from danlu.recipe.schema import Recipe

SEAL = "# The recipe of a run: copy it to change it. SHA-256 "
SOURCE = re.compile(r"^  source:.*(?:\n(?:   .*|  - .*))*\n", re.MULTILINE)  # as `dump_recipe` writes it


def write_run_recipe(file: Path, recipe: Recipe) -> None:
    """Write a recipe below its digest."""
    text = dump_recipe(recipe)
    write_text(file, f"{SEAL}{_digest(text)}\n{text}")


def load_run_recipe(file: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load the recipe of a run.

    One without a digest (an older danlu's) is taken as it is.

    Args:
        file: of the run.
        overrides: `key.path=value`, as of `--set`.

    Raises:
        RecipeError: it is no valid recipe.
        ArtifactError: it was changed.
    """
    recipe = load_recipe(file, overrides=overrides)
    first, _, text = file.read_text(encoding="utf-8").partition("\n")
    if first.startswith(SEAL[:4]) and first != SEAL + _digest(text):
        raise ArtifactError(
            f"{file}: differs from what the run was trained with, in more than data.source; restore it, or copy it and "
            "train a new run",
            code="DL305",
        )
    return recipe


def recipe_text(file: Path) -> str:
    """Return a run's recipe without the line of its digest."""
    text = file.read_text(encoding="utf-8")
    return text.partition("\n")[2] if text.startswith(SEAL) else text


def _digest(text: str) -> str:
    return hashlib.sha256(SOURCE.sub("", text).encode()).hexdigest()
