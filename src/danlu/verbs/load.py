"""`danlu.load`: a bundle as an object that predicts."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor


def load(bundle: str | Path, own_code: bool = False) -> "Predictor":
    """Open a bundle, or the bundle of a run: checksums verified, golden samples replayed, no code of it run.

    Args:
        bundle: a bundle's or a run's folder.
        own_code: import the module that the bundle names, where its model is a user's own (`own:package.module:name`).

    Returns:
        a Predictor: `predict(frame | images | texts)` answers in a frame, one row a sample.

    Raises:
        ArtifactError: there is no bundle, it is damaged, it no longer answers as it did, or it wants code.
        MissingExtra: its model needs packages that are not installed.
    """
    from danlu.models.predictor import Predictor

    return Predictor.load(bundle, own_code)
