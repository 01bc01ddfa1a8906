"""`danlu visualize`: what a recipe does to its data, and what a network is and does."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import NonNegativeInt, PositiveInt

from danlu.artifacts.files import StrPath, write_bytes
from danlu.artifacts.outputs import refuse_existing_file, refuse_input
from danlu.artifacts.ownership import RECIPE
from danlu.artifacts.run import RunDirectory
from danlu.core.arguments import checked
from danlu.core.text import suggestion
from danlu.errors import ArgumentError, Problem, RecipeError
from danlu.experiment.data_context import load_input
from danlu.experiment.difference_picture import measure_difference, measure_file_difference
from danlu.experiment.file_pictures import pictures_of_file
from danlu.experiment.network_pairs import open_files, open_other
from danlu.experiment.picture_files import FORMAT, write_pictures
from danlu.experiment.visualization import PICTURES, pictures_of
from danlu.inspection.weight_files import is_weight_file
from danlu.recipe.schema import Recipe
from danlu.reporting.i18n import Translator, environment_translator, get_translator
from danlu.reporting.page import write_report

if TYPE_CHECKING:
    from danlu.inspection.subject import Subject

AUGMENT = "augment"
VISUALS = (AUGMENT, *PICTURES)


@dataclass(frozen=True)
class Visualization:
    """Hold what `visualize` wrote.

    Attributes:
        json: as `danlu visualize --json` prints it: `files`, and what each picture measured under its name.

    Example:
        >>> import danlu
        >>> graph = danlu.visualize("runs/wine", only="graph", output="looks").json["graph"]
        >>> graph["replay_deviation"] <= 1e-6
        True
    """

    json: dict[str, Any]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, in the order in which they were written."""
        return tuple(Path(each["path"]) for each in self.json["files"])

    @property
    def path(self) -> Path:
        """The first file."""
        return self.files[0]


@checked
def visualize(
    source: Recipe | Mapping[str, Any] | StrPath,
    *,
    data: object | None = None,
    only: str | Sequence[str] | None = None,
    against: StrPath | None = None,
    threshold_db: float = 20.0,
    rows: NonNegativeInt = 0,
    output: str | Path | None = None,
    samples: PositiveInt = 6,
    epochs: PositiveInt = 6,
    language: str | None = None,
    own_code: bool = False,
    overwrite: bool = False,
) -> Visualization:
    """Draw what a recipe does to its data, or what a network is and does.

    Args:
        source: a recipe in any form; a run or a bundle; a folder of transformers or timm; a file of weights
            (.safetensors, .gguf, .onnx), of which graph and weights are drawn; an ONNX file is run for its measures,
            and on `data` for its activations.
        data: with a recipe, rows in memory instead of its `data.source`: a frame of polars or pandas, an Arrow table,
            a dict of columns … (see the guide). With an ONNX file, the rows that its activations are measured on: a
            table in memory or a file of one, or an .npz file with an array for each input.
        only: one picture or several. Of a recipe: `augment` (by default), training samples next to their augmented
            versions exactly as training sees them, or `graph`, the network that it builds. Of all else: every picture
            that the model can have, by default.
        against: another network to compare with, layer by layer on the same rows: a bundle, a run, or an export that
            ONNX Runtime, transformers, sentence-transformers or timm opens, quantized ONNX files among them. Two ONNX
            files are compared on drawn inputs. Alone it is the only picture.
        threshold_db: signal to noise, in decibels, under which a layer counts as parted.
        rows: of a run: how many rows the network is run on; 0 for a few hundred.
        output: with `augment`, the file: .png for images, .html for texts and tables. Else the folder: `visualize` in a
            run, by default, or one named after the model.
        samples: with `augment`: number of samples, spread evenly over the training split.
        epochs: with `augment`: number of augmented versions, one per epoch.
        language: of the pictures, en or zh; by default that of DANLU_LANG.
        own_code: allow code outside danlu that a bundle's model names.
        overwrite: replace existing files.

    Returns:
        the files, and what was measured.

    Raises:
        RecipeError, DataError, MissingExtra: as training would; or the recipe has no augmentation.
        ArtifactError: the bundle is damaged.
        ArgumentError: a picture is unknown or not to be had of this model, or the output exists already or has the
            suffix of another kind of data.

    Example:
        >>> import danlu
        >>> noisy = {"name": "noisy", "data": {"source": "builtin:wine", "augment": [{"noise": {"std": 0.1}}]}}
        >>> danlu.visualize(noisy).path.name
        'noisy-augment.html'
    """
    names = _names(only)
    t = environment_translator() if language is None else get_translator(language)
    if not math.isfinite(threshold_db):
        raise ArgumentError(f"--threshold-db: cannot take {threshold_db}; give decibels, such as 20", code="DL402")
    is_recipe = _is_recipe(source)
    if against is not None and is_recipe:
        raise ArgumentError("against: compares a model; give a run, a bundle or a model's folder", code="DL401")
    if is_recipe and names in ((), (AUGMENT,)):
        return _augmentation(source, data, output, samples, epochs, overwrite)
    if AUGMENT in names:
        raise ArgumentError(
            "augment is a picture of a recipe, and a file of its own; ask for it alone, with a recipe", code="DL401"
        )
    if not is_recipe and is_weight_file(Path(source)):  # type: ignore[arg-type]
        return _of_file(t, Path(source), names, data, output, overwrite, against, threshold_db)  # type: ignore[arg-type]
    if data is not None and not is_recipe:
        raise ArgumentError(
            "data: goes with a recipe or an ONNX file; a run has its own rows, a bundle keeps some", code="DL401"
        )
    subject, folder = _subject(source, data, rows, own_code)
    folder = _chosen_folder(folder, output, overwrite, is_own=subject.run is not None)
    wanted = names or (() if against is not None else tuple(PICTURES))
    other = None if against is None else open_other(subject, Path(against), own_code)
    pictures = pictures_of(subject, wanted, is_asked=bool(names))
    if other is not None:
        pictures["difference"] = partial(measure_difference, subject, other, threshold_db)
    result = write_pictures(t, subject.name, len(subject.dataset), pictures, folder)
    if subject.run is not None and output is None:
        write_report(subject.run, t.language)
    return Visualization(result)


