"""`danlu export`: a bundle's model in the form of the library that it is of, checked by the bundle's own answers."""

from pathlib import Path

from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.files import whole_folder
from danlu.core.console import say
from danlu.core.errors import ArgumentError


def export(bundle: str | Path, folder: str | Path, own_code: bool = False) -> Path:
    """Write a bundle's model as a folder that needs no danlu to be read.

    A model of transformers becomes a folder for its `from_pretrained`, one of timm weights and config.json as timm
    keeps them, boosted trees LightGBM's text file. What is written is read again by that library, where it has a class
    for all of it, and has to answer the bundle's golden samples as the bundle does.

    Args:
        bundle: a bundle's or a run's folder.
        folder: is not there yet.
        own_code: import the module that the bundle names, where its model is your own.

    Returns:
        the folder.

    Raises:
        ArgumentError: the folder is there, or the model is of no library with a form of its own.
        ArtifactError: the bundle is damaged, or what was written answers otherwise.
    """
    from danlu.models.predictor import Predictor

    target = Path(folder)
    if target.exists():
        raise ArgumentError(f"{target} is there already; name a folder that is not")
    opened = open_bundle(bundle)
    predictor = Predictor.verified(opened, own_code)
    golden = opened.golden()
    with whole_folder(target) as written:
        predictor.options.write_native(predictor.model, written, predictor)
        again = predictor.options.read_native(written, predictor)
        if again is not None and golden is not None:
            deviation = predictor.with_model(again).replay(golden)
            say(f"read again, it answers the golden samples as the bundle does (off by {deviation:.1g})")
    return target
