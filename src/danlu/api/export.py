"""`danlu export`: write a bundle's model in its library's own format, verified against the bundle's predictions."""

from pathlib import Path

from danlu.artifacts.bundle import open_bundle
from danlu.artifacts.files import StrPath, atomic_folder
from danlu.core.console import info
from danlu.errors import ArgumentError


def export(bundle: StrPath, folder: str | Path, *, to: str | None = None, own_code: bool = False) -> Path:
    """Write a bundle's model into a folder that can be read without danlu.

    A transformers model becomes a folder for `from_pretrained` and `pipeline`, a pooled encoder one for
    sentence-transformers, a timm model weights and config.json in timm's layout, boosted trees LightGBM's text file.
    The temperature and the target's mean and deviation are in the weights where those can hold them; `danlu.json`,
    beside the files, names what is inside and what is not. The folder is read back by that library and must reproduce
    the bundle's golden samples.

    Args:
        bundle: folder of a bundle or a run.
        folder: must not exist yet.
        to: transformers, sentence-transformers, timm or lightgbm; by default the model's own library.
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
        ['README.md', 'danlu.json', 'lightgbm.txt']
    """
    from danlu.exporters.document import compare_answers, describe_export, write_documents
    from danlu.exporters.table import EXPORTERS, choose_format
    from danlu.models.answer_folding import unfolded
    from danlu.models.predictor import Predictor

    target = Path(folder)
    if target.exists():
        raise ArgumentError(f"{target}: exists already; choose another folder", code="DL404")
    opened_bundle = open_bundle(bundle)
    predictor = Predictor.load(opened_bundle, own_code=own_code)
    golden, name = opened_bundle.golden(), choose_format(predictor, to)
    exporter, check = EXPORTERS[name], None
    with atomic_folder(target, replaces=False) as written:
        placement = exporter.write(predictor, written)
        again = exporter.read(predictor, written)
        if again is None:
            info(f"not compared with the bundle: {exporter.package} is not installed here")
        elif golden is not None:
            read_back = predictor.with_model(unfolded(again, placement.folded))
            read_back.replay(golden)
            check = compare_answers(predictor, read_back, exporter.package, golden)
            difference = f"(largest difference {check['max_deviation']:.1g})"
            info(f"read back, it reproduces the bundle's golden samples {difference}")
        write_documents(describe_export(predictor, name, written, placement, check), written)
    for step in placement.outside:
        info(f"not inside the exported model, see danlu.json: {step.what}")
    return target
