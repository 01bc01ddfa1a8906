"""Rows as a reader is shown them: what the model reads of each, or its picture.

In: a `Subject` and positions of its rows. Out: JSON.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import polars as pl

    from danlu.inspection.subject import Subject
    from danlu.models.predictor import Predictor

Json = dict[str, Any]


def describe_samples(subject: "Subject", rows: Sequence[int]) -> list[Json]:
    """Describe rows for a reader: what the model reads of each, or its picture."""
    if not rows:
        return []
    inputs, _ = subject.dataset.take(np.array(rows), subject.device)
    fields: list[dict[str, str]] = [{} for _ in rows]
    pictures = [""] * len(rows)
    if subject.predictor is not None and subject.predictor.kind.shows_pictures and "image" in inputs:
        pictures = [_thumbnail(image.permute(1, 2, 0).cpu().numpy()) for image in inputs["image"]]
    elif subject.predictor is not None and subject.rows is not None and _is_table(subject.predictor):
        fields = _as_read(subject.rows.select(subject.predictor.preprocessor.columns), rows)
    elif subject.predictor is not None:
        fields = subject.predictor.preprocessor.describe(inputs)
    return [
        {"row": int(row), "fields": each, "image": picture}
        for row, each, picture in zip(rows, fields, pictures, strict=True)
    ]


def _is_table(predictor: "Predictor") -> bool:
    """Return whether a model reads columns of numbers and categories."""
    from danlu.data.tabular.preprocessor import TabularPreprocessor

    return isinstance(predictor.preprocessor, TabularPreprocessor)


def _as_read(frame: "pl.DataFrame", rows: Sequence[int]) -> list[dict[str, str]]:
    """Return the columns of rows as they were read, gaps left out."""
    return [
        {
            name: f"{value:g}" if isinstance(value, float) else str(value)
            for name, value in row.items()
            if value is not None
        }
        for row in frame[list(rows)].iter_rows(named=True)
    ]


def _thumbnail(pixels: np.ndarray) -> str:
    """Return an image, [height, width, channels] uint8, as a PNG's data address."""
    import base64

    from PIL import Image

    from danlu.reporting.figures.svg import PIXELS

    content = BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(content, "png")
    return PIXELS + base64.b64encode(content.getvalue()).decode("ascii")
