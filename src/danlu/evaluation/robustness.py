"""Robustness: the same model on perturbed test rows, next to its metrics on the unchanged rows.

A perturbation changes raw rows, before any preprocessing, so the whole bundle is evaluated. For images see Hendrycks
and Dietterich 2019 (https://arxiv.org/abs/1903.12261), for typing errors Belinkov and Bisk 2018
(https://arxiv.org/abs/1711.02173). The recipe's schema imports this file.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, PositiveFloat

from danlu.core.seeds import Seed
from danlu.data.dataset import Dataset
from danlu.data.splits import Split, evenly_spaced_rows
from danlu.evaluation.intervals import MIN_UNITS, Resampling, count_units, paired_differences, values_with_intervals
from danlu.metrics.base import Metric, Predictions
from danlu.recipe.components import PerturbationOptions

if TYPE_CHECKING:
    from PIL.Image import Image

Share = Annotated[float, Field(gt=0.0, le=1.0)]
WHITE = 255.0


class Perturbation(PerturbationOptions):
    """Make rows harder to predict.

    Attributes:
        kinds: the kinds of data that it can change.

    Example:
        >>> import polars as pl
        >>> import danlu
        >>> class Rounded(danlu.Perturbation):
        ...     kinds = ("tabular",)
        ...     name: str = "rounded"
        ...     def apply(self, frame, dataset, seed):
        ...         return frame.with_columns(pl.selectors.float().round(0))
        >>> Rounded().apply(pl.DataFrame({"x": [1.4]}), None, None)["x"].to_list()
        [1.0]
    """

    kinds: ClassVar[tuple[str, ...]]

    @abstractmethod
    def apply(self, frame: pl.DataFrame, dataset: Dataset, seed: Seed) -> pl.DataFrame:
        """Return the same rows, perturbed; their true values stay valid.

        Args:
            frame: raw rows.
            dataset: describes the columns.
            seed: of this perturbation; each row derives its own.
        """


class Noise(Perturbation):
    """Add normal noise: to numbers in column deviations, to pixels in [0, 1]."""

    kinds = ("tabular", "image")
    name: Literal["noise"] = "noise"
    std: PositiveFloat = 0.1

    def apply(self, frame: pl.DataFrame, dataset: Dataset, seed: Seed) -> pl.DataFrame:
        if dataset.kind.shows_pictures:
            return _map_images(frame, dataset, seed, self._on_pixels)
        generator = np.random.default_rng(seed.value)
        added: list[pl.Series] = []
        for name in _used_columns(dataset, "number"):
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
    """Blur images with a Gaussian; its deviation is a share of the shorter side."""

    kinds = ("image",)
    name: Literal["blur"] = "blur"
    radius: PositiveFloat = Field(default=0.02, description="deviation, as a share of the shorter side")

    def apply(self, frame: pl.DataFrame, dataset: Dataset, seed: Seed) -> pl.DataFrame:
        return _map_images(frame, dataset, seed, self._blurred)

    def _blurred(self, image: "Image", generator: np.random.Generator) -> "Image":
        from PIL import ImageFilter

        return image.filter(ImageFilter.GaussianBlur(self.radius * min(image.size)))


class Rotate(Perturbation):
    """Rotate images by a random angle up to `degrees`; corners take the mean colour."""

    kinds = ("image",)
    name: Literal["rotate"] = "rotate"
    degrees: Annotated[float, Field(gt=0.0, le=180.0)] = 15.0

    def apply(self, frame: pl.DataFrame, dataset: Dataset, seed: Seed) -> pl.DataFrame:
        return _map_images(frame, dataset, seed, self._rotated)

    def _rotated(self, image: "Image", generator: np.random.Generator) -> "Image":
        from PIL.Image import Resampling

        mean = np.asarray(image).reshape(-1, len(image.getbands())).mean(axis=0)
        colour = tuple(int(value) for value in mean)
        angle = generator.uniform(-self.degrees, self.degrees)
        return image.rotate(angle, Resampling.BILINEAR, fillcolor=colour if len(colour) > 1 else colour[0])


class Missing(Perturbation):
    """Remove each value of a used column with a given probability."""

    kinds = ("tabular",)
    name: Literal["missing"] = "missing"
    share: Share = 0.1

    def apply(self, frame: pl.DataFrame, dataset: Dataset, seed: Seed) -> pl.DataFrame:
        generator = np.random.default_rng(seed.value)
        names = _used_columns(dataset)
        kept = generator.random((frame.height, len(names))) >= self.share
        holes = (pl.when(pl.Series(kept[:, index])).then(pl.col(name)) for index, name in enumerate(names))
        return frame.with_columns(hole.alias(name) for hole, name in zip(holes, names, strict=True))


class Typos(Perturbation):
    """Insert typing errors: drop a character, double it, or swap it with the next."""

    kinds = ("text", "tabular", "corpus")
    name: Literal["typos"] = "typos"
    share: Share = Field(default=0.05, description="of the characters")

    def apply(self, frame: pl.DataFrame, dataset: Dataset, seed: Seed) -> pl.DataFrame:
        names = _used_columns(dataset, "text")
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


PERTURBATIONS: dict[str, type[Perturbation]] = {
    "noise": Noise,
    "blur": Blur,
    "rotate": Rotate,
    "missing": Missing,
    "typos": Typos,
}


def evaluate_robustness(
    steps: Sequence[PerturbationOptions],
    predict: Callable[[Split], Predictions],
    dataset: Dataset,
    test: Split,
    unchanged: Predictions,
    metrics: Mapping[str, Metric],
    how: Resampling | None,
    seed: Seed,
) -> dict[str, Any]:
    """Compute every metric on each perturbed version of the test split, with paired differences.

    Args:
        steps: the perturbations.
        predict: the model with the calibration and threshold that users get.
        dataset: describes the columns.
        test: the test split.
        unchanged: the model's predictions for it.
        metrics: by name.
        how: None for no intervals.
        seed: each perturbation derives its own.

    Returns:
        `rows`, `plain` and, under `found`, for each perturbation its options, `metrics` (name -> {value}) and
        `differences` (perturbed minus plain: name -> {value, low, high}); nothing if none is configured.
    """
    if not steps:
        return {}
    chosen = evenly_spaced_rows(len(unchanged), dataset.kind.max_perturbed_rows)
    part, plain = Split(test.rows[chosen], test.table), unchanged.take(chosen)
    enough = count_units(plain) >= MIN_UNITS
    found: list[dict[str, Any]] = []
    for number, step in enumerate(steps):
        perturbation = Perturbation.of(step)
        harder = predict(Split.of(perturbation.apply(part.frame, dataset, seed.derive(step.name, number))))
        found.append(
            {
                **step.model_dump(mode="json"),
                "metrics": values_with_intervals(metrics, harder, None),
                "differences": paired_differences(metrics, harder, plain, how) if how is not None and enough else {},
            }
        )
    return {"rows": len(part.rows), "plain": values_with_intervals(metrics, plain, None), "found": found}


def _used_columns(dataset: Dataset, *types: str) -> list[str]:
    """Return the names of the model's input columns, of these types or all."""
    return [column.name for column in dataset.used if not types or column.type in types]


def _map_images(
    frame: pl.DataFrame, dataset: Dataset, seed: Seed, change: Callable[["Image", np.random.Generator], "Image"]
) -> pl.DataFrame:
    """Decode, change and re-encode every image as PNG bytes."""
    from danlu.data.images.decode import decode

    found: list[bytes] = []
    for row, reference in enumerate(frame[dataset.content].to_list()):
        image = decode(reference, dataset.folder, levels=dataset.gray_levels)
        image = image.convert("L" if image.mode == "L" else "RGB")
        buffer = BytesIO()
        change(image, np.random.default_rng(seed.derive(row).value)).save(buffer, format="PNG")
        found.append(buffer.getvalue())
    return frame.with_columns(pl.Series(dataset.content, found, dtype=pl.Binary))
