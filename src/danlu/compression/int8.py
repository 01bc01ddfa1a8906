"""Write a candidate's network as `model.int8.onnx`: 8-bit matrices and activations, by onnxruntime's own quantiser."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from danlu.compression.base import Candidate, Material
from danlu.compression.quantizer import Graph, dynamic_int8, observed_values, ready_graph, static_int8
from danlu.compression.ranges import Arrays, Method, calibrate, check_values
from danlu.compression.rows import FEWEST_ROWS, drawn_training_rows, iter_batches
from danlu.compression.sensitivity import layers_to_keep
from danlu.core.cpu import this_processor
from danlu.core.imports import require_extra
from danlu.core.seeds import Seed
from danlu.errors import ArgumentError, DataError
from danlu.models.engines.onnxruntime_engine import INT8_FILE


@dataclass(frozen=True)
class Int8:
    """Say how a network gets 8 bits.

    Attributes:
        is_dynamic: ranges of activations come from each batch, and matrices alone are quantised.
        calibration, percentile: how ranges follow from training rows.
        rows: to calibrate on.
        keep: layers that keep their precision: auto, none, or their names.
        sensitive_db: signal to noise below which auto keeps a layer.
    """

    is_dynamic: bool
    calibration: Method
    percentile: float
    rows: int
    keep: Literal["auto", "none"] | tuple[str, ...]
    sensitive_db: float


def quantized(candidate: Candidate, options: Int8, material: Material, seed: Seed) -> Candidate:
    """Return the candidate with its network as an 8-bit file that ONNX Runtime answers from.

    Raises:
        ArgumentError: the network has no form in ONNX, or nothing of it can be quantised.
        DataError: there are too few rows to calibrate on.
    """
    require_extra("compress", "quantising", only=("onnx", "onnxscript", "onnxruntime"))
    graph = ready_graph(candidate, material, only_matrices=options.is_dynamic)
    kept: tuple[str, ...] = ()
    if options.is_dynamic:
        model = dynamic_int8(graph)
    else:
        batches = calibration_batches(material, options.rows, seed)
        ranges = calibrate(graph.model, batches, options.calibration, options.percentile, observed_values(graph))
        wrong = check_values(ranges)
        if wrong:
            raise DataError(
                f"quantize: the network gives no finite number at {wrong[0]} for training rows; look for extreme "
                "values in the data",
                code="DL211",
            )
        kept = layers_to_keep(graph, ranges, batches, options.keep, options.sensitive_db)
        model = static_int8(graph, ranges, kept)
    content = model.SerializeToString()
    return replace(
        candidate,
        files={**candidate.files, INT8_FILE: content},
        engines=("onnxruntime", "torch"),
        processors=(this_processor().to_json(),),
        notes=(*candidate.notes, described(graph, content, kept)),
    )


def calibration_batches(material: Material, rows: int, seed: Seed) -> list[Arrays]:
    """Return prepared training rows to calibrate on.

    Raises:
        DataError: there are too few.
    """
    examples = drawn_training_rows(material, rows, seed, fewest=FEWEST_ROWS)
    size = material.bundle.manifest.batch_size
    return [{name: values.numpy() for name, values in inputs.items()} for inputs, _ in iter_batches(examples, size)]


def described(graph: Graph, content: bytes, kept: Sequence[str]) -> str:
    """Return a sentence about a quantised file.

    Raises:
        ArgumentError: it is no smaller, so nothing of it was quantised.
    """
    before = graph.model.ByteSize()
    if len(content) >= before:
        raise ArgumentError(
            f"quantize: the 8-bit file would have {len(content):,} bytes, and {before:,} before; the network is too "
            "small for 8 bits to pay",
            code="DL409",
        )
    held = f", of which {', '.join(kept)} keep their precision" if kept else ""
    bits = "8" if this_processor().adds_8_bit_exactly else "7, since sums of 8 saturate on this processor"
    return f"{len(graph.nodes)} layers{held}; {len(content):,} bytes for {before:,}; bits of weights: {bits}"
