"""Files or rows in memory -> raw data, read as a bundle's model needs it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from danlu.artifacts.bundle import Bundle
from danlu.data.descriptors import RawData
from danlu.data.frames import with_words
from danlu.data.sources.in_memory import read_in_memory
from danlu.data.sources.reader import read_source


def read_for(bundle: Bundle, source: object) -> RawData:
    """Read rows that a bundle's model is to answer, be judged on, or be compared with.

    Args:
        bundle: says how its training files were read.
        source: a file, folder, glob, a list of these, or builtin:NAME; anything else is rows in memory.

    Raises:
        DataError: it cannot be read.
    """
    several = source if isinstance(source, list | tuple) else [source]
    if not all(isinstance(name, str | Path) for name in several):
        read = read_in_memory(source)
        return replace(read, frame=with_words(read.frame))
    named = [str(name) for name in cast(Sequence[str | Path], several)]
    return read_source(named if isinstance(source, list | tuple) else named[0])
