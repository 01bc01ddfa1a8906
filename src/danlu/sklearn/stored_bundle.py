"""A bundle as the bytes of its files, so that a fitted estimator can be copied, sent to a process and stored.

In: a bundle's folder. Out: file name -> bytes, and from these the Predictor again, verified as any bundle is.
"""

import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.artifacts.bundle import MANIFEST
from danlu.models.bundle_form import open_checked

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor

Files = Mapping[str, bytes]


def read_files(bundle: Path) -> dict[str, bytes]:
    """Read the files of a bundle by their paths inside it."""
    return {name: (bundle / name).read_bytes() for name in sorted((MANIFEST, *open_checked(bundle).manifest.files))}


def open_files(files: Files) -> "Predictor":
    """Open a bundle from the bytes of its files.

    Raises:
        ArtifactError: they are damaged, or their answers to the golden samples have changed.
        MissingExtra: the model needs packages that are not installed.
    """
    from danlu.models.predictor import Predictor

    kept = tempfile.TemporaryDirectory(prefix="danlu-bundle-")
    folder = Path(kept.name)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    predictor = Predictor.load(folder, own_code=True)  # who unpickles an estimator has trusted it with code already
    weakref.finalize(predictor, kept.cleanup)  # `Predictor.model` may read the weights later
    return predictor
