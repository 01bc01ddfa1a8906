"""The formats by name. A model family names its own as `Model.export_format`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from danlu.errors import ArgumentError
from danlu.exporters import lightgbm, timm, transformers
from danlu.models.base import Model
from danlu.models.predictor import Predictor


@dataclass(frozen=True)
class Exporter:
    """Write a bundle's model in one library's format, and load it back by that library.

    Attributes:
        write: (predictor, folder): fills the folder, which exists and is empty.
        read: (predictor, folder) -> the network as the library loads it, or None if the library has no class for the
            whole model.
    """

    write: Callable[[Predictor, Path], None]
    read: Callable[[Predictor, Path], nn.Module | None]


def exporter_for(options: Model) -> Exporter:
    """Return the exporter of a model's own library.

    Raises:
        ArgumentError: no library has a format for this model.
    """
    if options.export_format is None:
        raise ArgumentError(f"no library has a format of its own for {options.name}", code="DL409")
    return EXPORTERS[options.export_format]


EXPORTERS: dict[str, Exporter] = {
    "transformers": Exporter(transformers.write, transformers.read),
    "timm": Exporter(timm.write, timm.read),
    "lightgbm": Exporter(lightgbm.write, lightgbm.read),
}
