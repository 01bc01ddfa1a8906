"""Names of columns: without blanks around them, whatever wrote them; some that polars would read as something else."""

from collections import Counter
from collections.abc import Iterable, Sequence

from danlu.data.frames import Table, collect_like
from danlu.errors import DataError


def refuse_patterns(names: Iterable[str], origin: str) -> None:
    """Raise DataError for column names that polars would read as patterns.

    Such a name would stand for other columns too.
    """
    for name in names:
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise DataError(
                f"{origin}: the column name {name!r} is a pattern for several columns; rename it", code="DL213"
            )


def trimmed_names(names: Sequence[str], origin: str) -> tuple[str, ...]:
    """Return column names without blanks around them; a name of blanks alone stays.

    Raises:
        DataError: two become one.
    """
    trimmed = tuple(name.strip() or name for name in names)
    counts = Counter(short for short in trimmed if short.strip())
    twice = next((short for short, count in counts.items() if count > 1), None)
    if twice is not None:
        first, second, *_ = (name for name, short in zip(names, trimmed, strict=True) if short == twice)
        raise DataError(
            f"{origin}: the column names {first!r} and {second!r} are one without the blanks around them; rename one",
            code="DL204",
        )
    return trimmed


def with_trimmed_names(frame: Table, origin: str) -> Table:
    """Return a table whose column names have no blanks around them.

    Raises:
        DataError: two names become one.
    """
    return _renamed(frame, dict(zip(frame.columns, trimmed_names(frame.columns, origin), strict=True)))


def with_blanks_of(frame: Table, known: Iterable[str]) -> Table:
    """Return a table with a model's names, which in older bundles have blanks around them."""
    return _renamed(frame, blanks_of(frame.columns, known))


def blanks_of(names: Sequence[str], known: Iterable[str]) -> dict[str, str]:
    """Return the names that a model knows with blanks around them, by those without."""
    blank = {name.strip(): name for name in known if name.strip() != name and name not in names}
    return {short: name for short, name in blank.items() if short in names}


def _renamed(frame: Table, names: dict[str, str]) -> Table:
    changed = {name: short for name, short in names.items() if short != name}
    return collect_like(frame, frame.lazy().rename(changed)) if changed else frame
