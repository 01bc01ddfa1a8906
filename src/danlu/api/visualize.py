"""`danlu visualize`: show what a recipe does to its data. Today: augmented training samples."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt

from danlu.artifacts.files import write_bytes
from danlu.artifacts.outputs import refuse_existing_file, refuse_input
from danlu.core.arguments import checked
from danlu.errors import ArgumentError, Problem, RecipeError
from danlu.experiment.data_context import load_input
from danlu.recipe.schema import Recipe

Visual = Literal["augment"]


@checked
def visualize(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    *,
    data: object | None = None,
    only: Visual = "augment",
    output: str | Path | None = None,
    samples: PositiveInt = 6,
    epochs: PositiveInt = 6,
    overwrite: bool = False,
) -> Path:
    """Write a picture of what a recipe does to its data.

    Args:
        recipe: a Recipe, a mapping, a file or the name of a built-in recipe.
        data: rows in memory instead of the recipe's `data.source`: a frame of polars or pandas, an Arrow table, a
            dict of columns … (see the guide).
        only: `augment`: training samples next to their augmented versions, exactly as training sees them.
        output: the file: .png for images, .html for texts and tables; by default named after the recipe.
        samples: number of samples, spread evenly over the training split.
        epochs: number of augmented versions, one per epoch.
        overwrite: replace an existing file.

    Returns:
        the file.

    Raises:
        RecipeError, DataError, MissingExtra: as training would; or the recipe has no augmentation.
        ArgumentError: `only` is unknown, or the file exists already, or has the suffix of another kind of data.

    Example:
        >>> import danlu
        >>> noisy = {"name": "noisy", "data": {"source": "builtin:wine", "augment": [{"noise": {"std": 0.1}}]}}
        >>> danlu.visualize(noisy).name
        'noisy-augment.html'
    """
    context = load_input(recipe, data)
    if not context.recipe.data.augment:
        raise RecipeError(Problem("", "data.augment", "has no augmentation, so there is nothing to show", code="DL116"))
    suffix = ".png" if context.dataset.kind.shows_pictures else ".html"
    path = Path(output) if output is not None else Path(f"{context.recipe.name}-augment{suffix}")
    if path.suffix.lower() != suffix:
        raise ArgumentError(
            f"{path}: {context.dataset.kind} data is shown as {suffix}; give the file that suffix", code="DL408"
        )
    refuse_input(path, list(context.recipe.data.sources))
    refuse_existing_file(path, overwrite)

    from danlu.experiment.augmented_samples import collect_augmented_samples
    from danlu.reporting.augmentation_preview import augmentation_page, contact_sheet

    found = collect_augmented_samples(context, samples, epochs)
    title = f"{context.recipe.name}: augmentation"
    write_bytes(path, contact_sheet(found) if suffix == ".png" else augmentation_page(title, found))
    return path
