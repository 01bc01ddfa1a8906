"""How one column is read: found out on the training file, kept in the bundle, and used for every later file."""

from danlu.core.component import Frozen
from danlu.data.reading.numbers import NumberFormat


class Reading(Frozen):
    """Say how the words of a column become values.

    Attributes:
        number: how numbers are written; None for plain ones.
        format: of dates that are words, as `%d/%m/%Y`; a time of day may follow.
        missing_words: those that occurred and stand for a missing value.
    """

    number: NumberFormat | None = None
    format: str | None = None
    missing_words: tuple[str, ...] = ()
