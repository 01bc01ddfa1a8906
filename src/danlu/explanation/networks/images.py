"""Images as rows to explain: segments are players, and what is absent has the training images' mean colour.

In: an image predictor and rows as they were read. Out: `ImageRow`s, whose pixels gradients are taken of.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from danlu.core.seeds import Seed
from danlu.data.descriptors import Origin
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.explanation.networks.readout import Readout, choose_readout
from danlu.explanation.networks.rows import ORIGIN, Attribution, Graph, NetworkRow, NetworkRows, local_explanation
from danlu.explanation.networks.segments import segment
from danlu.explanation.results import LocalExplanation, PixelValues

if TYPE_CHECKING:
    from torch import nn

    from danlu.models.predictor import Predictor

SEGMENTS = 25
LITTLE = 2.55  # noise of a pixel that hardly differs: 1 % of the range
NEIGHBOURS = 5  # golden images that fill what is taken away
BATCH_PIXELS = 2**20  # of a forward pass, so that its arrays stay small


class ImageRows(NetworkRows):
    """Make rows of images."""

    noun: ClassVar[str] = "segments"

    def __init__(self, predictor: "Predictor", folder: Path | None = None) -> None:
        assert isinstance(predictor.preprocessor, ImagePreprocessor)
        super().__init__(predictor)
        self.preprocessor, self.folder = predictor.preprocessor, folder or Path.cwd()
        mean = np.array(self.preprocessor.mean) * 255.0
        self._layers: list[str] | None = None
        self._layer: str | None = None
        self.fill = np.clip(np.round(mean), 0, 255).astype(np.uint8)[:, None, None]

    def with_network(self, network: "nn.Module") -> "ImageRows":
        return ImageRows(self.predictor.with_model(network), self.folder)

    def rows(self, frame: pl.DataFrame, numbers: Sequence[int], label: str | None) -> Iterator[NetworkRow]:
        for place, number in enumerate(numbers):
            pixels = self.pixels(frame[place : place + 1], f"row {number}")
            yield ImageRow(number, choose_readout(self.predictor, self.run(pixels), label), pixels, self)

    def pixels(self, frame: pl.DataFrame, origin: str = ORIGIN) -> np.ndarray:
        """Return images as the network takes them, [rows, channels, height, width] uint8."""
        batches = self.preprocessor.iter_arrays(frame, Origin(origin, self.folder), frame.height)
        return next(iter(batches))[0]["image"]

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Return the network's outputs by the bundle's engine, [rows, ...]."""
        size = max(1, BATCH_PIXELS // pixels[0].size)
        engine = self.predictor.engine
        parts = [engine.run({"image": pixels[start : start + size]}) for start in range(0, len(pixels), size)]
        return np.concatenate(parts)

    @cached_property
    def references(self) -> np.ndarray | None:
        """The golden samples' images, which stand for others; None where the bundle keeps none."""
        kept = self.kept_rows()
        return None if kept is None or kept.height == 0 else self.pixels(kept)

    def layers(self, row: "ImageRow") -> list[str]:
        """Return the layers that a map can be taken of."""
        from danlu.explanation.networks.grad_cam import candidates

        if self._layers is None:
            self._layers = candidates(self.predictor.model, row.graph().own)
        return self._layers

    def layer(self, row: "ImageRow", seed: Seed) -> str:
        """Return the layer with the most faithful maps of golden samples, else of the row."""
        from danlu.explanation.networks.grad_cam import choose_layer

        names = self.layers(row)
        if self.references is None:
            return choose_layer([row], names, seed)
        if self._layer is None:
            images = np.split(self.references, len(self.references))
            readouts = [choose_readout(self.predictor, self.run(image), None) for image in images]
            rows = [ImageRow(0, readout, image, self) for readout, image in zip(readouts, images, strict=True)]
            self._layer = choose_layer(list(rows), names, seed)
        return self._layer


@dataclass(frozen=True)
class ImageRow(NetworkRow):
    """Show an image to methods.

    Attributes:
        pixels: [1, channels, height, width] uint8.
        source: the rows that it is one of.
        segments: the player of each pixel, [height, width].
    """

    number: int
    readout: Readout
    pixels: np.ndarray
    source: ImageRows
    segments: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", segment(self.image / 255.0, SEGMENTS))

    @property
    def players(self) -> int:
        """The number of segments."""
        return int(self.segments.max()) + 1

    @property
    def image(self) -> np.ndarray:
        """The image, [height, width, channels] uint8."""
        return np.ascontiguousarray(np.moveaxis(self.pixels[0], 0, -1))

    def values(self, coalitions: np.ndarray) -> np.ndarray:
        found = np.empty(len(coalitions))
        size = max(1, BATCH_PIXELS // self.pixels.size)
        for start in range(0, len(coalitions), size):
            kept = coalitions[start : start + size][:, self.segments]
            mixed = np.where(kept[:, None], self.pixels, self.source.fill)
            found[start : start + size] = self.readout.number(self.source.run(mixed))
        return found

    def graph(self) -> Graph:
        import torch

        from danlu.explanation.networks.functions import PixelScore

        predictor, score = self.source.predictor, self.readout.score
        assert score is not None, "refused before"
        device = predictor.device

        def tensor(pixels: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)).to(device)

        own, baseline = tensor(self.pixels), tensor(np.broadcast_to(self.source.fill, self.pixels.shape))
        kept = self.source.references
        return Graph(
            PixelScore(predictor.model, score),
            predictor.model,
            own,
            baseline,
            baseline if kept is None else tensor(kept),
        )

    def fold(self, attributions: np.ndarray) -> np.ndarray:
        return np.asarray(attributions.sum(axis=0))

    def rolled_out(self) -> np.ndarray | None:
        """Return the shares of a vision transformer's patches, spread over their pixels."""
        import torch

        from danlu.explanation.networks.rollout import attention_of, roll_out

        model = self.source.predictor.model
        attention = attention_of(model, {"image": torch.from_numpy(self.pixels).to(self.source.predictor.device)})
        inner: Any = getattr(model, "network", None)
        prefix = int(getattr(inner, "num_prefix_tokens", 0))
        if attention is None:
            return None
        side = round((attention[0].shape[-1] - prefix) ** 0.5)
        height, width = self.pixels.shape[2:]
        if side < 1 or side**2 != attention[0].shape[-1] - prefix or height % side or width % side:
            return None
        reader = 0 if prefix and getattr(inner, "global_pool", "token") == "token" else None
        shares = roll_out(attention, reader)[prefix:].reshape(side, side)
        patch = (height // side, width // side)
        return np.kron(shares, np.full(patch, 1 / (patch[0] * patch[1])))

    def of_players(self, values: np.ndarray) -> np.ndarray:
        if values.ndim == 1:
            return values
        return np.bincount(self.segments.ravel(), weights=values.ravel().astype(np.float64), minlength=self.players)

    def dummies(self) -> dict[str, np.ndarray]:
        image = self.image.astype(np.float64)
        gray = image.mean(axis=2)
        edges = np.hypot(*np.gradient(gray)) if min(gray.shape) > 1 else np.zeros_like(gray)
        sizes = np.abs(image - np.moveaxis(self.source.fill, 0, -1)).sum(axis=2)
        return {"input-magnitude": self.of_players(sizes), "edges": self.of_players(edges)}

    def near(self, seed: Seed, least: int) -> "ImageRow":
        """Return the image with a little noise in its pixels, and the same segments."""
        rng = np.random.default_rng(seed.derive("near").value)
        noisy = self.pixels + rng.normal(0, LITTLE, self.pixels.shape).round()
        found = replace(self, pixels=noisy.clip(0, 255).astype(np.uint8))
        object.__setattr__(found, "segments", self.segments)
        return found

    def in_network(self, rows: NetworkRows) -> "ImageRow":
        assert isinstance(rows, ImageRows)
        return replace(self, source=rows)

    def refilled(self, kept: np.ndarray) -> np.ndarray:
        """Fill absent segments from golden images alike in what stays, else with colour."""
        others = self.source.references
        others = None if others is None else others[(others != self.pixels).any(axis=(1, 2, 3))]
        if others is None or not len(others):
            return self.values(kept)
        apart = np.abs(others.astype(np.float32) - self.pixels).sum(axis=1)
        of_segments = np.stack([np.bincount(self.segments.ravel(), each.ravel(), self.players) for each in apart])
        nearest = np.argsort(kept @ of_segments.T, axis=1, kind="stable")[:, :NEIGHBOURS]
        stays = kept[:, self.segments]
        filled = [np.where(stays[:, None], self.pixels, others[each]) for each in nearest.T]
        return np.asarray(np.mean([self.readout.number(self.source.run(each)) for each in filled], axis=0))

    def describe(self, method: str, found: Attribution) -> LocalExplanation:
        def spread(values: np.ndarray) -> np.ndarray:
            """Share a segment's value among its pixels, so that sums stay."""
            if values.ndim == 2:
                return values.astype(np.float64)
            return np.asarray((values / np.bincount(self.segments.ravel()))[self.segments])

        half, of_segments = found.half_widths, found.values.ndim == 1
        pixels = PixelValues(
            spread(found.values),
            self.image,
            None if half is None else spread(found.values - half),
            None if half is None else spread(found.values + half),
            self.segments if of_segments else None,
        )
        return local_explanation(self, method, found, pixels=pixels)
