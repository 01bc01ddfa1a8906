"""Atomic files and folders: written aside, flushed to disk, renamed. Also checksums, JSON, JSON lines, parquet."""

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.errors import ArtifactError

if TYPE_CHECKING:
    import polars as pl

StrPath = str | os.PathLike[str]  # a path as users give one: text, a Path, or a run (`RunDirectory`)

WRITE_HINTS = {
    errno.ENOSPC: "free some space, or choose another folder with --output",
    errno.EDQUOT: "your quota is used up; free some space, or choose another folder with --output",
    errno.EACCES: "you may not write there; choose another folder with --output",
    errno.EPERM: "you may not write there; choose another folder with --output",
    errno.EROFS: "it cannot be written to; choose another folder with --output",
    errno.ENOTDIR: "a part of the path is a file; choose another folder with --output",
}

FILE_TIMEOUT_S, POLL_INTERVAL_S = 600.0, 0.02  # how long, and how often, a process polls for another's file


@contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Turn failures to write below `path` into an ArtifactError that says what to do."""
    try:
        yield
    except OSError as error:
        cure = WRITE_HINTS.get(error.errno or 0, "choose another folder with --output")
        raise ArtifactError(f"{path}: cannot be written: {error.strerror or error}; {cure}", code="DL306") from error
    except Exception as error:  # safetensors and polars wrap the system's error in their own classes
        if "os error 28" in str(error) or "No space left" in str(error):
            raise ArtifactError(
                f"{path}: cannot be written: the disk is full; {WRITE_HINTS[errno.ENOSPC]}", code="DL306"
            ) from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: readers see the old content or the new, never a part."""
    write_together(path.parent, {path.name: content})


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files that belong together: none takes its name before all are on disk."""
    asides = {name: (folder / name).with_name(f".{Path(name).name}.partial") for name in contents}
    with translate_write_errors(folder / next(iter(contents))):
        try:
            for name, content in contents.items():
                with asides[name].open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            for name, aside in asides.items():
                aside.replace(folder / name)
        finally:
            for aside in asides.values():
                aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_frame(path: Path, frame: "pl.DataFrame") -> None:
    """Write a frame as parquet."""
    write_bytes(path, parquet_bytes(frame))


def parquet_bytes(frame: "pl.DataFrame") -> bytes:
    """Return a frame as the content of a parquet file."""
    content = BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people: indented, keys in the order given, text unescaped."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return a value as the content of a JSON file for people."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ArtifactError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: does not exist; is {path.parent} the right folder?", code="DL301") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path}: is not JSON ({error}); it is damaged or another kind of file", code="DL303"
        ) from error


def read_frame(path: Path) -> "pl.DataFrame":
    """Read parquet.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    import polars as pl

    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else "is damaged or another kind of file"
        raise ArtifactError(f"{path}: {reason}; copy the whole folder again", code="DL303") from error


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill that takes its name when complete, replacing an old one."""
    aside = partial_folder(path)
    with translate_write_errors(path):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    try:
        with translate_write_errors(path):
            yield aside
            for file in aside.rglob("*"):
                if file.is_file():
                    _fsync(file)
            if path.exists():
                shutil.rmtree(path)
            aside.rename(path)
            _fsync(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def partial_folder(path: Path) -> Path:
    """Return the temporary folder in which `path` is filled."""
    return path.with_name(f".{path.name}.partial")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def wait_for_file(file: Path, abort_reason: Callable[[], str | None] = lambda: None) -> None:
    """Wait for a file that another process writes.

    Args:
        abort_reason: asked every second; returns why the file will never come, or None.

    Raises:
        ArtifactError: it did not appear.
    """
    began = asked = time.monotonic()
    while not file.exists():
        now = time.monotonic()
        if now - asked > 1.0:
            reason, asked = abort_reason(), now
            if reason is not None:
                raise ArtifactError(f"{file}: will not be written by another process: {reason}", code="DL307")
        if now - began > FILE_TIMEOUT_S:
            raise ArtifactError(
                f"{file}: another process has not written it within {FILE_TIMEOUT_S:.0f} s; all processes must reach "
                "its folder on one file system",
                code="DL307",
            )
        time.sleep(POLL_INTERVAL_S)


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """Return the SHA-256 of a value as canonical JSON: keys sorted, no spaces, UTF-8."""
    # To JSON and back: keys that are no strings, and tuples, become what a reader of the file will see.
    plain = json.loads(json.dumps(value, allow_nan=False))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def append_jsonl(file: Path, record: dict[str, Any]) -> None:
    """Append one record.

    Raises:
        ArtifactError: it cannot be written.
    """
    with translate_write_errors(file), file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n")


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    """Read the complete lines; an empty list if there is no file."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n")[:-1]]


def truncate_jsonl(file: Path, step: int) -> None:
    """Drop the lines after `step`, which a resumed run writes again."""
    if not file.is_file():
        return
    kept = [line for line in read_jsonl(file) if line["step"] <= step]
    write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
