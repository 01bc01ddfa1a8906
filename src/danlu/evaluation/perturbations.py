"""Harder versions of the test rows: what a model meets once it is out of the laboratory.

Each changes raw rows, as they come, before any preparation; so what is judged is the whole bundle (Hendrycks and
Dietterich 2019 for images; Belinkov and Bisk 2018 for typing errors).
"""

from abc import abstractmethod
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, PositiveFloat

from danlu.core.component import Component
from danlu.core.seeds import Seed
from danlu.data.dataset import Dataset, Kind

if TYPE_CHECKING:
    from PIL.Image import Image

Share = Annotated[float, Field(gt=0.0, le=1.0)]
WHITE = 255.0


class Perturbation(Component):
    """A way to make rows harder.

    Attributes:
        kinds: the kinds of data that it can change.
    """

    kinds: ClassVar[tuple[Kind, ...]]

    @abstractmethod
    def changed(self, frame: pl.DataFrame, dataset: Dataset, seed: Seed) -> pl.DataFrame:
        """The same rows, changed; what is true of them stays.

        Args:
            frame: raw rows.
            dataset: says what the columns are.
            seed: of this perturbation; each row has one of its own.
        """


class Noise(Perturbation):
    """Normal noise on numbers, in their column's deviations among these rows; on pixels, of values in [0, 1]."""

    kinds = ("tabular", "image")
    name: Literal["noise"] = "noise"
    std: PositiveFloat = 0.1

    def changed(self, frame: pl.DataFrame, dataset: Dataset, seed: Seed) -> pl.DataFrame:
        if dataset.kind == "image":
            return _pictures(frame, dataset, seed, self._on_pixels)
        generator = np.random.default_rng(seed.value)
        added: list[pl.Series] = []
        for name in _used(dataset, "number"):
            values = frame[name].cast(pl.Float64)
            spread = values.std()
            width = float(spread) if isinstance(spread, float) else 0.0
            noise = generator.normal(0.0, self.std * width, frame.height)
            added.append((values + pl.Series(noise)).alias(name))
        return frame.with_columns(added)

    def _on_pixels(self, image: "Image", generator: np.random.Generator) -> "Image":
        from PIL import Image

        pixels = np.asarray(image, dtype=np.float64)
        noisy = pixels + generator.normal(0.0, self.std * WHITE, pixels.shape)
        return Image.fromarray(noisy.clip(0, WHITE).round().astype(np.uint8), image.mode)


class Blur(Perturbation):
    """A Gaussian blur, its deviation in shares of the shorter side."""

    kinds = ("image",)
    name: Literal["blur"] = "blur"
    radius: PositiveFloat = Field(default=0.02, description="deviation, as a share of the shorter side")

    def changed(self, frame: pl.DataFrame, dataset: Dataset, seed: Seed) -> pl.DataFrame:
        return _pictures(frame, dataset, seed, self._blurred)

    def _blurred(self, image: "Image", generator: np.random.Generator) -> "Image":
        from PIL import ImageFilter

        return image.filter(ImageFilter.GaussianBlur(self.radius * min(image.size)))


class Rotate(Perturbation):
    """A rotation by an angle between -degrees and degrees; what comes into view takes the mean colour."""

    kinds = ("image",)
    name: Literal["rotate"] = "rotate"
    degrees: Annotated[float, Field(gt=0.0, le=180.0)] = 15.0

    def changed(self, frame: pl.DataFrame, dataset: Dataset, seed: Seed) -> pl.DataFrame:
        return _pictures(frame, dataset, seed, self._rotated)

    def _rotated(self, image: "Image", generator: np.random.Generator) -> "Image":
        from PIL.Image import Resampling

        mean = np.asarray(image).reshape(-1, len(image.getbands())).mean(axis=0)
        colour = tuple(int(value) for value in mean)
        angle = generator.uniform(-self.degrees, self.degrees)
        return image.rotate(angle, Resampling.BILINEAR, fillcolor=colour if len(colour) > 1 else colour[0])


class Missing(Perturbation):
    """Each value of a used column is missing with a chance of its own."""

    kinds = ("tabular",)
    name: Literal["missing"] = "missing"
    share: Share = 0.1

    def changed(self, frame: pl.DataFrame, dataset: Dataset, seed: Seed) -> pl.DataFrame:
        generator = np.random.default_rng(seed.value)
        names = _used(dataset)
        kept = generator.random((frame.height, len(names))) >= self.share
        holes = (pl.when(pl.Series(kept[:, index])).then(pl.col(name)) for index, name in enumerate(names))
        return frame.with_columns(hole.alias(name) for hole, name in zip(holes, names, strict=True))


class Typos(Perturbation):
    """Typing errors: a character is left out, typed twice, or changes places with the next one."""

    kinds = ("text", "tabular", "corpus")
    name: Literal["typos"] = "typos"
    share: Share = Field(default=0.05, description="of the characters")

    def changed(self, frame: pl.DataFrame, dataset: Dataset, seed: Seed) -> pl.DataFrame:
        names = _used(dataset, "text")
        return frame.with_columns(
            pl.Series(name, [self._mistyped(text, seed.derive(name, row)) for row, text in enumerate(frame[name])])
            for name in names
        )

    def _mistyped(self, text: str | None, seed: Seed) -> str | None:
        if not text:
            return text
        generator = np.random.default_rng(seed.value)
        wrong = generator.random(len(text)) < self.share
        how = generator.integers(0, 3, len(text))
        typed: list[str] = []
        place = 0
        while place < len(text):
            here = text[place]
            if not wrong[place]:
                typed.append(here)
            elif how[place] == 1:
                typed.append(here * 2)
            elif how[place] == 2 and place + 1 < len(text):
                typed.append(text[place + 1] + here)
                place += 1
            place += 1
        return "".join(typed)


PERTURBATIONS: dict[str, type[Component]] = {
    "noise": Noise,
    "blur": Blur,
    "rotate": Rotate,
    "missing": Missing,
    "typos": Typos,
}


def _used(dataset: Dataset, *types: str) -> list[str]:
    """Columns that the model is given, of these types or of all."""
    return [column.name for column in dataset.used if not types or column.type in types]


def _pictures(
    frame: pl.DataFrame, dataset: Dataset, seed: Seed, change: Callable[["Image", np.random.Generator], "Image"]
) -> pl.DataFrame:
    """Every image decoded, changed and kept as the bytes of a PNG."""
    from danlu.data.images.decode import decode

    found: list[bytes] = []
    for row, reference in enumerate(frame[dataset.content].to_list()):
        image = decode(reference, dataset.folder)
        image = image.convert("L" if image.mode == "L" else "RGB")
        buffer = BytesIO()
        change(image, np.random.default_rng(seed.derive(row).value)).save(buffer, format="PNG")
        found.append(buffer.getvalue())
    return frame.with_columns(pl.Series(dataset.content, found, dtype=pl.Binary))
