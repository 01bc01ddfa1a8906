"""The range of each value inside an ONNX graph over some rows: what static quantisation takes its scales from.

Rows are cut into chunks of one size, whatever batches they come in, and counted into fixed bins, so one set of rows
gives one set of ranges.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from danlu.core.imports import load_onnxruntime
from danlu.models.engines.onnxruntime_engine import quiet_options

if TYPE_CHECKING:
    import onnx

Arrays = dict[str, np.ndarray]
Range = tuple[float, float]
Method = Literal["minmax", "percentile", "entropy"]

CHUNK = 16  # rows that are computed at once; of texts one, without its padding
BINS = 2048
LEVELS = 256  # of 8 bits
MASK = "attention_mask"


def calibrate(
    model: "onnx.ModelProto", batches: Sequence[Arrays], method: Method, percentile: float, values: Sequence[str]
) -> dict[str, Range]:
    """Return the range of each value of a graph.

    Args:
        model: prepared inputs -> outputs, of numbers.
        batches: rows, in batches of any sizes.
        method: minmax takes the least and the largest; percentile cuts off the same share at both ends; entropy cuts
            off where the Kullback-Leibler divergence from what is left to 256 levels is least (Migacz 2017,
            https://on-demand.gputechconf.com/gtc/2017/presentation/s7310-8-bit-inference-with-tensorrt.pdf).
        percentile: of values within the range, 50 to 100.
        values: their names.
    """
    session = _session(model, values)
    chunks = list(_chunks(batches))
    ends: dict[str, Range] = {}
    for found in _run(session, values, chunks):
        for name, array in found.items():
            low, high = ends.get(name, (np.inf, -np.inf))
            ends[name] = (min(low, float(array.min())), max(high, float(array.max())))
    if method == "minmax":
        return ends
    counts: dict[str, np.ndarray] = {name: np.zeros(BINS, dtype=np.int64) for name in values}
    for found in _run(session, values, chunks):
        for name, array in found.items():
            counts[name] += np.histogram(array, BINS, _bin_ends(ends[name], method))[0]
    cut = {"percentile": lambda name: _percentile(counts[name], ends[name], percentile)}
    cut["entropy"] = lambda name: _entropy(counts[name], ends[name])
    return {name: cut[method](name) for name in values}


def _session(model: "onnx.ModelProto", values: Sequence[str]) -> Any:
    """Open a graph that also gives values from its inside."""
    import onnx

    onnxruntime = load_onnxruntime()

    shown = deepcopy(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in values)
    return onnxruntime.InferenceSession(shown.SerializeToString(), quiet_options(1), providers=["CPUExecutionProvider"])


def _run(session: Any, values: Sequence[str], chunks: Sequence[Arrays]) -> Iterator[Arrays]:
    for chunk in chunks:
        yield dict(zip(values, session.run(list(values), chunk), strict=True))


def _chunks(batches: Sequence[Arrays]) -> Iterator[Arrays]:
    """Cut rows into chunks of one size; texts stand alone, without what fills them up."""
    if batches and any(array.ndim == 2 and name == "input_ids" for name, array in batches[0].items()):
        for batch in batches:
            for row in range(len(batch["input_ids"])):
                length = int(batch[MASK][row].sum()) if MASK in batch else batch["input_ids"].shape[1]
                yield {name: array[row : row + 1, :length] for name, array in batch.items()}
        return
    whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    count = len(next(iter(whole.values())))
    for start in range(0, count, CHUNK):
        yield {name: array[start : start + CHUNK] for name, array in whole.items()}


def _bin_ends(ends: Range, method: Method) -> Range:
    """Return the ends of the bins: of entropy those of the sizes, symmetric."""
    low, high = ends
    if method == "entropy":
        largest = max(abs(low), abs(high)) or 1.0
        return -largest, largest
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _percentile(counts: np.ndarray, ends: Range, percentile: float) -> Range:
    low, high = _bin_ends(ends, "percentile")
    edges, share = np.linspace(low, high, BINS + 1), np.cumsum(counts) / counts.sum()
    outside = (100.0 - percentile) / 200.0
    left = int(np.searchsorted(share, outside, side="right"))
    right = int(np.searchsorted(share, 1.0 - outside))
    return max(ends[0], float(edges[left])), min(ends[1], float(edges[min(right + 1, BINS)]))


def _entropy(counts: np.ndarray, ends: Range) -> Range:
    low, high = ends
    half = BINS // 2
    sizes = (counts[half:] + counts[:half][::-1]).astype(np.float64)  # of the absolute values
    levels = LEVELS if low >= 0 or high <= 0 else LEVELS // 2
    largest = max(abs(low), abs(high)) or 1.0
    divergences = {last: _divergence(sizes, last, levels) for last in range(levels, half + 1)}
    best = min(divergences, key=lambda last: (divergences[last], -last))
    limit = best / half * largest
    return max(low, -limit), min(high, limit)


def _divergence(sizes: np.ndarray, last: int, levels: int) -> float:
    """Return the divergence of bins up to `last` from their means over levels.

    All beyond is counted in the last.
    """
    kept = sizes[:last]
    whole = kept.copy()
    whole[-1] += sizes[last:].sum()
    there = kept > 0
    starts = (np.arange(levels) * last) // levels
    sums, counted = np.add.reduceat(kept, starts), np.add.reduceat(there.astype(np.int64), starts)
    width = np.diff(np.append(starts, last))
    means = np.repeat(sums / np.maximum(counted, 1), width)
    coarse = np.where(there, means, 0.0)
    if not whole.sum() or not coarse.sum():
        return np.inf
    p, q = whole / whole.sum(), coarse / coarse.sum()
    both = p > 0
    floor = 1e-12  # a level that is empty where there is something
    return float(np.sum(p[both] * np.log(p[both] / np.maximum(q[both], floor))))


def check_values(ranges: Mapping[str, Range]) -> list[str]:
    """Return the names of values whose range is no finite number."""
    return [name for name, ends in ranges.items() if not all(map(np.isfinite, ends))]
