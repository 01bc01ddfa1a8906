"""Columns that name image files, as people write them: backslashes, no suffix, or below a folder beside the table.

In: a table and its folder. Out: paths relative to that folder that can be opened.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from danlu.data.descriptors import RawData
from danlu.data.sources.folder_tree import is_hidden
from danlu.data.sources.image_files import SUFFIXES, is_decodable
from danlu.errors import DataError

LOOKED_AT = 5  # values that must be image files before a column is taken for paths
LONGEST = 1000  # characters of a path; longer values are texts
MOST_FOLDERS = 32  # beside a table that are searched


@dataclass(frozen=True)
class Places:
    """Find files below a folder; each folder that is asked for is listed once."""

    root: Path
    listed: dict[Path, dict[str, list[str]]] = field(default_factory=dict)

    def find(self, base: str, value: str) -> str | None:
        """Return the image that a value names, relative to the root; else None.

        Raises:
            DataError: the value has no suffix, and several images have that name.
        """
        path = Path(base, value.replace("\\", "/"))
        names = self._stems(self.root / path.parent).get(path.name, [])
        if path.name in names:
            return path.as_posix()
        found = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
        if len(found) > 1:
            raise DataError(
                f"{self.root / path}: several images have that name ({', '.join(found)}); write their suffixes",
                code="DL230",
            )
        return (path.parent / found[0]).as_posix() if found else None

    def _stems(self, folder: Path) -> dict[str, list[str]]:
        """Return the files of a folder by name, and by name without suffix."""
        if folder not in self.listed:
            stems: dict[str, list[str]] = {}
            for name in _file_names(folder):
                stems.setdefault(name, []).append(name)
                if Path(name).stem != name:
                    stems.setdefault(Path(name).stem, []).append(name)
            self.listed[folder] = stems
        return self.listed[folder]


def _file_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())
    except (OSError, ValueError):  # no folder, or no name that one could have
        return []


def names_images(source: RawData) -> bool:
    """Return whether some column of a table names image files."""
    return isinstance(source.frame, pl.DataFrame) and any(
        find_base(values, Places(source.folder)) is not None for values in source.frame if values.dtype == pl.String
    )


def with_image_paths(source: RawData, names: Sequence[str]) -> RawData:
    """Return a source whose columns of image names hold paths that can be opened.

    Args:
        source: a table too large for memory stays as it is.
        names: columns that may name images.

    Raises:
        DataError: a name without suffix stands for several images.
    """
    if not isinstance(source.frame, pl.DataFrame):
        return source
    places, schema = Places(source.folder), source.frame.schema
    changed: list[pl.Series] = []
    for values in source.frame.select([name for name in names if schema[name] == pl.String]):
        base = find_base(values, places)
        if base is not None:
            found = [None if value is None else places.find(base, value) or value for value in values]
            changed.append(pl.Series(values.name, found, dtype=pl.String))
    return replace(source, frame=source.frame.with_columns(changed)) if changed else source


def find_base(values: pl.Series, places: Places) -> str | None:
    """Return the folder that a column's names start from; None if they name no images."""
    present = values.drop_nulls()
    some = present.head(LOOKED_AT).to_list()
    if not some or any(not value or len(value) > LONGEST or "\n" in value for value in some):
        return None
    for base in ("", *_folders(places.root)):
        found = [places.find(base, value) for value in some]
        if all(path is not None and is_decodable(places.root / path) for path in found):
            break
    else:
        return None
    bare = not any(Path(value).suffix.lower() in SUFFIXES or "/" in value or "\\" in value for value in some)
    # A class may have the name of a picture beside it; counting all values takes long, so it comes last.
    return None if bare and present.n_unique() < len(present) / 2 else base


def _folders(root: Path) -> list[str]:
    try:
        found = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name))
    except OSError:
        return []
    return found if len(found) <= MOST_FOLDERS else []
