"""Rows of networks that no bundle holds, as methods take them."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from danlu.explanation.networks.images import ImageRow
from danlu.explanation.networks.readout import Readout


class OfImages(nn.Module):
    """Give layers the images that a bundle's network takes."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.network = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.network(image.float() / 255)
        return found


def readout(of: Callable[[Any], Any] = lambda outputs: outputs[:, 0]) -> Readout:
    return Readout("yes", "number", of, "number", of)


def image_row(network: nn.Module, pixels: np.ndarray) -> ImageRow:
    """The row of an image, [height, width] uint8, that a network gives one number for; absent pixels are of 90."""

    @torch.no_grad()
    def run(many: np.ndarray) -> np.ndarray:
        return np.asarray(network(image=torch.from_numpy(many)).double().numpy())

    source: Any = SimpleNamespace(
        predictor=SimpleNamespace(model=network.eval(), device=torch.device("cpu")),
        fill=np.full((1, 1, 1), 90, np.uint8),
        references=None,
        run=run,
    )
    return ImageRow(0, readout(), pixels[None, None], source)
