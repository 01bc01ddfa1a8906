"""Is a bundle of the form that its manifest says? Foreign and forged ones are refused by name, whatever is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

from danlu.artifacts.bundle import Bundle, open_bundle
from danlu.artifacts.files import StrPath
from danlu.data.kinds.table import get_kind
from danlu.data.reading.reading import Reading
from danlu.errors import ArtifactError, DanluError
from danlu.tasks.table import parse_target


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


def open_checked(path: StrPath) -> Bundle:
    """Open a bundle, or that of a run, with a usable manifest.

    It says of columns, files and answers what can be used.

    Whoever opens a bundle that somebody names opens it here.

    Raises:
        ArtifactError: there is none, it is damaged or was changed, is of another form, or a newer danlu wrote it.
    """
    bundle = open_bundle(path)
    manifest = bundle.manifest
    with refuse_malformed(bundle):
        for told in (*manifest.columns, *manifest.reading.get("target", ())):
            Reading.model_validate(told.get("reading", {}))
        get_kind(manifest.kind).preprocessor.model_validate(manifest.preprocessing)
        labels = getattr(parse_target(manifest.output), "labels", ())
        if len({type(label) for label in labels}) > 1:
            raise ValueError(f"labels are of several types: {labels[:5]}")
    bundle.reference()
    return bundle
