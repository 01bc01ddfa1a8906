"""A few training samples to look at, as plain values: rows of a table, texts, thumbnails of images."""

import base64
from io import BytesIO
from typing import Any

import numpy as np

from danlu.core.errors import DataError
from danlu.data.dataset import Dataset
from danlu.data.images.decode import Reference, decode
from danlu.data.splits import Part

SHOWN_ROWS, SHOWN_IMAGES = 5, 12
LONGEST = 200  # characters of a value
MOST_COLUMNS = 30
THUMBNAIL = 72  # pixels of the longer side


def samples(dataset: Dataset, train: Part) -> dict[str, Any]:
    """Samples spread evenly over the training split, for data/profile.json.

    Returns:
        for images `images`: a list of {label, png}, PNG in base64; else `columns`, and `rows` of values as words.
    """
    count = SHOWN_IMAGES if dataset.kind == "image" else SHOWN_ROWS
    chosen = np.unique(np.linspace(0, len(train) - 1, count).astype(np.int64))
    names = [column.name for column in dataset.used][:MOST_COLUMNS]
    if dataset.target is not None and dataset.target not in names:
        names.append(dataset.target)
    frame = Part(train.rows[chosen], train.whole).columns(*names)
    if dataset.kind == "image":
        labels = [None] * frame.height if dataset.target is None else frame[dataset.target].to_list()
        pictures = [thumbnail(reference, dataset) for reference in frame[dataset.content].to_list()]
        shown = [{"label": str(label), "png": png} for label, png in zip(labels, pictures, strict=True) if png]
        return {"images": shown}
    return {"columns": names, "rows": [[word(value) for value in row] for row in frame.rows()]}


def word(value: Any) -> str:
    """A value as it would be read; nothing for a missing one."""
    if value is None:
        return ""
    word = f"{value:.6g}" if isinstance(value, float) else str(value)
    return word if len(word) <= LONGEST else f"{word[:LONGEST]}…"


def thumbnail(reference: Reference, dataset: Dataset) -> str:
    """A small PNG in base64; nothing where the image cannot be read, which other checks speak of."""
    try:
        image = decode(reference, dataset.folder, THUMBNAIL)
    except DataError:
        return ""
    small = (image.convert("RGB") if image.mode == "RGBX" else image).copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    content = BytesIO()
    small.save(content, format="PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode("ascii")
