"""`danlu visualize`: show what a recipe does to its data. Today: augmented training samples."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from danlu.artifacts.files import write_bytes
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.data.targets import ClassTarget, MultiLabelTarget
from danlu.data.text.preprocessor import TextPreprocessor
from danlu.errors import ArgumentError, Problem, RecipeError
from danlu.experiment.data_context import DataContext, FittedPreprocessing, fit_preprocessing, load_data
from danlu.recipe.load import as_recipe
from danlu.recipe.schema import Recipe

if TYPE_CHECKING:
    from danlu.data.loader import Tensors
    from danlu.reporting.augmentation_preview import AugmentedSample, SampleVersion

Visual = Literal["augment"]


def visualize(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    *,
    only: Visual = "augment",
    output: str | Path | None = None,
    samples: int = 6,
    epochs: int = 6,
    overwrite: bool = False,
) -> Path:
    """Write a picture of what a recipe does to its data.

    Args:
        recipe: a Recipe, a mapping, a file or the name of a built-in recipe.
        only: `augment`: training samples next to their augmented versions, exactly as training sees them.
        output: the file: .png for images, .html for texts and tables; by default named after the recipe.
        samples: number of samples, spread evenly over the training split.
        epochs: number of augmented versions, one per epoch.
        overwrite: replace an existing file.

    Returns:
        the file.

    Raises:
        RecipeError, DataError, MissingExtra: as training would; or the recipe has no augmentation.
        ArgumentError: the file exists already, or has the suffix of another kind of data.
    """
    opened = load_data(as_recipe(recipe))
    if not opened.recipe.data.augment:
        raise RecipeError(Problem("", "data.augment", "has no augmentation, so there is nothing to show"))
    if samples < 1 or epochs < 1:
        raise ArgumentError(f"samples and epochs must be at least 1, got {samples} and {epochs}")
    suffix = ".png" if opened.dataset.kind == "image" else ".html"
    path = Path(output) if output is not None else Path(f"{opened.recipe.name}-augment{suffix}")
    if path.suffix.lower() != suffix:
        raise ArgumentError(f"{path}: {opened.dataset.kind} data is shown as {suffix}; give the file that suffix")
    if path.exists() and not overwrite:
        raise ArgumentError(f"{path}: exists already; choose another file with -o, or replace it with --overwrite")

    from danlu.reporting.augmentation_preview import augmentation_page, contact_sheet

    found = _collect_samples(opened, samples, epochs)
    title = f"{opened.recipe.name}: augmentation"
    write_bytes(path, contact_sheet(found) if suffix == ".png" else augmentation_page(title, found))
    return path


def _collect_samples(opened: DataContext, count: int, epochs: int) -> "list[AugmentedSample]":
    """Collect training samples, each unchanged and as augmented in each epoch."""
    import torch

    from danlu.experiment.loaders import build_train_loader
    from danlu.reporting.augmentation_preview import AugmentedSample

    prepared, cpu = fit_preprocessing(opened), torch.device("cpu")
    feed = build_train_loader(opened, prepared, cpu).loader
    rows = np.unique(np.linspace(0, len(feed.dataset) - 1, count).astype(np.int64))
    inputs, target = feed.dataset.take(rows, cpu)
    assert target is not None
    versions = [_describe_batch(prepared, inputs, target.numpy())]
    for epoch in range(epochs):
        batch = feed.take(rows, epoch, cpu)
        versions.append(_describe_batch(prepared, batch.inputs, batch.target.numpy()))
    return [
        AugmentedSample(f"training sample {row + 1}", tuple(column[position] for column in versions))
        for position, row in enumerate(rows)
    ]


def _describe_batch(prepared: FittedPreprocessing, inputs: "Tensors", target: np.ndarray) -> "list[SampleVersion]":
    from danlu.reporting.augmentation_preview import SampleVersion

    answers = [_describe_target(prepared, value) for value in target]
    if "image" in inputs:
        images = inputs["image"].permute(0, 2, 3, 1).numpy()
        return [SampleVersion(answer, image=image) for answer, image in zip(answers, images, strict=True)]
    fields = (
        _describe_tokens(prepared, inputs) if "input_ids" in inputs else _describe_cells(prepared, inputs, len(target))
    )
    return [SampleVersion(answer, fields=field) for answer, field in zip(answers, fields, strict=True)]


def _describe_target(prepared: FittedPreprocessing, value: np.ndarray) -> str:
    """Describe a target: a label, mixed labels with their shares, or a number."""
    if not isinstance(prepared.target, ClassTarget):
        if isinstance(prepared.target, MultiLabelTarget):
            shares = zip(value, prepared.target.labels, strict=True)
            told = [label if share > 0.995 else f"{share:.0%} {label}" for share, label in shares if share > 0.005]
            return " + ".join(told) or "none"
        return f"{prepared.target.decode(np.array([[value]]))['prediction'][0]:.4g}"
    labels = prepared.target.labels
    if value.ndim == 0:
        return str(labels[int(value)])
    largest = [index for index in np.argsort(-value) if value[index] > 0.005]
    if len(largest) == 1:
        return str(labels[largest[0]])
    return " + ".join(f"{value[index]:.0%} {labels[index]}" for index in largest)


def _describe_tokens(prepared: FittedPreprocessing, inputs: "Tensors") -> list[dict[str, str]]:
    """Decode tokens one by one, separated by spaces, so that deletions and swaps are visible."""
    assert isinstance(prepared.preprocessor, TextPreprocessor)
    tokenizer = prepared.preprocessor.tokenizer.open()
    found: list[dict[str, str]] = []
    for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
        pieces = (tokenizer.decode([int(token)], skip_special_tokens=False).strip() for token in ids[mask.bool()])
        found.append({"tokens": " ".join(piece for piece in pieces if piece)})
    return found


def _describe_cells(prepared: FittedPreprocessing, inputs: "Tensors", count: int) -> list[dict[str, str]]:
    """Describe table rows by prepared numbers and category names."""
    form = prepared.preprocessor
    assert isinstance(form, TabularPreprocessor)
    found: list[dict[str, str]] = [{} for _ in range(count)]
    for position, fields in enumerate(found):
        for index, name in enumerate(form.names[: form.inputs.numeric]):
            fields[name] = f"{float(inputs['numeric'][position, index]):.2f}"
        for index, category in enumerate(form.embedded):
            fields[category.column] = category.names[int(inputs["categories"][position, index])]
    return found
