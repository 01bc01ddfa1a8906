"""Data sets of Hugging Face: folders of `save_to_disk`, and what its files say of their columns.

Class numbers become the words they stand for, embedded files their bytes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from danlu.data.frames import DiskFrame, Table
from danlu.errors import DataError

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"  # files of `save_to_disk`
METADATA_KEY = "huggingface"  # under which its Parquet and Arrow files say what their columns are


def is_saved_dataset(folder: Path) -> bool:
    """Return whether `Dataset.save_to_disk` wrote a folder."""
    return (folder / STATE).is_file() and (folder / INFO).is_file()


def saved_splits(folder: Path) -> tuple[str, ...]:
    """Return the splits in a folder that `DatasetDict.save_to_disk` wrote; none for any other."""
    file = folder / SPLITS
    return tuple(_read_json(file).get("splits") or ()) if file.is_file() else ()


def read_saved_dataset(folder: Path) -> Table:
    """Read a folder that `Dataset.save_to_disk` wrote, in the order of its rows.

    Raises:
        DataError: one of its files is missing.
    """
    state, info = _read_json(folder / STATE), _read_json(folder / INFO)
    frame = _stacked(folder, state.get("_data_files") or ())
    if chosen := state.get("_indices_data_files") or state.get("_indices_files"):  # rows shuffled or selected
        frame = frame[_stacked(folder, chosen).to_series()]
    return plain_features(frame, info.get("features") or {}, folder)


def said_features(text: str | None) -> Mapping[str, Any]:
    """Return what a file's metadata says of its columns, by name; may be empty."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    features = found.get("info", {}).get("features") if isinstance(found, dict) else None
    return features if isinstance(features, dict) else {}


def class_words(values: pl.Expr, names: list[str]) -> pl.Expr:
    """Return the names of class numbers.

    A number without a name (-1, of unlabelled rows) is missing.
    """
    return values.replace_strict(dict(enumerate(names)), default=None, return_dtype=pl.String)


def plain_features(table: Table, features: Mapping[str, Any], folder: Path) -> Table:
    """Name the classes of columns, and take embedded files out of their objects.

    Args:
        table: as it was read.
        features: what the file says of them.
        folder: where the files that rows name by their paths lie.
    """
    changed = [
        expression
        for name, feature in features.items()
        if name in table.schema and (expression := _class_words(name, feature)) is not None
    ]
    changed += [_embedded(table, name, folder) for name, dtype in table.schema.items() if _is_embedded(dtype)]
    if not changed:
        return table
    lazy = table.lazy().with_columns(changed)
    return DiskFrame(lazy, table.height) if isinstance(table, DiskFrame) else lazy.collect()


def _class_words(name: str, feature: Any) -> pl.Expr | None:
    """Return the expression that names the classes of a column.

    It is of one class or a list of them a row; of other columns, None.
    """
    inner = feature[0] if isinstance(feature, list) and feature else feature
    inner = inner.get("feature", inner) if isinstance(inner, Mapping) else inner
    names = inner.get("names") if isinstance(inner, Mapping) and inner.get("_type") == "ClassLabel" else None
    if not names:
        return None
    if inner is feature:
        return class_words(pl.col(name), names)
    return pl.col(name).list.eval(class_words(pl.element(), names))


def _is_embedded(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.Struct) and {part.name for part in dtype.fields} == {"bytes", "path"}


def _embedded(table: Table, name: str, folder: Path) -> pl.Expr:
    """Return the bytes of files where rows hold them, else the paths."""
    held = pl.col(name).struct.field("bytes")
    absent = table.lazy().select((pl.col(name).is_not_null() & held.is_null()).sum()).collect().item()
    if not absent:
        return held.alias(name)
    if absent == table.height - table[name].null_count():
        return pl.col(name).struct.field("path").alias(name)
    files = table[name].to_list()
    content = [file and (file["bytes"] or (folder / file["path"]).read_bytes()) for file in files]
    return pl.lit(pl.Series(name, content, dtype=pl.Binary)).alias(name)


def _stacked(folder: Path, files: Any) -> pl.DataFrame:
    paths = [folder / file["filename"] for file in files]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"{path}: no such file, though {folder / STATE} names it; save the data again", code="DL201"
            )
    if not paths:
        raise DataError(f"{folder / STATE}: names no file of data; save the data again", code="DL203")
    return pl.concat([pl.DataFrame(pl.read_ipc_stream(path)) for path in paths], how="vertical_relaxed")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error})", code="DL202") from None
    return found if isinstance(found, dict) else {}
