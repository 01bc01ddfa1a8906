"""A few training samples to look at, as plain values: rows of a table, texts, thumbnails of images."""

import base64
from collections.abc import Callable
from io import BytesIO
from typing import Any

from danlu.data.dataset import Dataset
from danlu.data.images.decode import Reference, decode
from danlu.data.splits import Split, subsample
from danlu.errors import DataError

MAX_CHARACTERS = 200  # maximum characters of a value
MOST_COLUMNS = 30
THUMBNAIL = 72  # pixels of the longer side


def sample_rows(dataset: Dataset, train: Split) -> dict[str, Any]:
    """Return samples spread evenly over the training split, for data/profile.json.

    Returns:
        for images `images`: a list of {label, png}, PNG in base64; else `columns`, and `rows` of values as words.
    """
    names = [column.name for column in dataset.used][:MOST_COLUMNS]
    if dataset.target is not None and dataset.target not in names:
        names.append(dataset.target)
    frame = subsample(train, dataset.kind.shown_samples).columns(*names)
    if dataset.kind.shows_pictures:
        labels = [None] * frame.height if dataset.target is None else frame[dataset.target].to_list()
        pictures = [thumbnail(reference, dataset) for reference in frame[dataset.content].to_list()]
        shown = [{"label": str(label), "png": png} for label, png in zip(labels, pictures, strict=True) if png]
        return {"images": shown}
    return {"columns": names, "rows": readable_rows(dataset, names, frame.rows())}


def readable_rows(dataset: Dataset, names: list[str], rows: list[tuple[Any, ...]]) -> list[list[str]]:
    """Format rows of these columns for a reader; JSON text becomes the words it holds."""
    forms = [_formatter(dataset, name) for name in names]
    return [
        [format_value(value if value is None else form(value)) for form, value in zip(forms, row, strict=True)]
        for row in rows
    ]


def _formatter(dataset: Dataset, name: str) -> Callable[[Any], Any]:
    """Return the formatter of a column's values: the kind's, else the task's."""
    own = dataset.kind.cell_formatter(name, [column.name for column in dataset.used], dataset.target)
    if own is not None:
        return own
    return dataset.task.format_cell if name == dataset.target else lambda value: value


def format_value(value: Any) -> str:
    """Format a value; a missing one is an empty string."""
    if value is None:
        return ""
    word = f"{value:.6g}" if isinstance(value, float) else str(value)
    return word if len(word) <= MAX_CHARACTERS else f"{word[:MAX_CHARACTERS]}…"


def thumbnail(reference: Reference, dataset: Dataset) -> str:
    """Return a small PNG in base64, or an empty string for an unreadable image."""
    try:
        image = decode(reference, dataset.folder, THUMBNAIL, "own")
    except DataError:
        return ""
    small = (image.convert("RGB") if image.mode == "RGBX" else image).copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    content = BytesIO()
    small.save(content, format="PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode("ascii")
