"""Is a bundle of the form that its manifest says? Foreign and forged ones are refused by name, whatever is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from danlu.artifacts.bundle import Bundle
from danlu.data.kinds.table import get_kind
from danlu.data.reading.reading import Reading
from danlu.errors import ArtifactError, DanluError
from danlu.tasks.table import parse_target


class _Column(BaseModel):
    """Check a column of the manifest."""

    model_config = ConfigDict(extra="allow", strict=True)
    name: str = Field(min_length=1)
    type: str
    reading: dict[str, Any] = Field(default_factory=dict)


class _FileReading(BaseModel):
    """Check how files are read."""

    model_config = ConfigDict(extra="allow", strict=True)
    missing_values: list[str] = Field(default_factory=list)
    encoding: str | None = None
    skip_rows: int | None = Field(default=None, ge=0)
    target: list[_Column] = Field(default_factory=list)


@contextmanager
def refuse_malformed(bundle: Bundle) -> Iterator[None]:
    """Turn what goes wrong while a bundle is opened into an error that names it.

    Raises:
        ArtifactError: its parts are not of the form that they should have.
    """
    try:
        yield
    except DanluError:
        raise
    except Exception as error:  # its content is foreign: it can be wrong in any way
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise ArtifactError(
            f"{bundle.folder}: cannot be opened, its parts do not fit one another ({told[:300]}); copy the bundle "
            "again, or train again",
            code="DL310",
        ) from error


def check_form(bundle: Bundle) -> None:
    """Raise ArtifactError unless a manifest says of columns, files and answers what can be used."""
    manifest = bundle.manifest
    with refuse_malformed(bundle):
        for column in manifest.columns:
            Reading.model_validate(_Column.model_validate(column).reading)
        for told in _FileReading.model_validate(manifest.reading).target:
            Reading.model_validate(told.reading)
        if manifest.batch_size < 1:
            raise ValueError(f"batch_size is {manifest.batch_size}")
        get_kind(manifest.kind).preprocessor.model_validate(manifest.preprocessing)
        labels = getattr(parse_target(manifest.output), "labels", ())
        if len({type(label) for label in labels}) > 1:
            raise ValueError(f"labels are of several types: {labels[:5]}")