def _of_file(
    t: Translator,
    path: Path,
    names: tuple[str, ...],
    data: object | None,
    output: str | Path | None,
    overwrite: bool,
    against: StrPath | None,
    threshold_db: float,
) -> Visualization:
    """Draw what a file of weights tells, and where two ONNX files part."""
    folder = _chosen_folder(Path(f"{path.stem}-visualize"), output, overwrite, is_own=False)
    wanted = names or (() if against is not None else tuple(PICTURES))
    pictures = pictures_of_file(path, wanted, bool(names), data)
    if against is not None:
        compared = open_files(path, Path(against))
        pictures["difference"] = partial(measure_file_difference, compared, threshold_db)
    return Visualization(write_pictures(t, path.name, 0, pictures, folder))


def _chosen_folder(usual: Path, output: str | Path | None, overwrite: bool, is_own: bool) -> Path:
    """Return the folder for the pictures; any but a run's own must be new."""
    folder = usual if output is None else Path(output)
    is_free = (is_own and output is None) or overwrite or not folder.exists()
    if not is_free and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentError(
            f"{folder}: exists already; choose another folder with -o, or replace it with --overwrite", code="DL404"
        )
    return folder


def _names(only: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the pictures that are asked for; several may be joined by commas."""
    given = () if only is None else (only,) if isinstance(only, str) else tuple(only)
    names = tuple(dict.fromkeys(part.strip() for each in given for part in str(each).split(",")))
    for name in names:
        if name not in VISUALS:
            raise ArgumentError(f"only: {name!r} cannot be shown{suggestion(name, VISUALS)}", code="DL402")
    return names


def _is_recipe(source: Recipe | Mapping[str, Any] | StrPath) -> bool:
    """Return whether a source is a recipe, and no model."""
    if not isinstance(source, str | PathLike):
        return True
    return not Path(source).is_dir() and not is_weight_file(Path(source))


def _as_recipe(source: Recipe | Mapping[str, Any] | StrPath) -> Recipe | Mapping[str, Any] | str | Path:
    return Path(source) if isinstance(source, PathLike) else source


def _subject(
    source: Recipe | Mapping[str, Any] | StrPath, data: object | None, rows: int, own_code: bool
) -> "tuple[Subject, Path]":
    """Return what is looked at and the folder for its pictures."""
    from danlu.experiment.inspected import recipe_subject, run_subject
    from danlu.inspection.subject import bundle_subject, folder_subject, is_library_folder

    if isinstance(source, Recipe | Mapping) or _is_recipe(source):
        subject = recipe_subject(load_input(_as_recipe(source), data))
        return subject, Path(f"{subject.name}-visualize")
    path = Path(source)
    if (path / RECIPE).is_file():
        return run_subject(RunDirectory.open(path), rows, own_code), path / "visualize"
    subject = folder_subject(path) if is_library_folder(path) else bundle_subject(path, own_code)
    return subject, Path(f"{path.resolve().name}-visualize")


def _augmentation(
    recipe: Recipe | Mapping[str, Any] | StrPath,
    data: object | None,
    output: str | Path | None,
    samples: int,
    epochs: int,
    overwrite: bool,
) -> Visualization:
    """Write training samples next to their augmented versions."""
    context = load_input(_as_recipe(recipe), data)
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
    content = contact_sheet(found) if suffix == ".png" else augmentation_page(title, found)
    write_bytes(path, content)
    return Visualization({"format": FORMAT, "files": [{"picture": AUGMENT, "path": str(path), "bytes": len(content)}]})
