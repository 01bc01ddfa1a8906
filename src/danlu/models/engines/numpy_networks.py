"""Networks of tables in plain numpy: a description and arrays of weights in, a function from rows to outputs out.

Imports the standard library and numpy alone, since `danlu export --to numpy` copies this file to where nothing else is.
What a network is, is said where it is trained (`danlu.models.tabular`); here is only how it answers.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
Layer = Callable[[np.ndarray], np.ndarray]
# (numeric [batch, n] float32, categories [batch, c] int64), None for what a model lacks -> outputs.
Network = Callable[[np.ndarray | None, np.ndarray | None], np.ndarray]
Spec = Mapping[str, Any]

NORM_EPSILON = 1e-5  # torch's, for all its norms
WALKED_AT_ONCE = 1 << 16  # rows times trees, so that what a step touches stays in the processor's cache
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "BOOL": "?", "BF16": "<u2",
}  # fmt: skip


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read a safetensors file: name -> array; bfloat16 becomes float32.

    Each tensor is found by its own name and place, since their order says nothing.

    Raises:
        ValueError: it is no such file.
    """
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    found: dict[str, np.ndarray] = {}
    for name, told in header.items():
        if name == "__metadata__":
            continue
        begin, end = told["data_offsets"]
        values = np.frombuffer(content[8 + size + begin : 8 + size + end], DTYPES[told["dtype"]])
        if told["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        found[name] = values.reshape(told["shape"])
    return found


def build_network(spec: Spec, weights: Arrays) -> Network:
    """Build the network of a family.

    Args:
        spec: `family`, its options, and `numeric`, `cardinalities` and `edges` of its inputs.
        weights: by their names in the bundle.

    Returns:
        (numeric [batch, n] float32, categories [batch, c] int64) -> [batch, outputs], or [batch, members, outputs].

    Raises:
        KeyError, ValueError: the weights are not those of such a network.
    """
    return FAMILIES[spec["family"]](spec, weights)


# Layers.


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float32)


def _linear(weights: Arrays, name: str) -> Layer:
    return _affine(weights[f"{name}.weight"], weights[f"{name}.bias"])


def _affine(weight: np.ndarray, bias: np.ndarray) -> Layer:
    """Return the map of a weight [outputs, inputs] and a bias."""
    matrix, shift = _float32(weight.T), _float32(bias)

    def apply(values: np.ndarray) -> np.ndarray:
        found = values @ matrix
        found += shift
        return found

    return apply


def _relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0.0)


