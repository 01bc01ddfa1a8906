"""How files are read: what a recipe or a bundle says of it, and what was found."""

from dataclasses import dataclass, field

from danlu.data.frames import Table

MISSING_WORDS = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?")


@dataclass(frozen=True)
class ReadOptions:
    """Say how files are read.

    Attributes:
        missing_values: words that stand for a missing value.
        encoding: of text files; None to find it out.
        skip_rows: lines above the header of separated values; None to find it out.
        words: columns read as they are written, whatever they look like; None for all of them.
    """

    missing_values: tuple[str, ...] = MISSING_WORDS
    encoding: str | None = None
    skip_rows: int | None = None
    words: frozenset[str] | None = frozenset()

    def as_words(self, name: str) -> bool:
        """Return whether a column is read as it is written."""
        return self.words is None or name in self.words


@dataclass(frozen=True)
class FileForm:
    """Say how a file was read, for `danlu check`.

    Attributes:
        encoding: of a text file, as Python names it.
        separator: of separated values.
        skipped_rows: lines above the header.
        unread: files of a folder that were not read, counted by suffix.
    """

    encoding: str | None = None
    separator: str | None = None
    skipped_rows: int = 0
    unread: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadTable:
    """Hold the rows of a file, and how it was read."""

    frame: Table
    form: FileForm = field(default_factory=FileForm)
