"""Rows that an ONNX file is run on when its layers are looked at: a table with its columns, or arrays by its inputs.

In: the file and what the user hands over. Out: batches of its inputs.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from danlu.errors import ArgumentError, DataError
from danlu.experiment.file_explanation import read_rows

if TYPE_CHECKING:
    from danlu.inspection.onnx_file import OnnxFile

BATCH = 32
ARRAYS = ".npz"
Batch = dict[str, np.ndarray]


def rows_of_file(file: "OnnxFile", data: object) -> tuple[int, Iterator[Batch]]:
    """Return how many rows there are, and batches of the file's inputs.

    Args:
        file: that reads them.
        data: a table, as a path or in memory; or a path of arrays by the names of the inputs (.npz).

    Raises:
        ArgumentError: the file reads no table, and there are no arrays.
        DataError: an input is missing, or has other sizes or no rows.
    """
    if isinstance(data, str | Path) and Path(data).suffix == ARRAYS:
        given = _arrays(file, Path(data))
    else:
        from danlu.explanation.file_answers import file_inputs

        frame, origin = read_rows(data)
        try:
            inputs = file_inputs(file.session(()), frame, origin)
        except ArgumentError as error:
            raise ArgumentError(
                f"{file.path}: {error}; what is no table is given as arrays by the inputs' names, in a {ARRAYS} file",
                code="DL409",
            ) from error
        given = {each.name: each.shaped(each.values(frame, origin)) for each in inputs}
    rows = len(next(iter(given.values())))
    return rows, (
        {name: values[start : start + BATCH] for name, values in given.items()} for start in range(0, rows, BATCH)
    )


def _arrays(file: "OnnxFile", path: Path) -> Batch:
    """Read an array for each of the file's inputs, in its type.

    Raises:
        DataError: one is missing or has other sizes, or they have different numbers of rows, or none.
    """
    try:
        with np.load(path, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in opened.files}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as arrays: {error}", code="DL201") from error
    found = {}
    for name, (dtype, sizes) in file.inputs.items():
        if name not in arrays:
            raise DataError(f"{path}: has no array {name!r}, which {file.path.name} reads", code="DL210")
        shape = arrays[name].shape
        fits = len(shape) == len(sizes) and all(
            not isinstance(size, int) or size == own for size, own in zip(sizes[1:], shape[1:], strict=False)
        )
        if not fits:
            raise DataError(
                f"{path}: {name!r} is {list(shape)}, and {file.path.name} reads {list(sizes)}", code="DL210"
            )
        found[name] = arrays[name].astype(dtype)
    if len({len(values) for values in found.values()}) != 1 or not len(next(iter(found.values()))):
        raise DataError(f"{path}: its arrays need the same number of rows, and one at least", code="DL203")
    return found
