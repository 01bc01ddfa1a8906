"""`danlu.load`: open a bundle as a `Predictor`."""

from typing import TYPE_CHECKING

from danlu.artifacts.files import StrPath
from danlu.core.arguments import checked

if TYPE_CHECKING:
    from danlu.models.predictor import Predictor


@checked
def load(bundle: StrPath, *, engine: str | None = None, own_code: bool = False) -> "Predictor":
    """Open a bundle, or the bundle of a run.

    Its checksums are verified, its golden samples are replayed, and no code from it is executed.

    Args:
        bundle: folder of a bundle or a run.
        engine: what computes the network, `numpy` or `torch`; by default the bundle's own order decides.
        own_code: import the module that the bundle names, if its model is your own (`own:package.module:name`).

    Returns:
        a Predictor: `predict(frame | images | texts)` returns a frame with one row per sample.

    Raises:
        ArgumentError: there is no such engine, or it cannot answer this bundle.
        ArtifactError: there is no bundle, it is damaged, its predictions have changed, or it needs `own_code`.
        MissingExtra: its model needs packages that are not installed.

    Example:
        >>> import danlu
        >>> model = danlu.load("runs/wine")
        >>> model.target.labels
        ('class_0', 'class_1', 'class_2')
    """
    from danlu.models.predictor import Predictor

    return Predictor.load(bundle, engine=engine, own_code=own_code)
