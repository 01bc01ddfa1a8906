"""`danlu check`: is the recipe right, what is the data, would a test be honest? Trains nothing, imports no torch."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from danlu.data.audit import Finding
from danlu.data.images.check import suspicious
from danlu.recipe.load import as_recipe
from danlu.recipe.schema import Recipe
from danlu.verbs.prepare import Opened, open_data


def check(recipe: Recipe | Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """Check a recipe against its data.

    Returns:
        the data's profile: kind, task, splits, columns with the reason of each type, findings of the audit.

    Raises:
        RecipeError: with every problem of the recipe.
        DataError: the data is wrong.
        MissingExtra: the model needs packages that are not installed.
    """
    opened = open_data(as_recipe(recipe))
    return replace(opened, findings=(*_broken_images(opened), *opened.findings)).profile()


def _broken_images(opened: Opened) -> tuple[Finding, ...]:
    """Images that training would refuse, as far as their headers and checksums show it."""
    dataset = opened.dataset
    if dataset.kind != "image":
        return ()
    broken = suspicious(dataset.frame[dataset.content].to_list(), dataset.folder)
    if not broken:
        return ()
    message = f"{len(broken):,} of {dataset.frame.height:,} images cannot be read; the first: {broken[0][1]}"
    return (Finding(subject="broken images", message=message),)
