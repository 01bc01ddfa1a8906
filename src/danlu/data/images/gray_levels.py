"""Which values of gray of 16 bits are black and white, learned from the training images.

A camera of 12 bits uses a sixteenth of the range: scaled by all of it, its images would be black.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from danlu.data.images.decode import Levels, Reference, read_gray_words, read_header
from danlu.data.splits import evenly_spaced_rows

LOOKED_AT, MOST_READ = 64, 1024  # headers that tell whether there is such gray, and images that are read
TAIL = 1e-4  # share of pixels at either end that may be cut: dead and hot ones would take the whole range
WORDS = 1 << 16
WIDE = WORDS // 2  # a range of this width is scaled by all 16 bits


def learn_gray_levels(references: Sequence[Reference], folder: Path) -> Levels | None:
    """Learn the black and the white level of the training images.

    Args:
        references: of the training split; at most MOST_READ of them, evenly spaced, are read.
        folder: where relative paths start.

    Returns:
        None without gray of 16 bits, or where it uses half of the range or more.

    Raises:
        DataError: an image cannot be decoded.
    """
    chosen = [references[row] for row in evenly_spaced_rows(len(references), MOST_READ)]
    first = [chosen[row] for row in evenly_spaced_rows(len(chosen), LOOKED_AT)]
    if not any(read_header(reference, folder).deep for reference in first):
        return None
    counts = np.zeros(WORDS, dtype=np.int64)
    for reference in chosen:
        words = read_gray_words(reference, folder)
        if words is not None:
            counts += np.bincount(words.ravel(), minlength=WORDS)
    total = counts.sum()
    if not total:
        return None
    below = np.cumsum(counts)
    low = int(np.searchsorted(below, TAIL * total, side="right"))
    high = int(np.searchsorted(below, total - TAIL * total))
    return None if high - low >= WIDE else (low, max(high, low + 1))
