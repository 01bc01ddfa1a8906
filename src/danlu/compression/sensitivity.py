"""Which layers lose most by 8 bits: each is quantised alone, and the answers compared with those of full precision."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from danlu.compression.quantizer import Graph, static_int8
from danlu.compression.ranges import Arrays, Range
from danlu.core.imports import load_onnxruntime
from danlu.core.text import suggestion
from danlu.errors import ArgumentError
from danlu.models.engines.onnxruntime_engine import quiet_options

COMPARED = 64  # rows


def layers_to_keep(
    graph: Graph,
    ranges: Mapping[str, Range],
    batches: Sequence[Arrays],
    keep: Literal["auto", "none"] | tuple[str, ...],
    sensitive_db: float,
) -> tuple[str, ...]:
    """Return the layers that keep their precision: asked for, or found sensitive.

    Raises:
        ArgumentError: there is no layer of a name.
    """
    if keep == "none":
        return ()
    if keep != "auto":
        return tuple(_named(graph, name) for name in keep)
    noise = signal_to_noise(graph, ranges, batches)
    return tuple(name for name, decibels in noise.items() if decibels < sensitive_db)


def signal_to_noise(graph: Graph, ranges: Mapping[str, Range], batches: Sequence[Arrays]) -> dict[str, float]:
    """Return the answers' signal to noise, in dB, with each layer quantised alone."""
    rows = {name: array[:COMPARED] for name, array in batches[0].items()}
    exact = _answers(graph.model, rows)
    signal = float(np.mean((exact - exact.mean(axis=0)) ** 2)) or float(np.mean(exact**2))
    found: dict[str, float] = {}
    for layer in graph.nodes:
        others = [node.name for node in graph.model.graph.node if node.name != layer]
        noise = float(np.mean((_answers(static_int8(graph, dict(ranges), others), rows) - exact) ** 2))
        found[layer] = float("inf") if noise == 0 else float(10 * np.log10(max(signal, 1e-30) / noise))
    return found


def _answers(model: Any, rows: Arrays) -> np.ndarray:
    onnxruntime = load_onnxruntime()

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), quiet_options(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, rows)[0], dtype=np.float64)


def _named(graph: Graph, name: str) -> str:
    """Return the layer of a name, which may be its module's alone, as `features.0`."""
    found = [node for node in graph.nodes if node == name or node.partition("/")[0] == name]
    if not found:
        raise ArgumentError(f"quantize: keep: there is no layer {name!r}{suggestion(name, graph.nodes)}", code="DL402")
    return found[0]
