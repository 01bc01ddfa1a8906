"""Write a trained model as a bundle: with everything it needs to predict raw rows, and what it may tell of its data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.bundle import CONFIG, FORMAT, REFERENCE, REFERENCE_ROWS, Manifest, files_in, write_manifest
from danlu.artifacts.environment import installed_versions
from danlu.artifacts.files import atomic_folder, write_frame, write_json
from danlu.artifacts.run import RunDirectory
from danlu.core.seeds import Seed
from danlu.data.columns import Column
from danlu.data.reading.reading import Reading
from danlu.data.reference import describe_reference, reference_rows
from danlu.errors import ArgumentError
from danlu.experiment.data_context import DataContext
from danlu.experiment.earlier_run import earlier_structure
from danlu.experiment.setup import TrainingSetup
from danlu.models.base import Model

if TYPE_CHECKING:
    from torch import nn


def write_bundle(run: RunDirectory, setup: TrainingSetup, model: "nn.Module") -> None:
    """Write the trained model into the run.

    Raises:
        ArgumentError: a plugin's model wrote its weights elsewhere than it says.
    """
    context, preprocessing = setup.context, setup.preprocessing
    options, batch_size = context.model.portable(), context.recipe.training.batch_size
    assert isinstance(batch_size, int)
    kept = set(preprocessing.preprocessor.columns)
    columns = [column for column in context.dataset.columns if column.name in kept]
    manifest = Manifest(
        format=FORMAT,
        name=context.recipe.name,
        kind=context.dataset.kind.name,
        task=context.dataset.task.name,
        columns=tuple(_describe(column.name, column.type, column.reading) for column in columns),
        reading=_file_reading(context),
        output=preprocessing.target.model_dump(mode="json"),
        positive=preprocessing.target.positive,
        preprocessing=preprocessing.preprocessor.model_dump(mode="json"),
        template_date=context.date if preprocessing.preprocessor.asks_for_date else None,
        batch_size=batch_size,
        structure=earlier_structure(context),
        versions=installed_versions(),
    )
    with atomic_folder(run.model) as folder:
        _write_reference(folder, context, columns)
        write_bundle_files(folder, manifest, options, model)


def write_bundle_files(folder: Path, manifest: Manifest, options: Model, network: "nn.Module") -> None:
    """Write a network's weights, its options, and last the manifest.

    The manifest lists all files of the folder.

    Args:
        folder: exists, and holds what else belongs to the bundle.
        manifest: its files are left to this function.

    Raises:
        ArgumentError: a plugin's model wrote its weights elsewhere than it says.
    """
    options.write_weights(network, folder)
    if not (folder / options.weights_file).is_file():
        raise ArgumentError(
            f"{type(options).__name__}.write_weights wrote no {options.weights_file}; write it, or say the file's "
            "name with weights_file",
            code="DL412",
        )
    write_json(folder / CONFIG, options.model_dump(mode="json"))
    write_manifest(folder, manifest, files_in(folder))


def _describe(name: str, type_: str, reading: Reading) -> dict[str, Any]:
    return {"name": name, "type": type_, "reading": reading.model_dump(mode="json")}


def _file_reading(context: DataContext) -> dict[str, Any]:
    """Return how later files are read, beside what is said of the model's columns."""
    dataset = context.dataset
    missing_values = list(context.recipe.data.missing_values)
    known: dict[str, Any] = {"missing_values": missing_values, "encoding": dataset.form.encoding}
    if context.recipe.data.skip_rows is not None:
        known["skip_rows"] = context.recipe.data.skip_rows
    if worded := {name: reading for name, reading in dataset.target_readings.items() if reading != Reading()}:
        known["target"] = [_describe(name, "number", reading) for name, reading in worded.items()]
    return known


def _write_reference(folder: Path, context: DataContext, columns: list[Column]) -> None:
    """Write what the recipe lets a bundle tell of its training rows."""
    kept, train = context.recipe.bundle.reference, context.splits.train
    if kept == "none":
        return
    write_json(folder / REFERENCE, describe_reference(train, columns))
    rows = reference_rows(train, columns, Seed(context.recipe.seed).derive("reference")) if kept == "rows" else None
    if rows is not None:
        write_frame(folder / REFERENCE_ROWS, rows)
