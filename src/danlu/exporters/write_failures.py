"""What libraries raise when they cannot write a file, which is not the system's own error."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from danlu.errors import ArtifactError

SIGNS = ("iostream", "Can't open")  # of OpenVINO


@contextmanager
def translate_write_failures(path: Path) -> Iterator[None]:
    """Turn a library's failure to write into an ArtifactError that says the cure."""
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in SIGNS):
            raise
        raise ArtifactError(
            f"{path.name}: cannot be written ({str(error).splitlines()[0]}); free some space, or choose another folder",
            code="DL306",
        ) from error
