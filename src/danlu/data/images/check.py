"""Which images of a set cannot be read, and why. Changes nothing; looks at many at once."""

from collections.abc import Callable, Sequence
from pathlib import Path

from danlu.core.ahead import ahead
from danlu.core.console import progress
from danlu.core.errors import DataError
from danlu.core.threads import usable_cores
from danlu.data.images.decode import Reference, decode, verify

LEAST = 1  # pixels that decoding must leave: JPEG is read whole, but worked out at an eighth of its size


def unreadable(references: Sequence[Reference], folder: Path) -> list[tuple[int, str]]:
    """Row and reason of every image that cannot be decoded to its end."""
    return _refused(references, lambda reference: decode(reference, folder, LEAST))


def suspicious(references: Sequence[Reference], folder: Path) -> list[tuple[int, str]]:
    """Row and reason of every image whose header, checksums or end are wrong.

    Several times quicker than decoding and never wrong about what it lists, but damage inside may escape it.
    """
    return _refused(references, lambda reference: verify(reference, folder))


def _refused(references: Sequence[Reference], read: Callable[[Reference], object]) -> list[tuple[int, str]]:
    def reason(reference: Reference) -> str | None:
        try:
            read(reference)
        except DataError as error:
            return str(error)
        return None

    found: list[tuple[int, str]] = []
    with progress("looking at images", len(references), "images") as bar:
        for row, message in enumerate(ahead(reason, references, usable_cores(), most=256)):
            if message is not None:
                found.append((row, message))
            bar.advance(1)
    return found
