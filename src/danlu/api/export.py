"""`danlu export`: write a bundle's model in its library's own format, verified against the bundle's predictions."""

from pathlib import Path

from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.files import StrPath, atomic_folder
from danlu.core.console import info
from danlu.errors import ArgumentError


def export(bundle: StrPath, folder: str | Path, *, own_code: bool = False) -> Path:
    """Write a bundle's model into a folder that can be read without danlu.

    A transformers model becomes a folder for `from_pretrained`, a timm model weights and config.json in timm's layout,
    boosted trees LightGBM's text file. The folder is read back by that library, if it has a class for the whole model,
    and must reproduce the bundle's golden samples.

    Args:
        bundle: folder of a bundle or a run.
        folder: must not exist yet.
        own_code: import the module that the bundle names, if its model is your own.

    Returns:
        the folder.

    Raises:
        ArgumentError: the folder exists, or the model's library has no format of its own.
        ArtifactError: the bundle is damaged, or the written model predicts something else.

    Example:
        >>> import danlu
        >>> trees = {"name": "trees", "data": {"source": "builtin:wine"}, "model": {"name": "boosting", "rounds": 5}}
        >>> run = danlu.train(trees, name="trees")
        >>> sorted(file.name for file in danlu.export(run, "exported").iterdir())
        ['lightgbm.txt']
    """
    from danlu.exporters.table import exporter_for
    from danlu.models.predictor import Predictor

    target = Path(folder)
    if target.exists():
        raise ArgumentError(f"{target}: exists already; choose another folder", code="DL404")
    opened_bundle = open_bundle(bundle)
    predictor = Predictor.load(opened_bundle, own_code=own_code)
    exporter, golden = exporter_for(predictor.options), opened_bundle.golden()
    with atomic_folder(target) as written:
        exporter.write(predictor, written)
        again = exporter.read(predictor, written)
        if again is not None and golden is not None:
            deviation = predictor.with_model(again).replay(golden)
            info(f"read back, it reproduces the bundle's golden samples (largest difference {deviation:.1g})")
    return target
