"""Find out how a text file is encoded, and give polars a UTF-8 version of it.

Valid UTF-8 is UTF-8, a byte order mark is believed, and of the encodings before Unicode that can decode the whole file
the one is taken that makes it likely words; where several do, the recipe decides.
"""

import codecs
from codecs import BOM_UTF8
from functools import partial
from pathlib import Path

from danlu.artifacts.cache import cached_dir, file_identity
from danlu.core.text import suggestion
from danlu.data.sources.legacy_encoding import LEGACY, legacy_encoding, other_encodings
from danlu.data.sources.text_bytes import BLOCK, UTF_8, broken_place, codec, is_utf_8, read_head
from danlu.errors import DataError

VERSION = 1  # of copies in the cache

# A longer mark may begin with a shorter one.
MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
OTHER_KINDS = (
    (b"PK\x03\x04", "is an archive (or a workbook), not {}; save the table in it as csv"),
    (b"\xd0\xcf\x11\xe0", "is an old workbook or document, not {}; save the table in it as csv"),
    (b"%PDF", "is a PDF document, not {}; save the table in it as csv"),
    (b"PAR1", "is Parquet, not {}; give it the suffix .parquet"),
    (b"\x1f\x8b", "is compressed by gzip; add .gz to its name"),
)


def text_file(path: Path, encoding: str | None, likely: str | None = None) -> tuple[Path, str]:
    """Return a text file that is UTF-8, and the encoding of the given one.

    Args:
        path: the file.
        encoding: as the recipe says; None to find it out.
        likely: the encoding that decides where several fit.

    Returns:
        The file itself if it is UTF-8 without a mark, else a copy in the cache.

    Raises:
        DataError: the encoding is unknown, does not fit, or is not clear.
    """
    found = detect_encoding(path, likely) if encoding is None else _known(path, encoding)
    marked = found == UTF_8 and read_head(path, len(BOM_UTF8)) == BOM_UTF8  # no part of JSON, nor of a text
    return (_converted(path, found) if marked else utf_8_version(path, found)), found


def detect_encoding(path: Path, likely: str | None = None) -> str:
    """Detect the encoding of a text file by trial decoding of all of it.

    Raises:
        DataError: none is likely, or several are.
    """
    head = read_head(path)
    marked = encoding_by_mark(path, head)
    if marked is not None:
        return marked
    return UTF_8 if is_utf_8(path) else legacy_encoding(path, likely)


def doubtful_encodings(path: Path, encoding: str | None, likely: str | None = None) -> dict[str, tuple[str, str]]:
    """Return the encodings that a text file may be of as well, see `other_encodings`.

    Args:
        path: the file.
        encoding: the one that was found; none is in doubt beside UTF-8 and what a mark tells.
        likely: the encoding that decides where several fit.
    """
    if encoding is None or encoding == UTF_8 or encoding_by_mark(path, read_head(path)) is not None:
        return {}
    return other_encodings(path, likely)


def encoding_by_mark(path: Path, head: bytes) -> str | None:
    """Return the encoding that a file's first bytes name, None if they name none.

    Raises:
        DataError: they are those of another kind of file.
    """
    for magic, said in OTHER_KINDS:
        if head.startswith(magic):
            raise DataError(f"{path}: {said.format(path.suffix.lstrip('.'))}", code="DL202")
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    # Text of ASCII alone in two bytes a letter, without a mark: every other byte is zero.
    sample = head[: len(head) // 2 * 2][:4096]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if len(sample) >= 16 and max(even, odd) > 0.4 * len(sample) // 2 and min(even, odd) == 0:
        return "utf-16-be" if even else "utf-16-le"
    return None


def utf_8_version(path: Path, encoding: str) -> Path:
    """Return a UTF-8 version of a text file: itself, or a copy in the cache.

    Raises:
        DataError: the file is not of that encoding, with the line.
    """
    return path if encoding == UTF_8 else _converted(path, encoding)


def _converted(path: Path, encoding: str) -> Path:
    key = [VERSION, file_identity(path), encoding]
    return cached_dir("utf-8", key, partial(_transcode, path, encoding, path.name)) / path.name


def _known(path: Path, encoding: str) -> str:
    """Return a stated encoding's name, UTF-8 by its own, after a look at the file.

    Raises:
        DataError: Python knows no such encoding, or the file begins with another one's mark.
    """
    try:
        name = codecs.lookup(encoding).name
        b"".decode(name)
    except (LookupError, ValueError) as error:
        near = suggestion(encoding, [UTF_8, "utf-16", *(known for known, *_ in LEGACY)])
        raise DataError(f"{path}: data.encoding: no encoding {encoding!r}{near}", code="DL202") from error
    marked = encoding_by_mark(path, read_head(path, 4096))
    if marked and not name.startswith(marked[:6]):
        raise DataError(
            f"{path}:1: is not {encoding}, which data.encoding names: it begins as {marked} does; "
            f"write `data.encoding: {marked}`, or leave it out",
            code="DL202",
        )
    if name.startswith(UTF_8) and not is_utf_8(path):
        _refuse_encoding(path, UTF_8)
    return UTF_8 if name.startswith(UTF_8) else encoding


def _transcode(path: Path, encoding: str, name: str, empty: Path) -> None:
    decoder = codecs.getincrementaldecoder(codec(encoding))()
    try:
        with path.open("rb") as file, (empty / name).open("wb") as copy:
            copy.write(decoder.decode(file.read(BLOCK)).removeprefix("\ufeff").encode(UTF_8))
            while block := file.read(BLOCK):
                copy.write(decoder.decode(block).encode(UTF_8))
            copy.write(decoder.decode(b"", final=True).encode(UTF_8))
    except UnicodeError:
        _refuse_encoding(path, encoding)
        raise


def _refuse_encoding(path: Path, encoding: str) -> None:
    line, byte = broken_place(path, encoding) or (1, 0)
    raise DataError(
        f"{path}:{line}: is not {encoding} (byte {byte}); name its encoding in `data.encoding`, "
        "or leave that out to have it found out",
        code="DL202",
    )
