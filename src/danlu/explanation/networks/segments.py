"""Segments of an image: neighbouring pixels of like colour, which are the players of games.

SLIC superpixels (Achanta et al. 2012, https://doi.org/10.1109/TPAMI.2012.120): k-means of colour and place, begun on a
grid; pieces that came apart join the neighbour with the longest border. Colours are smoothed before, so that a fine
texture is one thing and not two colours.
"""

import numpy as np

ROUNDS = 10
COMPACTNESS = 0.15  # colours, in [0, 1], that weigh as much as a grid step; more makes squarer segments
SMOOTHED = 0.125  # deviation of the smoothing, in grid steps
SMALLEST = 0.25  # of the mean size, below which a segment joins another


def segment(image: np.ndarray, count: int) -> np.ndarray:
    """Cut an image into about so many segments.

    Args:
        image: [height, width, channels] in [0, 1].
        count: segments, from 1; at most the number of pixels.

    Returns:
        the segment of each pixel, from 0, [height, width] int64.
    """
    from scipy.ndimage import gaussian_filter

    height, width = image.shape[:2]
    lines = max(1, min(height, round((count * height / width) ** 0.5)))
    across = max(1, min(width, round(count / lines)))
    step = (height * width / (lines * across)) ** 0.5
    places = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=2)
    smooth = gaussian_filter(image, (SMOOTHED * step, SMOOTHED * step, 0), mode="nearest")
    cells = np.concatenate([smooth / COMPACTNESS, places / step], axis=2).reshape(height * width, -1)
    grid = (places[..., 0] * lines // height) * across + places[..., 1] * across // width
    labels = grid.ravel()
    for _ in range(ROUNDS):
        known = np.unique(labels)
        centres = np.stack([cells[labels == each].mean(axis=0) for each in known])
        distances = (centres**2).sum(axis=1) - 2 * cells @ centres.T
        labels, before = known[distances.argmin(axis=1)], labels
        if np.array_equal(labels, before):
            break
    return _joined(labels.reshape(height, width), SMALLEST * height * width / (lines * across))


def _joined(labels: np.ndarray, smallest: float) -> np.ndarray:
    """Give each piece a number of its own, and small ones that of a neighbour."""
    from scipy.ndimage import label as pieces_of

    pieces, count = np.zeros(labels.shape, dtype=np.int64), 0
    for each in np.unique(labels):
        found, more = pieces_of(labels == each)
        pieces = np.where(found > 0, found + count - 1, pieces)
        count += more
    sizes = np.bincount(pieces.ravel(), minlength=count)
    for piece in np.argsort(sizes, kind="stable"):
        own = pieces == piece
        size = int(own.sum())
        if 0 < size < smallest and size < pieces.size:
            pieces[own] = _neighbour(pieces, own)
    return np.unique(pieces, return_inverse=True)[1].reshape(labels.shape)


def _neighbour(pieces: np.ndarray, own: np.ndarray) -> int:
    """Return the piece with the longest border to one."""
    beside: list[np.ndarray] = []
    for axis in (0, 1):
        first, second = np.moveaxis(own, axis, 0)[:-1], np.moveaxis(own, axis, 0)[1:]
        left, right = np.moveaxis(pieces, axis, 0)[:-1], np.moveaxis(pieces, axis, 0)[1:]
        beside += [right[first & ~second], left[second & ~first]]
    return int(np.bincount(np.concatenate(beside)).argmax())
