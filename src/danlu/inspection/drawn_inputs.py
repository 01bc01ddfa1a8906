"""Inputs for a network of which there are no rows: drawn from a seed by their names, types and shapes."""

from collections.abc import Callable, Mapping

import numpy as np

from danlu.core.seeds import Seed

WORDS = "str"  # the type of words
# Name -> its type as numpy names it, and its sizes; a free one has a name of its own.
Described = Mapping[str, tuple[str, tuple[int | str, ...]]]


def draw_inputs(inputs: Described, size_of: Callable[[str, int], int], number: int = 0) -> dict[str, np.ndarray]:
    """Draw normal numbers, whole ones of 0 and 1, masks of 1, empty words.

    Any vocabulary has 0 and 1.

    Args:
        inputs: what is drawn.
        size_of: (a free size's name, its axis) -> the size.
        number: of the drawing, where several are wanted.
    """
    seed = Seed(0).derive("inspection", "drawn-inputs", number)
    found: dict[str, np.ndarray] = {}
    for name, (dtype, told) in inputs.items():
        generator = np.random.default_rng(seed.derive(name).value)
        shape = [each if isinstance(each, int) else size_of(each, axis) for axis, each in enumerate(told)]
        if dtype == WORDS:
            found[name] = np.full(shape, "", dtype=object)
        elif dtype.startswith("float"):
            found[name] = generator.normal(size=shape).astype(dtype)
        elif "mask" in name:
            found[name] = np.ones(shape, dtype=dtype)
        else:
            found[name] = generator.integers(0, 2, size=shape).astype(dtype)
    return found
