"""Atomic files and folders: written aside, flushed to disk, renamed. Also checksums, JSON, JSON lines, parquet."""

import errno
import hashlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
    errno.EFBIG: "files may not be so large here; raise the limit (ulimit -f), or choose another folder with --output",
    errno.ENOTDIR: "a part of the path is a file; choose another folder with --output",
}

LEFTOVER = ".partial"  # the end of the name of what is being written, or was when its process died
DIGEST, FILES, CHECK = "digest", "files", "check"  # of a sealed JSON file; of its companions; of a line of a log

OS_ERROR = re.compile(r"os error (\d+)")  # as Rust says the system's errors

FILE_TIMEOUT_S, POLL_INTERVAL_S = 600.0, 0.02  # how long, and how often, a process polls for another's file


@contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Turn failures to write below `path` into an ArtifactError that says what to do."""
    try:
        yield
    except OSError as error:
        raise _cannot_be_written(path, error.errno or 0, error.strerror or str(error)) from error
    except Exception as error:  # safetensors and polars wrap the system's error in their own classes
        said = OS_ERROR.search(str(error))
        if said is None:
            raise
        raise _cannot_be_written(path, int(said[1]), os.strerror(int(said[1]))) from error


def _cannot_be_written(path: Path, number: int, reason: str) -> ArtifactError:
    cure = WRITE_HINTS.get(number, "choose another folder with --output")
    return ArtifactError(f"{path}: cannot be written: {reason}; {cure}", code="DL306")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: readers see the old content or the new, never a part."""
    write_together(path.parent, {path.name: content})


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files that belong together: all or none, even if the process is killed.

    All are flushed to disk under other names first. Of several, the last (JSON that lists the SHA-256 of the others) is
    renamed to `.NAME.ready`, which decides that they will be written: `finish_together` completes what a killed
    process had decided.
    """
    names = list(contents)
    asides = {name: _aside(folder, name) for name in names}
    decided = _ready(folder, names[-1])
    with translate_write_errors(folder / names[-1]):
        try:
            for name, content in contents.items():
                with asides[name].open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            if len(names) == 1:
                asides[names[0]].replace(folder / names[0])
                return
            asides[names[-1]].replace(decided)
        except BaseException:
            for aside in asides.values():
                aside.unlink(missing_ok=True)
            raise
        for name in names[:-1]:
            asides[name].replace(folder / name)
        decided.replace(folder / names[-1])


def finish_together(folder: Path, last: str) -> None:
    """Finish `write_together` where a killed process had decided to write; else do nothing.

    Args:
        folder: of the files.
        last: the JSON file that was to be written last, whose `files` lists the SHA-256 of the others.
    """
    ready = _ready(folder, last)
    if not ready.is_file():
        return
    with translate_write_errors(folder / last):
        for name, expected in _listed(ready).items():
            aside = _aside(folder, name)
            with suppress(FileNotFoundError):  # another process finishes this, too
                if aside.is_file() and sha256(aside) == expected:
                    aside.replace(folder / name)
        with suppress(FileNotFoundError):
            ready.replace(folder / last)


def _listed(sealed: Path) -> dict[str, str]:
    """Return the files beside it that a JSON file lists.

    Those elsewhere were not written with it.
    """
    content = read_json(sealed)
    listed = content.get(FILES) if isinstance(content, dict) else None
    if not isinstance(listed, dict):
        raise ArtifactError(f"{sealed}: lists no files; do not use this folder", code="DL303")
    return {name: expected for name, expected in listed.items() if Path(name).name == name}


def _aside(folder: Path, name: str) -> Path:
    return (folder / name).with_name(f".{Path(name).name}{LEFTOVER}")


def _ready(folder: Path, name: str) -> Path:
    return folder / f".{name}.ready"


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
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: does not exist; is {path.parent} the right folder?", code="DL301") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number of thousands of digits, too deep
        raise ArtifactError(
            f"{path}: is not JSON ({error}); it is damaged or another kind of file", code="DL303"
        ) from error


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def write_sealed(path: Path, value: Mapping[str, Any], companions: Iterable[Path] = ()) -> None:
    """Write a JSON object with its digest and the SHA-256 of its companions.

    Args:
        path: the file, written after its companions.
        value: its keys.
        companions: files that are read with it; whatever does not exist is left out.
    """
    found = {file.relative_to(path.parent).as_posix(): sha256(file) for file in companions if file.is_file()}
    content = {**value, FILES: found} if found else dict(value)
    write_json(path, {**content, DIGEST: sha256_of_json(content)})


def read_sealed(path: Path) -> dict[str, Any]:
    """Read a JSON object without its digest, which is verified.

    One that has none (an older danlu's, or a person's) is taken as it is.

    Raises:
        ArtifactError: the file is missing, damaged, or was changed.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise ArtifactError(f"{path}: holds no object; it is damaged or another kind of file", code="DL303")
    content = {key: kept for key, kept in value.items() if key != DIGEST}
    if DIGEST in value and value[DIGEST] != sha256_of_json(content):
        raise _changed(path)
    return content


