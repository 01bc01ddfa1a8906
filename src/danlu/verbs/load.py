"""`danlu.load`: a bundle as an object that predicts."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor


def load(bundle: str | Path) -> "Predictor":
    """Open a bundle, or the bundle of a run; its checksums are verified and no code of it is run.

    Args:
        bundle: a bundle's or a run's folder.

    Returns:
        a Predictor: `predict(frame | images | texts)` answers in a frame, one row a sample.

    Raises:
        ArtifactError: there is no bundle, or it is damaged.
        MissingExtra: its model needs packages that are not installed.
    """
    from danlu.models.predictor import Predictor

    return Predictor.load(bundle)
