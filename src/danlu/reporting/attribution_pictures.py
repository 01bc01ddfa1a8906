"""The pictures that `danlu explain -o` writes of images: each with the maps of all methods, as PNG and SVG."""

from pathlib import Path

import numpy as np

from danlu.artifacts.files import read_json, translate_write_errors, write_together
from danlu.reporting.i18n import Translator
from danlu.reporting.sections.explanation import ARRAYS, DOCUMENT
from danlu.reporting.sections.network_explanations import draw_rows


def write_pictures(folder: Path) -> list[Path]:
    """Draw the images of an explanation that was written; return the PNG files.

    Raises:
        ArtifactError: they cannot be written.
    """
    found = read_json(folder / DOCUMENT)
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        drawn = draw_rows(Translator("en"), found["local"], arrays)
    files = {f"row-{row}{ending}": content for row, each in drawn.items() for ending, content in each.files().items()}
    with translate_write_errors(folder):
        write_together(folder, files)
    return [folder / name for name in files if name.endswith(".png")]
