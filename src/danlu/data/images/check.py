"""Find the images of a set that cannot be read, and why. Changes nothing; looks at many at once."""

from collections.abc import Callable, Sequence
from pathlib import Path

from danlu.core.ahead import prefetch
from danlu.core.console import progress
from danlu.core.errors import DataError
from danlu.core.threads import usable_cores
from danlu.data.images.decode import Reference, decode, verify

SMALLEST_DECODE = 1  # smallest side that decoding must keep: JPEG is read whole, but decoded at an eighth of its size


def find_unreadable(references: Sequence[Reference], folder: Path) -> list[tuple[int, str]]:
    """Return row and reason of every image that cannot be decoded to its end."""
    return _collect_errors(references, lambda reference: decode(reference, folder, SMALLEST_DECODE))


def find_suspicious(references: Sequence[Reference], folder: Path) -> list[tuple[int, str]]:
    """Return row and reason of every image with a wrong header, checksum or end.

    Several times quicker than decoding and never wrong about an image that it lists, but damage inside may escape it.
    """
    return _collect_errors(references, lambda reference: verify(reference, folder))


def _collect_errors(references: Sequence[Reference], read: Callable[[Reference], object]) -> list[tuple[int, str]]:
    def reason(reference: Reference) -> str | None:
        try:
            read(reference)
        except DataError as error:
            return str(error)
        return None

    found: list[tuple[int, str]] = []
    with progress("looking at images", len(references), "images") as bar:
        for row, message in enumerate(prefetch(reason, references, usable_cores(), max_pending=256)):
            if message is not None:
                found.append((row, message))
            bar.advance(1)
    return found
