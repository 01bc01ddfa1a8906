"""Data of a run on disk (split, dropped rows, profile, digest), to reopen the run later on the same rows."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.artifacts.files import FILES, read_frame, read_sealed, require_companion, write_frame, write_sealed
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.artifacts.trials import SEARCH_FILE, is_search
from danlu.data.dataset import Dataset
from danlu.data.interpret import open_dataset
from danlu.data.preprocessing import BLOCK_ROWS
from danlu.data.splits import Split, Splits, TrainSplit
from danlu.errors import ArtifactError, DataError
from danlu.experiment.data_context import DataContext, with_columns
from danlu.recipe.schema import Recipe
from danlu.tasks.preference import FP32_REFERENCE, REFERENCE

END_BYTES = 1024
SOURCE_FILE = "source.parquet"  # rows that were handed over in memory
SPLIT_FILE, DROPPED_FILE, PROFILE_FILE = "split.parquet", "dropped.parquet", "profile.json"
REFERENCE_FILE = "reference.parquet"  # log-probabilities of the DPO reference model
TEACHER_FILE = "teacher.json"  # digest of the model that the run distils
FILES_OF_DATA = (SPLIT_FILE, DROPPED_FILE, SOURCE_FILE, REFERENCE_FILE, TEACHER_FILE)
PARTS = ("train", "validation", "test")


def write_run_data(context: DataContext, run: RunDirectory, balanced: dict[str, Any]) -> None:
    """Write split, dropped rows and profile into a run.

    The profile, which seals the others, comes last.

    Args:
        balanced: class counts after balancing, for the profile; empty if nothing was balanced.
    """
    parts = pl.concat(
        [
            pl.DataFrame({"row": part.rows, "part": pl.Series([name] * len(part.rows), dtype=pl.String)})
            for name, part in context.splits.items()
        ]
    ).sort("row")
    write_frame(run.path / "data" / SPLIT_FILE, parts)
    write_frame(run.path / "data" / DROPPED_FILE, context.dropped)
    names = set(context.dataset.frame.columns)
    if set(REFERENCE) <= names:  # bundles are judged in fp32, whatever they were trained in
        kept = FP32_REFERENCE if set(FP32_REFERENCE) <= names else REFERENCE
        found = context.dataset.frame.lazy().select(
            pl.col(name).alias(own) for own, name in zip(REFERENCE, kept, strict=True)
        )
        write_frame(run.path / "data" / REFERENCE_FILE, found.collect())
    known = {**context.profile(), "sha256": data_digest(context.dataset, context.dataset.frame.height)}
    if balanced:
        known["target"]["balanced"] = balanced
    if context.dataset.kind.generates_text or context.dataset.task.is_trained_on_pairs:  # they have a chat template
        known["date"] = context.date
    write_profile(run, known)


def write_profile(run: RunDirectory, known: dict[str, Any]) -> None:
    """Write profile.json with the checksums of all files of the data."""
    folder = run.path / "data"
    plain = {key: value for key, value in known.items() if key != FILES}
    write_sealed(folder / PROFILE_FILE, plain, [folder / name for name in FILES_OF_DATA])


def read_profile(run: RunDirectory) -> dict[str, Any]:
    """Read profile.json.

    Raises:
        ArtifactError: it is missing or was changed.
    """
    return read_sealed(run.path / "data" / PROFILE_FILE)


def read_data_frame(run: RunDirectory, name: str) -> pl.DataFrame:
    """Read a parquet file of a run's data and verify it by the profile.

    Raises:
        ArtifactError: it is missing or was changed.
    """
    return read_frame(_data_file(run, name))


def _data_file(run: RunDirectory, name: str) -> Path:
    return require_companion(run.path / "data" / PROFILE_FILE, read_profile(run), run.path / "data" / name)


def read_parts(run: RunDirectory) -> dict[str, np.ndarray]:
    """Read the rows of each split of a run.

    Raises:
        ArtifactError: the file was changed, or a row is in two splits, or is none of the data's.
    """
    parts, rows = read_data_frame(run, SPLIT_FILE), read_profile(run)["rows"]
    file = run.path / "data" / SPLIT_FILE
    try:
        found = {name: parts.filter(pl.col("part") == name)["row"].to_numpy() for name in PARTS}
        listed = np.concatenate([np.unique(found[name]) for name in PARTS])
        sound = sum(map(len, found.values())) == parts.height and len(np.unique(listed)) == len(listed)
        sound = sound and (not len(listed) or (listed.min() >= 0 and listed.max() < rows))
    except (pl.exceptions.PolarsError, TypeError):
        sound = False
    if not sound:
        raise ArtifactError(
            f"{file}: has a row in two splits, or one that the data does not have; restore it, or train again",
            code="DL305",
        )
    return found


def write_source(context: DataContext, run: RunDirectory) -> DataContext:
    """Write rows that were handed over in memory into a run; return `with_written_source`.

    From then on everything reads a file, as if the recipe had named one from the start.
    """
    if context.unwritten is not None:
        write_frame(run.path / "data" / SOURCE_FILE, context.unwritten)
    return with_written_source(context, run)


def with_written_source(context: DataContext, run: RunDirectory) -> DataContext:
    """Name the run's file as the source of rows that were handed over in memory."""
    if context.unwritten is None:
        return context
    path = (run.path / "data" / SOURCE_FILE).resolve()
    asked = context.requested_recipe
    return replace(
        context,
        recipe=_with_source(context.recipe, path),
        requested_recipe=None if asked is None else _with_source(asked, path),
        dataset=replace(context.dataset, origin=str(path), folder=path.parent),
        unwritten=None,
    )


