"""The files of a folder at any depth, images told from others; hidden ones and those of programs are passed over."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from danlu.data.sources.image_files import IMAGE_SUFFIXES, is_decodable

# Folders and files that systems and programs leave behind, beside those whose names begin with a dot.
_LEFT = "@eadir @tmp #recycle #snapshot $recycle.bin __macosx __pycache__ lost+found thumbs.db desktop.ini"
LEFT_BEHIND = frozenset(_LEFT.split())
Parts = tuple[str, ...]  # the names of a path below the source folder


@dataclass(frozen=True)
class FolderTree:
    """Hold what is below a folder, in order of name.

    Attributes:
        root: the folder.
        images: files that can be decoded, or are named like images.
        others: all other files.
        folders: folders at every depth, empty ones too.
    """

    root: Path
    images: tuple[Parts, ...]
    others: tuple[Parts, ...]
    folders: tuple[Parts, ...]

    @cached_property
    def nested(self) -> tuple[Parts, ...]:
        """The images that are in some folder of the source."""
        return tuple(parts for parts in self.images if len(parts) > 1)

    def path(self, parts: Parts) -> str:
        """Return a path that can be opened from here, as the source was given."""
        return str(self.root.joinpath(*parts))


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is passed over by its name."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def read_tree(root: Path, *, any_image: bool = False) -> FolderTree:
    """Look through a folder.

    Args:
        root: the folder.
        any_image: also take files with an image's suffix that cannot be decoded here; each is an error of its row.
    """
    images: list[Parts] = []
    others: list[Parts] = []
    folders: list[Parts] = []
    for parts, entry in _entries(root, (), frozenset([os.path.realpath(root)])):
        if entry.is_dir():
            folders.append(parts)
        elif is_decodable(Path(entry.path)) or (any_image and Path(entry.name).suffix.lower() in IMAGE_SUFFIXES):
            images.append(parts)
        else:
            others.append(parts)
    return FolderTree(root, tuple(images), tuple(others), tuple(folders))


def _entries(folder: Path, above: Parts, parents: frozenset[str]) -> Iterator[tuple[Parts, "os.DirEntry[str]"]]:
    """Yield everything below a folder.

    A link to a folder above it is not followed, or there would be no end.
    """
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if not is_hidden(entry.name)), key=lambda entry: entry.name)
    for entry in entries:
        parts = (*above, entry.name)
        if entry.is_dir():
            real = os.path.realpath(entry.path)
            if real not in parents:
                yield parts, entry
                yield from _entries(Path(entry.path), parts, parents | {real})
        elif entry.is_file():
            yield parts, entry
