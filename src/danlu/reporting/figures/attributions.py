"""Figures of what the pixels of an image add to an answer: the image, and a map over it for each method.

In: an image and maps of values. Out: a `Drawn` figure. Colours are safe for the colour-blind, and each map has a scale.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.reporting.figures.layers import Drawn, drawn
from danlu.reporting.figures.panels import AMOUNT, SIGNED
from danlu.reporting.figures.svg import new_figure
from danlu.reporting.format import shorten

COLUMNS = 4
PANEL = 1.75  # inches
FAINTEST, DARKEST = 0.1, 0.85  # how much of the image the smallest and the largest values cover
EDGE = 99.5  # percentile of the sizes that the scale ends at


def attribution_maps(
    name: str, label: str, image: tuple[str, np.ndarray], maps: Sequence[tuple[str, np.ndarray]]
) -> Drawn:
    """Draw an image, and maps of values over it.

    Args:
        image: title and pixels, [height, width, channels] uint8.
        maps: title and values, [height, width] each; on both sides of 0, or amounts where none is below.
    """
    count = len(maps) + 1
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    with new_figure((PANEL + 0.35) * columns, (PANEL + 0.35) * rows) as figure:
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for axis in axes:
            axis.set_axis_off()
        gray = image[1].astype(np.float64).mean(axis=2)
        shown = image[1] if image[1].shape[2] == 3 else image[1][..., 0]
        axes[0].imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes[0].set_title(shorten(image[0], 24), size=8)
        for axis, (title, values) in zip(axes[1:], maps, strict=False):
            axis.imshow(gray, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set_title(shorten(title, 30), size=8)
            _scale(figure, axis, _cover(axis, values))
        return drawn(figure, name, label)


def _cover(axis: Any, values: np.ndarray) -> Any:
    """Lay a map over an image, larger values thicker; return its scale."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    sizes = np.abs(values)
    edge = float(np.percentile(sizes, EDGE)) or float(sizes.max()) or 1.0
    low, cmap = (-edge, SIGNED) if float(values.min()) < 0 else (0.0, AMOUNT)
    alpha = FAINTEST + (DARKEST - FAINTEST) * np.clip(sizes / edge, 0, 1)
    axis.imshow(values, cmap=cmap, vmin=low, vmax=edge, alpha=alpha, interpolation="nearest")
    return ScalarMappable(Normalize(low, edge), cmap)


def _scale(figure: Any, axis: Any, shown: Any) -> None:
    bar = figure.colorbar(shown, ax=axis, pad=0.03, fraction=0.07, aspect=16)
    bar.ax.tick_params(labelsize=6.5, length=2)
    bar.ax.locator_params(nbins=4)
    bar.outline.set_visible(False)