def require_companion(sealed: Path, known: Mapping[str, Any], file: Path) -> Path:
    """Return a file that a sealed one lists, as it was written.

    Raises:
        ArtifactError: it is missing, or was changed.
    """
    listed = known.get(FILES)
    if not isinstance(listed, dict) or not file.is_file():
        return file
    if listed.get(file.relative_to(sealed.parent).as_posix()) != sha256(file):
        raise _changed(file)
    return file


def _changed(path: Path) -> ArtifactError:
    return ArtifactError(
        f"{path}: differs from what was written (SHA-256); restore it from a copy, or make it again", code="DL305"
    )


def read_frame(path: Path) -> "pl.DataFrame":
    """Read parquet.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    import polars as pl

    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else "is damaged or another kind of file"
        raise ArtifactError(f"{path}: {reason}; copy the whole folder again", code="DL303") from error


@contextmanager
def atomic_folder(path: Path, *, replaces: bool = True) -> Iterator[Path]:
    """Yield a folder to fill that takes its name when complete.

    Args:
        path: the folder.
        replaces: whether it may take the place of another; else one that has the name by then is an error.
    """
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
            if replaces and path.exists():
                shutil.rmtree(path)
            aside.rename(path)
            _fsync(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def partial_folder(path: Path) -> Path:
    """Return the temporary folder in which `path` is filled."""
    return path.with_name(f".{path.name}{LEFTOVER}")


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
    """Append one record, with a checksum of its line.

    What a crash left of an earlier line is cut off.

    Raises:
        ArtifactError: it cannot be written.
    """
    with translate_write_errors(file), file.open("ab+") as opened:
        end = opened.seek(0, os.SEEK_END)
        if end:
            opened.seek(end - 1)
            if opened.read(1) != b"\n":
                opened.seek(0)
                whole = b"".join(line + b"\n" for line in _complete_lines(opened.read()))
                opened.truncate(0)
                opened.write(whole)
        opened.write(_checked_line(record))


def _checked_line(record: dict[str, Any]) -> bytes:
    text = json.dumps(record, allow_nan=False, ensure_ascii=False)
    return f'{text[:-1]}{", " if record else ""}"{CHECK}": "{_checksum(record)}"}}\n'.encode()


def _checksum(record: dict[str, Any]) -> str:
    """Return the CRC-32 of a record, which one of 4 billion damaged ones passes."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    """Read the complete lines without their checksums; an empty list if there is no file.

    Lines of a log that an older danlu wrote have none.

    Raises:
        ArtifactError: a line was changed.
    """
    return [record for _, record in _read_lines(file)]


def _read_lines(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return each complete line as written, and its record."""
    if not file.is_file():
        return []
    lines = _complete_lines(file.read_bytes())
    found = [_parse_line(file, number, line) for number, line in enumerate(lines, 1)]
    is_checked = any(CHECK in record for _, record in found)
    for number, (_, record) in enumerate(found, 1):
        if is_checked and record.pop(CHECK, None) != _checksum(record):
            raise _damaged_line(file, number)
    return found


def _complete_lines(content: bytes) -> list[bytes]:
    """Return the lines of a log without one that a crash cut off.

    A line that lost its end alone is whole.
    """
    *lines, rest = content.split(b"\n")
    for line in (rest, rest[:-1]):
        try:
            record = json.loads(line)
            if record.pop(CHECK) == _checksum(record):
                return [*lines, line]
        except (ValueError, RecursionError, AttributeError, KeyError):
            continue
    return lines


def _parse_line(file: Path, number: int, line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        text = line.decode()
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged_line(file, number) from error
    if not isinstance(record, dict):
        raise _damaged_line(file, number)
    return text, record


def _damaged_line(file: Path, number: int) -> ArtifactError:
    return ArtifactError(f"{file}: line {number} differs from what was written; restore it from a copy", code="DL305")


def truncate_jsonl(file: Path, step: int) -> None:
    """Drop the lines after `step`, which a resumed run writes again."""
    if not file.is_file():
        return
    write_text(file, "".join(f"{line}\n" for line, record in _read_lines(file) if record["step"] <= step))
