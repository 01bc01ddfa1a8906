"""Names of columns that polars would read as something else."""

from collections.abc import Iterable

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
