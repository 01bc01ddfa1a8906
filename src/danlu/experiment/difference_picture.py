"""The picture of where two networks part: measured on the rows of the first, or on drawn inputs of two files.

In: a `Subject` and the network beside it, or two ONNX files. Out: `Measured`.
"""

from typing import TYPE_CHECKING

from danlu.experiment.shown_rows import describe_samples
from danlu.experiment.visualization import Measured

if TYPE_CHECKING:
    from danlu.experiment.network_pairs import NetworkPair
    from danlu.inspection.onnx_file import OnnxFile
    from danlu.inspection.subject import Subject

DRAWN_ROWS = 16  # of inputs, where two files are compared and there are no rows


def measure_difference(subject: "Subject", other: "NetworkPair", threshold_db: float) -> Measured:
    """Compare a network with another on the same rows, layer by layer."""
    from danlu.inspection.difference import compare_networks

    found = compare_networks(other.one, other.other, other.batches(subject), threshold_db)
    samples = describe_samples(subject, found.rows)
    apart = [{**sample, "apart": found.answers[row]} for sample, row in zip(samples, found.rows, strict=True)]
    return Measured({**found.as_json(), "against": other.name, "samples": apart})


def measure_file_difference(files: "tuple[OnnxFile, OnnxFile]", threshold_db: float) -> Measured:
    """Compare two ONNX files on drawn inputs, layer by layer."""
    from danlu.inspection.difference import compare_networks

    one, other = files
    inputs = one.drawn(DRAWN_ROWS)
    found = compare_networks(one, other, [(inputs, inputs)], threshold_db)
    drawn = [{"row": row, "fields": {}, "image": "", "apart": found.answers[row]} for row in found.rows]
    return Measured({**found.as_json(), "against": other.path.name, "samples": drawn})
