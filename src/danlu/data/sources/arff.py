"""Weka's ARFF, dense: a header of typed attributes, then a row a line; `?` is a gap.

scipy's reader is not used: it takes the quotes of the first row for those of all, and no words beyond ASCII.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from danlu.data.file_form import ReadOptions, ReadTable
from danlu.errors import DataError

QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
ATTRIBUTE = re.compile(rf"@attribute\s+({QUOTED}|[^\s{{]+)\s*(.+)", re.IGNORECASE)
VALUE = re.compile(rf"\s*({QUOTED}|(?!['\"])[^,]*)\s*(?:,|$)")
ESCAPED = re.compile(r"\\(.)")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
NUMBERS = ("numeric", "real", "integer")
USUAL_DATE = "yyyy-MM-dd'T'HH:mm:ss"
# Java's letters for the parts of dates, and strptime's.
DATE_PARTS = {"yyyy": "%Y", "yy": "%y", "MMM": "%b", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
DATE_PART = re.compile(r"'([^']*)'|(yyyy|yy|MMM|MM|dd|HH|mm|ss)|(.)")


@dataclass(frozen=True)
class _Attribute:
    """Describe one column: its name, its type, and of dates the form."""

    name: str
    attribute_type: str
    form: str = ""


def read_arff(path: Path, options: ReadOptions) -> ReadTable:
    """Read a dense ARFF file.

    Raises:
        DataError: its rows are sparse, or a line is malformed.
    """
    lines = _lines(path, options.encoding or "utf-8-sig")
    attributes: list[_Attribute] = []
    for number, line in lines:
        word = line.split(maxsplit=1)[0].lower()
        if word == "@data":
            break
        if word == "@attribute":
            attributes.append(_attribute(path, number, line))
    if not attributes:
        raise DataError(f"{path}: names no @attribute; it is not an ARFF file", code="DL202")
    rows = [_row(path, number, line, len(attributes)) for number, line in lines]
    columns = [_column(path, said, [row[at] for row in rows]) for at, said in enumerate(attributes)]
    return ReadTable(pl.DataFrame(columns))


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something, with their numbers."""
    try:
        text = path.read_text(encoding=encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(f"{path}: is not {encoding} ({error}); say data.encoding", code="DL202") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("%"):
            yield number, line.strip()


def _attribute(path: Path, number: int, line: str) -> _Attribute:
    found = ATTRIBUTE.match(line)
    if found is None:
        raise DataError(f"{path}:{number}: is no attribute: write `@attribute NAME TYPE`", code="DL202")
    name, type_ = _plain(found[1]), found[2].strip()
    if type_.startswith("{"):
        return _Attribute(name, "words")
    word, _, form = type_.partition(" ")
    if word.lower() not in (*NUMBERS, "string", "date"):
        raise DataError(f"{path}:{number}: cannot read an attribute of type {word}; leave it out", code="DL202")
    return _Attribute(name, word.lower(), _plain(form.strip()))


def _row(path: Path, number: int, line: str, width: int) -> list[str | None]:
    """Cut a row into its values.

    Sparse rows, as {1 a, 3 b}, are refused: a value that is absent there is the first word of a list, not a gap.
    """
    if line.startswith("{"):
        raise DataError(
            f"{path}:{number}: is a sparse ARFF row; write the rows in full (in Weka, the filter SparseToNonSparse)",
            code="DL202",
        )
    if "'" in line or '"' in line:
        words, at = [], 0
        while at <= len(line) and (found := VALUE.match(line, at)) is not None:
            words.append(found[1].strip())
            at = found.end() if found[0].endswith(",") else len(line) + 1
        if at <= len(line):
            raise DataError(f"{path}:{number}: has a quote that is not closed, or text after it", code="DL204")
    else:
        words = [word.strip() for word in line.split(",")]
    if len(words) != width:
        raise DataError(f"{path}:{number}: has {len(words)} values for {width} attributes", code="DL204")
    return [None if word == "?" else _plain(word) for word in words]


def _plain(word: str) -> str:
    """Return a word without its quotes and escapes."""
    if len(word) < 2 or word[0] not in "'\"":
        return word
    return ESCAPED.sub(lambda found: ESCAPES.get(found[1], found[1]), word[1:-1])


def _column(path: Path, said: _Attribute, values: list[str | None]) -> pl.Series:
    words = pl.Series(said.name, values, dtype=pl.String)
    if said.attribute_type == "date":
        parsed = words.str.strptime(pl.Datetime("us"), _date_form(said.form or USUAL_DATE), strict=False)
        return parsed if parsed.null_count() == words.null_count() else words
    if said.attribute_type not in NUMBERS:
        return words
    numbers = words.cast(pl.Float64, strict=False)
    wrong = words.filter(numbers.is_null() & words.is_not_null())
    if len(wrong):
        raise DataError(f"{path}: column {said.name!r} is {said.attribute_type} and holds {wrong[0]!r}", code="DL211")
    whole = words.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == words.null_count() else numbers


def _date_form(form: str) -> str:
    """Translate Java's form of dates into strptime's."""
    parts = DATE_PART.findall(form.replace("''", "'"))
    return "".join(quoted or DATE_PARTS.get(part, other) for quoted, part, other in parts)
