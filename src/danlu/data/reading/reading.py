"""How one column is read: found out on the training file, kept in the bundle, and used for every later file."""

from danlu.core.component import Frozen
from danlu.data.reading.dates import UNAMBIGUOUS
from danlu.data.reading.numbers import NumberFormat


class Reading(Frozen):
    """Say how the words of a column become values.

    Attributes:
        number: how numbers are written; None for plain ones.
        format: of dates that are words, as `%d/%m/%Y`; a time of day may follow.
        spans: whether numbers are times of day or durations, in seconds; words may be such.
        missing_words: those that occurred and stand for a missing value.
    """

    number: NumberFormat | None = None
    format: str | None = None
    spans: bool = False
    missing_words: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, str]:
        """What a recipe says under `data.columns` to read the column so.

        Empty where it need not say anything.
        """
        if self.format is not None:
            return {} if self.format in UNAMBIGUOUS else {"format": self.format}
        if self.number is None:
            return {}
        return {"decimal": self.number.decimal, "grouping": self.number.grouping}

    def describe(self) -> str:
        """Describe in a few words how the column is read, as `%d/%m/%y; missing: ?`.

        Plain values need none.
        """
        parts = [self.format] if self.format is not None else []
        if self.number is not None:
            parts.append(self.number.example)
        if shown := [word for word in self.missing_words if word]:
            parts.append(f"missing: {', '.join(shown)}")
        return "; ".join(parts)
