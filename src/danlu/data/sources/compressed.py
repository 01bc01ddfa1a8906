"""Compressed files: unpacked for as long as they are read, whatever format is inside."""

import bz2
import gzip
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

from danlu.artifacts.cache import cached_dir, file_identity, scratch_folder
from danlu.core.imports import require_extra
from danlu.core.text import suggestion
from danlu.data.sources.scans import LARGE
from danlu.errors import DataError

PACKED = 20  # factor by which text may grow when it is unpacked
ARCHIVES = (".tar", ".tgz", ".tbz2", ".txz")


@contextmanager
def unpacked(path: Path, part: str | None, lasting: bool = False) -> Iterator[Path]:
    """Unpack a file into its own folder, under its name without the last suffix.

    A large one stays in the cache, from where its rows are read.

    Args:
        path: of a suffix in OPENERS.
        part: the file of an archive that is meant; by default its only one.
        lasting: whether it stays in the cache whatever its size.

    Raises:
        DataError: it is damaged, or it holds several files.
        MissingExtra: it needs a library that is not installed.
    """
    if path.with_suffix("").suffix.lower() in ARCHIVES:
        raise DataError(
            f"{path}: is an archive of files; unpack it (`tar -xf {path.name}`) and give the folder", code="DL202"
        )

    def unpack(empty: Path) -> None:
        with _opened(path, part) as (name, packed), (empty / name).open("wb") as whole:
            shutil.copyfileobj(packed, whole)

    try:
        if lasting or path.stat().st_size * PACKED > LARGE:
            yield _only_file(cached_dir("unpacked", [file_identity(path), part], unpack))
            return
        with tempfile.TemporaryDirectory(dir=scratch_folder(), ignore_cleanup_errors=True) as folder:
            unpack(Path(folder))
            yield _only_file(Path(folder))
    except (EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is not None:
            raise  # of the disk; those that unpack raise one without a number
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be unpacked: {error}; the file is damaged or cut off", code="DL202")


def _only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


@contextmanager
def _opened(path: Path, part: str | None) -> Iterator[tuple[str, IO[bytes]]]:
    """Open what is inside, with its name."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            member = _chosen(path, part, archive)
            inner = Path(member.filename)
            with archive.open(member) as file:
                yield (inner.name if inner.suffix else f"{inner.name}{path.with_suffix('').suffix}"), file
        return
    with OPENERS[suffix](path) as file:
        yield path.stem, file


def _chosen(path: Path, part: str | None, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the file of an archive that is meant.

    Hidden ones and those of macOS are never meant.
    """
    members = {
        member.filename: member
        for member in archive.infolist()
        if not member.is_dir()
        and not member.filename.startswith("__MACOSX/")
        and not Path(member.filename).name.startswith(".")
    }
    listed = ", ".join(members)
    if part is not None and part not in members:
        raise DataError(f"{path}: holds no file {part!r}{suggestion(part, members)}", code="DL202")
    if not members:
        raise DataError(f"{path}: the archive is empty", code="DL203")
    if part is None and len(members) > 1:
        first = next(iter(members))
        raise DataError(f"{path}: holds several files ({listed}); name one, as {path.name}::{first}", code="DL202")
    found = members[part or next(iter(members))]
    if found.flag_bits & 1:
        raise DataError(f"{path}: {found.filename} is encrypted; unpack it with its password first", code="DL202")
    return found


@contextmanager
def _open_zstandard(path: Path) -> Iterator[IO[bytes]]:
    require_extra("formats", f"{path}: a .zst file", only=("zstandard",))
    import zstandard

    try:
        with zstandard.open(path, "rb") as file:
            yield file
    except zstandard.ZstdError as error:
        raise DataError(f"{path}: cannot be unpacked: {error}", code="DL202") from error


OPENERS: dict[str, Callable[[Path], AbstractContextManager[Any]]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zstandard,
    ".zip": zipfile.ZipFile,
}
