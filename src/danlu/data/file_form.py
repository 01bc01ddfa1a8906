"""How files are read: what a recipe or a bundle says of it, and what was found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from danlu.data.frames import Table

MISSING_WORDS = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?")


@dataclass(frozen=True)
class ReadOptions:
    """Say how files are read.

    Attributes:
        missing_values: words that stand for a missing value.
        encoding: of text files; None to find it out.
        likely_encoding: the one that decides where several fit: a model's training file was written so.
        skip_rows: lines above the header of separated values; None to find it out.
        words: columns that keep the spelling of the file.
        class_folder: the level of the folders that name the classes of images; None to find it out.
        labels: classes that a model knows; they tell which folders of images are classes.
        labelled: whether answers are read; to predict, folders of images need not be classes.
        part: the sheet of a workbook, table of a database or file of an archive, as `path::PART` chooses it.
        most_bytes: of a table in memory; a larger one stays on disk. None for the most that training takes.
    """

    missing_values: tuple[str, ...] = MISSING_WORDS
    encoding: str | None = None
    skip_rows: int | None = None
    words: frozenset[str] = frozenset()
    class_folder: int | None = None
    labels: frozenset[str] = frozenset()
    labelled: bool = True
    likely_encoding: str | None = None
    part: str | None = None
    most_bytes: int | None = None


def spelled_missing(words: Sequence[str]) -> list[str]:
    """Return words for a missing value as cells spell them, with white space around.

    As in `1, ?, 2`. Stripping every value instead takes longer than reading the file.
    """
    around = ("", " ", "  ", "\t")
    return list(dict.fromkeys(f"{before}{word}{behind}" for word in words for before in around for behind in around))


@dataclass(frozen=True)
class FileForm:
    """Say how a file was read, for `danlu check`.

    Attributes:
        encoding: of a text file, as Python names it.
        separator: of separated values.
        skipped_rows: lines above the header.
        unread: files of a folder that were not read, counted by suffix.
        missing_words: of separated values, those that stand for a missing value, by column.
        text_is_clean: whether such words have been taken out of columns of text.
        other_encodings: that the text may be of as well, each with a word as it was read and as it would be.
        one_encoding: whether all files of a table are of the same.
        is_json: whether a file is JSON, which has no type for times and durations.
    """

    encoding: str | None = None
    separator: str | None = None
    skipped_rows: int = 0
    unread: dict[str, int] = field(default_factory=dict)
    missing_words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    text_is_clean: bool = False
    other_encodings: dict[str, tuple[str, str]] = field(default_factory=dict)
    one_encoding: bool = True
    is_json: bool = False


def merge_forms(forms: Sequence[FileForm]) -> FileForm:
    """Return the form of files that are one table.

    It is that of the first, with what any of them left out.
    """
    unread = Counter[str]()
    absent: dict[str, set[str]] = {}
    for form in forms:
        unread.update(form.unread)
        for name, words in form.missing_words.items():
            absent.setdefault(name, set()).update(words)
    missing_words = {name: tuple(sorted(found)) for name, found in absent.items()}
    return replace(
        forms[0],
        unread=dict(unread),
        missing_words=missing_words,
        text_is_clean=all(form.text_is_clean for form in forms),
        other_encodings={name: pair for form in reversed(forms) for name, pair in form.other_encodings.items()},
        one_encoding=all(form.one_encoding and form.encoding == forms[0].encoding for form in forms),
        is_json=any(form.is_json for form in forms),
    )


@dataclass(frozen=True)
class ReadTable:
    """Hold the rows of a file, and how it was read.

    Attributes:
        frame: one sample per row.
        form: how the file was read.
        target: the column to predict, where the format itself says it.
        added: columns that the program which wrote the file added, or that no model can use, each with the key of its
            reason.
    """

    frame: Table
    form: FileForm = field(default_factory=FileForm)
    target: str | None = None
    added: Mapping[str, str] = field(default_factory=dict)