def _silu(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # beyond float32 the quotient is 0, as it should be
        return np.asarray(values / (1.0 + np.exp(-values)))


def _gelu(values: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * values * (1.0 + _erf(values * math.sqrt(0.5))))


def _erf(values: np.ndarray) -> np.ndarray:
    """Return the error function, within 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26)."""
    size = np.abs(values)
    part = 1.0 / (1.0 + 0.3275911 * size)
    series = ((((1.061405429 * part - 1.453152027) * part + 1.421413741) * part - 0.284496736) * part) + 0.254829592
    return np.asarray(np.copysign(1.0 - series * part * np.exp(-size * size), values))


ACTIVATIONS: dict[str, Layer] = {"relu": _relu, "gelu": _gelu, "silu": _silu}


def _batch_norm(weights: Arrays, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and shift, [width] float64."""
    mean, variance, scale, shift = (
        weights[f"{name}.{part}"].astype(np.float64) for part in ("running_mean", "running_var", "weight", "bias")
    )
    factor = scale / np.sqrt(variance + NORM_EPSILON)
    return factor, shift - mean * factor


def _group_norm(weights: Arrays, name: str, groups: int) -> Layer:
    """Return group norm of the last dimension; with one group it is layer norm."""
    scale, shift = _float32(weights[f"{name}.weight"]), _float32(weights[f"{name}.bias"])

    def apply(values: np.ndarray) -> np.ndarray:
        parts = values.reshape(*values.shape[:-1], groups, -1)
        centred = parts - parts.mean(axis=-1, keepdims=True)
        centred /= np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(NORM_EPSILON))
        return np.asarray(centred.reshape(values.shape) * scale + shift)

    return apply


def _each(matrices: np.ndarray) -> Layer:
    """Return a matrix of its own for each of several vectors: [batch, n, i] -> [batch, n, o]."""
    kept = _float32(matrices)
    return lambda values: np.matmul(values.transpose(1, 0, 2), kept).transpose(1, 0, 2)


# Features of a row.


def _encoder(spec: Spec, weights: Arrays, prefix: str = "") -> Network:
    """Return what joins numbers, embedded or as they are, and embedded categories, [batch, width]."""
    count = len(spec["cardinalities"])
    tables = [_float32(weights[f"{prefix}embeddings.{at}.weight"]) for at in range(count)]
    embed: Layer | None = None
    if spec.get("numeric_embedding", "none") != "none" and spec["numeric"]:
        embed = _number_embedding(spec, weights, f"{prefix}numbers")

    def encode(numeric: np.ndarray | None, categories: np.ndarray | None) -> np.ndarray:
        parts: list[np.ndarray] = []
        if numeric is not None:
            parts.append(numeric if embed is None else embed(numeric).reshape(len(numeric), -1))
        if categories is not None:
            parts += [table[categories[:, at]] for at, table in enumerate(tables)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    return encode


def _number_embedding(spec: Spec, weights: Arrays, name: str) -> Layer:
    """Return the embedding of numbers, [batch, n] -> [batch, n, width]."""
    form = spec["numeric_embedding"]
    if form == "periodic":
        frequencies = _float32(2 * math.pi * weights[f"{name}.frequencies"])
        mix, bias = _each(weights[f"{name}.mixing.weight"]), _float32(weights[f"{name}.bias"])

        def waves(numeric: np.ndarray) -> np.ndarray:
            phases = frequencies * numeric[:, :, None]
            return _relu(mix(np.concatenate([np.cos(phases), np.sin(phases)], axis=2)) + bias)

        return waves
    if form == "piecewise-linear":
        place, bends = _placing(spec["edges"]), _each(weights[f"{name}.bends.weight"])
        line = _line(weights, f"{name}.line")
        return lambda numeric: line(numeric) + bends(place(numeric))
    line = _line(weights, name)
    return line if form == "none" else lambda numeric: _relu(line(numeric))


def _line(weights: Arrays, name: str) -> Layer:
    slope, start = _float32(weights[f"{name}.weight"]), _float32(weights[f"{name}.bias"])
    return lambda numeric: numeric[:, :, None] * slope + start


def _placing(edges: list[list[float]]) -> Layer:
    """Return the place of numbers in each of their bins, [batch, n] -> [batch, n, bins], from 0 to 1."""
    bins = max((len(own) - 1 for own in edges), default=1)
    start, width, there = (np.full((len(edges), bins), value, np.float32) for value in (0.0, 1.0, 0.0))
    for row, own in enumerate(edges):
        count = len(own) - 1
        start[row, :count], width[row, :count], there[row, :count] = own[:-1], np.diff(np.array(own)), 1.0
    return lambda numeric: np.clip((numeric[:, :, None] - start) / width, 0.0, 1.0) * there


# Families.


def mlp(spec: Spec, weights: Arrays) -> Network:
    """Return a perceptron beside a linear path; without hidden layers it is that path alone."""
    encode, direct = _encoder(spec, weights), _linear(weights, "linear")
    hidden, normalization = spec.get("hidden", ()), spec.get("normalization", "none")
    layers: list[Layer] = []
    for at in range(len(hidden)):
        name, norm = f"hidden.{4 * at}", f"hidden.{4 * at + 1}"
        if normalization == "batch":  # one affine map after another is one
            scale, shift = _batch_norm(weights, norm)
            weight = weights[f"{name}.weight"].astype(np.float64) * scale[:, None]
            layers.append(_affine(weight, weights[f"{name}.bias"].astype(np.float64) * scale + shift))
        else:
            layers.append(_linear(weights, name))
        if normalization in ("layer", "group"):
            layers.append(_group_norm(weights, norm, 1 if normalization == "layer" else spec["groups"][at]))
        layers.append(ACTIVATIONS[spec["activation"]])
    if hidden:
        layers.append(_linear(weights, f"hidden.{4 * len(hidden)}"))

    def answer(numeric: np.ndarray | None = None, categories: np.ndarray | None = None) -> np.ndarray:
        values = encode(numeric, categories)
        found = direct(values)
        if layers:
            for layer in layers:
                values = layer(values)
            found += values
        return found

    return answer


def resnet(spec: Spec, weights: Arrays) -> Network:
    """Return a residual network."""
    encode, stem = _encoder(spec, weights, "features."), _linear(weights, "stem")
    blocks: list[tuple[Layer, Layer]] = []
    for at in range(spec["blocks"]):
        scale, shift = _batch_norm(weights, f"blocks.{at}.added.0")
        weight = weights[f"blocks.{at}.added.1.weight"].astype(np.float64)
        first = _affine(weight * scale, weights[f"blocks.{at}.added.1.bias"] + weight @ shift)
        blocks.append((first, _linear(weights, f"blocks.{at}.added.4")))
    factor, added = (_float32(part) for part in _batch_norm(weights, "head.0"))
    last = _linear(weights, "head.2")

    def answer(numeric: np.ndarray | None = None, categories: np.ndarray | None = None) -> np.ndarray:
        values = stem(encode(numeric, categories))
        for first, second in blocks:
            values = values + second(_relu(first(values)))
        return last(_relu(values * factor + added))

    return answer


def tabm(spec: Spec, weights: Arrays) -> Network:
    """Return an ensemble of perceptrons, [batch, members, outputs]."""
    encode, layers = _encoder(spec, weights, "features."), []
    for at in range(spec["blocks"]):
        parts = (weights[f"layers.{3 * at}.{part}"] for part in ("scale_in", "weight", "scale_out", "bias"))
        scale_in, weight, scale_out, bias = (_float32(part) for part in parts)
        layers.append((scale_in, _float32(weight.T), scale_out, bias))
    last, bias_last = _each(weights["head.weight"]), _float32(weights["head.bias"])

    def answer(numeric: np.ndarray | None = None, categories: np.ndarray | None = None) -> np.ndarray:
        values = encode(numeric, categories)[:, None, :]
        for scale_in, matrix, scale_out, bias in layers:
            values = _relu((values * scale_in) @ matrix * scale_out + bias)
        return np.asarray(last(values) + bias_last)

    return answer


def ft_transformer(spec: Spec, weights: Arrays) -> Network:
    """Return a transformer with a token for each feature."""
    first = _float32(weights["tokens.answer"])
    embed = _number_embedding(spec, weights, "tokens.numbers") if spec["numeric"] else None
    table = _float32(weights["tokens.table.weight"]) if spec["cardinalities"] else None
    offsets = _offsets(spec["cardinalities"])
    blocks = [_transformer_block(spec, weights, at) for at in range(spec["blocks"])]
    norm, last = _group_norm(weights, "head.0", 1), _linear(weights, "head.2")

    def answer(numeric: np.ndarray | None = None, categories: np.ndarray | None = None) -> np.ndarray:
        given = numeric if numeric is not None else categories
        assert given is not None
        parts = [np.broadcast_to(first, (len(given), *first.shape[1:]))]
        if embed is not None and numeric is not None:
            parts.append(embed(numeric))
        if table is not None and categories is not None:
            parts.append(table[categories + offsets])
        tokens = np.concatenate(parts, axis=1)
        for block in blocks:
            tokens = block(tokens)
        return last(_relu(norm(tokens[:, 0])))

    return answer


def _transformer_block(spec: Spec, weights: Arrays, at: int) -> Layer:
    """Return attention and a gated feed-forward layer; the last block computes the first token alone."""
    name, heads, is_last = f"blocks.{at}", spec["heads"], at == spec["blocks"] - 1
    before = None if at == 0 else _group_norm(weights, f"{name}.attention_norm", 1)
    query, key, value, out = (_linear(weights, f"{name}.attention.{part}") for part in ("query", "key", "value", "out"))
    norm = _group_norm(weights, f"{name}.gated_norm", 1)
    first, second = _linear(weights, f"{name}.gated.first"), _linear(weights, f"{name}.gated.second")

    def split(values: np.ndarray) -> np.ndarray:
        return values.reshape(*values.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    def apply(tokens: np.ndarray) -> np.ndarray:
        normed = tokens if before is None else before(tokens)
        kept, asking = (tokens[:, :1], normed[:, :1]) if is_last else (tokens, normed)
        asked, known = split(query(asking)), split(key(normed))
        scores = asked @ known.transpose(0, 1, 3, 2) * np.float32(1 / math.sqrt(asked.shape[-1]))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        found = (scores @ split(value(normed))).transpose(0, 2, 1, 3)
        kept = kept + out(found.reshape(*kept.shape[:2], -1))
        through, gate = np.split(first(norm(kept)), 2, axis=-1)
        return np.asarray(kept + second(through * _relu(gate)))

    return apply


def additive(spec: Spec, weights: Arrays) -> Network:
    """Return the sum of a curve per number and a value per category."""
    bias, place = _float32(weights["bias"]), _placing(spec["edges"])
    rises, values = _float32(weights["rises"]), _float32(weights["values"])
    flat, offsets = rises.reshape(-1, rises.shape[-1]), _offsets(spec["cardinalities"])

    def answer(numeric: np.ndarray | None = None, categories: np.ndarray | None = None) -> np.ndarray:
        found: np.ndarray = bias
        if numeric is not None:
            found = found + place(numeric).reshape(len(numeric), -1) @ flat
        if categories is not None:
            found = found + values[categories + offsets].sum(axis=1)
        return found

    return answer


def _offsets(sizes: list[int]) -> np.ndarray:
    counts = np.array(sizes, dtype=np.int64)
    return np.asarray(np.cumsum(counts) - counts)


def trees(spec: Spec, weights: Arrays) -> Network:
    """Return the sum of trees, `groups` sums of `width` outputs, and 0 before them with `zero_first`.

    All trees are walked at once, a level a step. A missing number becomes the infinity that goes its way, and whether a
    category is in a split's set becomes a number of its own, so that every split is one comparison. So does whether a
    number is missing, where a split asks for nothing else.
    """
    nodes = {name: np.asarray(values) for name, values in weights.items()}
    numbers, groups, is_zero_first = spec["numeric"], spec["groups"], spec["zero_first"]
    order, first, depth = _paired(nodes["left"], nodes["right"], nodes["roots"])
    feature, size = nodes["feature"][order], nodes["set_size"][order]
    threshold = _float32(nodes["threshold"][order])
    value = _float32(nodes["value"][order])
    is_leaf, is_set = first == np.arange(len(first)), size > 0
    is_code = (feature >= numbers) & ~is_set & ~is_leaf
    goes_left = nodes["missing_left"][order].astype(bool)
    is_gap = ~(is_leaf | is_set | is_code | goes_left) & np.isposinf(threshold)
    # Columns: numbers with -inf for missing, numbers with inf for missing, codes, one per split by a set or a gap.
    columns = np.where(goes_left, feature, feature + numbers)
    columns[is_code] = feature[is_code] + numbers
    codes = int(feature[is_code].max()) + 1 - numbers if is_code.any() else 0
    own, begin, sizes = feature[is_set] - numbers, nodes["set_start"][order][is_set], size[is_set]
    gaps, begin_sets = feature[is_gap], 2 * numbers + codes
    begin_gaps = begin_sets + len(own)
    columns[is_set], columns[is_gap] = begin_sets + np.arange(len(own)), begin_gaps + np.arange(len(gaps))
    columns[is_leaf], threshold[is_set | is_gap] = 0, 0.5
    words, count = nodes["words"].astype(np.int64), len(nodes["roots"])
    width = max(1, begin_gaps + len(gaps))

    def fill(numeric: np.ndarray | None, categories: np.ndarray | None, rows: int) -> np.ndarray:
        seen = np.empty((rows, width), dtype=np.float32)
        if numeric is not None:
            np.fmax(numeric, -np.inf, out=seen[:, :numbers])
            np.fmin(numeric, np.inf, out=seen[:, numbers : 2 * numbers])
            if len(gaps):
                seen[:, begin_gaps:] = np.isnan(numeric[:, gaps])
        if categories is not None:
            if codes:
                seen[:, 2 * numbers : begin_sets] = categories[:, :codes]
            if len(own):
                given = categories[:, own]
                word = given >> 5
                known = (given >= 0) & (word < sizes)
                held = words[begin + np.where(known, word, 0)] >> (given & 31) & 1
                seen[:, begin_sets:begin_gaps] = ~(known & (held == 1))  # in the set is left, and so not above 0.5
        return seen

    def walk(seen: np.ndarray) -> np.ndarray:
        rows = len(seen)
        flat = seen.reshape(-1)
        at = np.broadcast_to(np.arange(count), (rows, count))
        starts = np.arange(rows)[:, None] * width if rows > 1 else None
        for _ in range(depth):
            column = columns.take(at)
            if starts is not None:
                column += starts
            above = flat.take(column) > threshold.take(at)
            at = first.take(at)
            at += above
        found = value.take(at, axis=0)
        return np.asarray(found.reshape(rows, -1, groups * value.shape[1]).sum(axis=1))

    def answer(numeric: np.ndarray | None = None, categories: np.ndarray | None = None) -> np.ndarray:
        rows = len(numeric if numeric is not None else categories)  # type: ignore[arg-type]
        seen = fill(numeric, categories, rows)
        step = max(1, WALKED_AT_ONCE // count)
        parts = [walk(seen[begin : begin + step]) for begin in range(0, rows, step)]
        sums = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.concatenate([np.zeros_like(sums[:, :1]), sums], axis=1) if is_zero_first else sums

    return answer


def _paired(left: np.ndarray, right: np.ndarray, roots: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Order nodes by level, the two children of a node side by side.

    Returns:
        the nodes in this order; the place of each one's left child, of a leaf its own; the most levels below a root.
    """
    levels, firsts, begin, depth = [roots], [], 0, 0
    while True:
        now = levels[-1]
        is_split = left[now] != now
        begin += len(now)
        places = np.arange(begin - len(now), begin)
        places[is_split] = begin + 2 * np.arange(int(is_split.sum()))
        firsts.append(places)
        if not is_split.any():
            return np.concatenate(levels), np.concatenate(firsts), depth
        parents = now[is_split]
        levels.append(np.stack([left[parents], right[parents]], axis=1).reshape(-1))
        depth += 1


FAMILIES: dict[str, Callable[[Spec, Arrays], Network]] = {
    "linear": mlp,
    "mlp": mlp,
    "additive": additive,
    "tree": trees,
    "boosting": trees,
    "resnet": resnet,
    "tabm": tabm,
    "ft-transformer": ft_transformer,
}
