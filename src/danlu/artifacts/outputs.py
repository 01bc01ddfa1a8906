"""Files that a verb writes where the user says: never over an input, never over a file unasked, never in part."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import glob
from pathlib import Path

from danlu.artifacts.files import LEFTOVER, translate_write_errors
from danlu.errors import ArgumentError


def refuse_existing_file(path: Path, overwrite: bool) -> None:
    """Raise ArgumentError if a file would be replaced unasked; ask before any work."""
    if path.exists() and not overwrite:
        raise ArgumentError(
            f"{path}: exists already; choose another file with -o, or replace it with --overwrite", code="DL404"
        )
    if path.is_dir():
        raise ArgumentError(f"{path}: is a folder; give a file in it", code="DL402")


def refuse_input(path: Path, source: object) -> None:
    """Raise ArgumentError if a file to be written is one of those that are read.

    Args:
        path: to be written.
        source: a file, folder, glob or archive's part (`FILE::PART`), or several; what is in memory names no file.
    """
    if not path.exists():
        return
    for name in _names(source):
        matched = glob(name, recursive=True)  # noqa: PTH207 - pathlib's takes no absolute pattern
        if any(_holds(found, path) for found in (name, name.partition("::")[0], *matched)):
            raise ArgumentError(f"{path}: is the input itself, which would be lost; choose another file", code="DL402")


def _names(source: object) -> list[str]:
    if isinstance(source, str | os.PathLike):
        return [os.fspath(source)]
    if isinstance(source, Mapping):
        return _names(list(source.values()))
    if isinstance(source, list | tuple):
        return [name for each in source if isinstance(each, str | os.PathLike | list) for name in _names(each)]
    return []


def _holds(input_: str, path: Path) -> bool:
    """Return whether an input is a file, or holds it."""
    found = Path(input_)
    try:
        if found.is_dir():
            return path.resolve().is_relative_to(found.resolve())
        return found.exists() and found.samefile(path)
    except (OSError, ValueError):  # no path at all, such as builtin:wine with a name that is too long
        return False


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; the whole file then takes its name."""
    aside = path.with_name(f".{path.name}.{os.getpid()}{LEFTOVER}")
    with translate_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        try:
            yield aside
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Delete what processes of this machine that died left of the same file."""
    begin, end = f".{path.name}.", LEFTOVER
    for left in path.parent.iterdir():
        number = left.name.removeprefix(begin).removesuffix(end)
        if left.name == f"{begin}{number}{end}" and number.isdigit() and not _is_alive(int(number)):
            left.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
