"""The formats by name. A model family names its own as `Model.export_format`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from danlu.errors import ArgumentError
from danlu.exporters import lightgbm, sentence_transformers, timm, transformers
from danlu.models.answer_folding import Placement
from danlu.models.predictor import Predictor
from danlu.models.text.sentence_encoder import SentenceEncoderClassifier


@dataclass(frozen=True)
class Exporter:
    """Write a bundle's model in one library's format, and load it back by that library.

    Attributes:
        package: the library, as it is imported.
        write: (predictor, folder): fills the folder, which exists and is empty, and says what it holds.
        read: (predictor, folder) -> the network as the library loads it, or None where the library is not installed.
    """

    package: str
    write: Callable[[Predictor, Path], Placement]
    read: Callable[[Predictor, Path], nn.Module | None]


def format_of(predictor: Predictor) -> str | None:
    """Return the name of the format of a model's own library, if there is one."""
    if isinstance(predictor.model, SentenceEncoderClassifier):
        return "sentence-transformers"
    return predictor.options.export_format


def choose_format(predictor: Predictor, asked: str | None) -> str:
    """Return the name of the format to write.

    Raises:
        ArgumentError: no library has a format for this model, or not the one that is asked for.
    """
    own = format_of(predictor)
    if own is None:
        raise ArgumentError(
            f"no library has a format of its own for {predictor.options.name}; --to onnx, openvino or torch-export "
            "writes it",
            code="DL409",
        )
    if asked not in (None, own):
        raise ArgumentError(f"--to {asked}: {predictor.options.name} is written as {own}", code="DL409")
    return own


EXPORTERS: dict[str, Exporter] = {
    "transformers": Exporter("transformers", transformers.write, transformers.read),
    "sentence-transformers": Exporter("sentence_transformers", sentence_transformers.write, sentence_transformers.read),
    "timm": Exporter("timm", timm.write, timm.read),
    "lightgbm": Exporter("lightgbm", lightgbm.write, lightgbm.read),
}