def _with_source(recipe: Recipe, path: Path) -> Recipe:
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"source": str(path)})})


def load_run_data(recipe: Recipe, run: RunDirectory) -> DataContext:
    """Load the data of a run with the split that the run used.

    Rows that were handed over in memory are read from the run, wherever it has been moved.

    Raises:
        DataError: the rows have changed; rows appended since do not matter.
        ArtifactError: the run's split file is missing.
    """
    known, chosen = read_profile(run), read_parts(run)
    own = _data_file(run, SOURCE_FILE).resolve()
    recipe = _with_source(recipe, own) if own.is_file() else recipe
    dataset = open_dataset(recipe.data, recipe.evaluation.fold_columns)
    if dataset.frame.height < known["rows"]:
        raise DataError(
            f"{dataset.origin}: has {dataset.frame.height} rows now, fewer than when {run.path} was trained; restore "
            "the data as it was, or train again",
            code="DL260",
        )
    # The resolved recipe names the task; why it is that one was found out when the run began.
    dataset = replace(dataset, task_reason=known.get("task_reason", dataset.task_reason))
    if data_digest(dataset, known["rows"]) != known.get("sha256"):
        raise DataError(
            f"{dataset.origin}: has changed since {run.path} was trained, so training rows could end up in the test "
            "split; restore the data as it was, or train again",
            code="DL260",
        )
    train, validation, test = (Split(rows, dataset.frame) for rows in chosen.values())
    splits = Splits(TrainSplit(train.rows, train.table), validation, test)
    dropped = read_data_frame(run, DROPPED_FILE)
    base = load_run_recipe(run.path / SEARCH_FILE) if is_search(run.path) else None
    context = DataContext(recipe, dataset, splits, (), dropped, base)
    return replace(context, date=known.get("date", context.date))


def with_stored_reference(context: DataContext, run: RunDirectory) -> DataContext:
    """Add the stored reference log-probabilities if the task is preference.

    Raises:
        ArtifactError: the file is missing in the run.
    """
    if not context.dataset.task.is_trained_on_pairs:
        return context
    known = read_data_frame(run, REFERENCE_FILE)
    # Rows appended since are in no split and have no log-probabilities.
    return with_columns(context, pl.concat([known, known.clear(context.dataset.frame.height - known.height)]))


def data_digest(dataset: Dataset, rows: int) -> str:
    """Return the SHA-256 of the target and the used columns of the first rows.

    Hashed as CSV, so that it does not depend on the file format. Image files add their sizes and ends.
    """
    names = [*(column.name for column in dataset.used), *filter(None, [dataset.target])]
    digest = hashlib.sha256()
    for block in Split(np.arange(rows), dataset.frame).iter_blocks(names, BLOCK_ROWS):
        plain = block.with_columns(values.bin.encode("hex") for values in block if values.dtype == pl.Binary)
        plain = plain.with_columns(values.dt.total_microseconds() for values in block if values.dtype == pl.Duration)
        digest.update(plain.write_csv().encode())
        if dataset.kind.refers_to_files and block[dataset.content].dtype == pl.String:
            for path in block[dataset.content].drop_nulls():
                digest.update(_file_fingerprint(dataset.folder / str(path)))
    return digest.hexdigest()


def _file_fingerprint(file: Path) -> bytes:
    """Return a file's size, first and last bytes.

    Reading whole images would take as long as an epoch.
    """
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - END_BYTES))
            end = stream.read()
            stream.seek(0)
            return b"%d" % size + stream.read(END_BYTES) + end
    except OSError:  # missing images are reported where images are read
        return b""
