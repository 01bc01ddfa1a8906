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
AT_ONCE = 1 << 16  # rows times what is asked of each, so that a step's arrays stay in the processor's cache
WORD_BITS = 32  # category codes per number of a set
SCANNED_LEAVES = 64  # of a tree whose splits are asked all at once: the bits of a number
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
        found: np.ndarray = values @ matrix
        found += shift
        return found

    return apply


def _relu(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(values, 0.0))


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
        found = _centred(values.reshape(*values.shape[:-1], groups, -1)).reshape(values.shape)
        found *= scale
        found += shift
        return found

    return apply


def _centred(values: np.ndarray) -> np.ndarray:
    """Return values with mean 0 and variance 1 along the last dimension."""
    size = values.shape[-1]
    found: np.ndarray = values - np.add.reduce(values, axis=-1, keepdims=True) / np.float32(size)
    variance = np.vecdot(found, found)[..., None] / np.float32(size)
    found /= np.sqrt(variance + np.float32(NORM_EPSILON))
    return found


def _joined(weights: Arrays, names: list[str], norm: str | None) -> Layer:
    """Return linear maps side by side, with the norm's scale and shift before them."""
    weight = np.concatenate([weights[f"{name}.weight"] for name in names]).astype(np.float64)
    bias = np.concatenate([weights[f"{name}.bias"] for name in names]).astype(np.float64)
    if norm is not None:
        bias += weight @ weights[f"{norm}.bias"].astype(np.float64)
        weight *= weights[f"{norm}.weight"].astype(np.float64)
    return _affine(weight, bias)


def _each(matrices: np.ndarray) -> Layer:
    """Return a matrix for each vector: [batch, n, i] -> [batch, n, o]."""
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
    """Return the place in each bin, 0 to 1: [batch, n] -> [batch, n, bins]."""
    bins = max((len(own) - 1 for own in edges), default=1)
    start, width, there = (np.full((len(edges), bins), value, np.float32) for value in (0.0, 1.0, 0.0))
    for row, own in enumerate(edges):
        count = len(own) - 1
        start[row, :count], width[row, :count], there[row, :count] = own[:-1], np.diff(np.array(own)), 1.0

    def place(numeric: np.ndarray) -> np.ndarray:
        found: np.ndarray = numeric[:, :, None] - start
        found /= width
        found.clip(0.0, 1.0, out=found)
        found *= there
        return found

    return place


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
    norm, parts = None if at == 0 else f"{name}.attention_norm", ("query", "key", "value")
    query, key, value = (f"{name}.attention.{part}" for part in parts)
    width = len(weights[f"{query}.bias"])
    ask = _joined(weights, [query], norm)
    know = _joined(weights, [key, value] if is_last else [query, key, value], norm)
    out, second = _linear(weights, f"{name}.attention.out"), _linear(weights, f"{name}.gated.second")
    first = _joined(weights, [f"{name}.gated.first"], f"{name}.gated_norm")
    factor = np.float32(1 / math.sqrt(width // heads))

    def split(values: np.ndarray) -> np.ndarray:
        return values.reshape(*values.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    def apply(tokens: np.ndarray) -> np.ndarray:
        normed = tokens if norm is None else _centred(tokens)
        kept, known = tokens[:, :1] if is_last else tokens, know(normed)
        asked = ask(normed[:, :1]) if is_last else known[..., :width]
        asked, keys, values = split(asked * factor), split(known[..., -2 * width : -width]), split(known[..., -width:])
        scores = asked @ keys.transpose(0, 1, 3, 2)
        scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= np.add.reduce(scores, axis=-1, keepdims=True)
        found = (scores @ values).transpose(0, 2, 1, 3)
        kept = kept + out(found.reshape(*kept.shape[:2], -1))
        gated = first(_centred(kept))
        half = gated.shape[-1] // 2
        through, gate = gated[..., :half], gated[..., half:]
        through *= np.maximum(gate, 0.0)
        kept += second(through)
        return kept

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
    """Return the sums of trees: `groups` of `width` outputs, 0 before them with `zero_first`."""
    nodes = {name: np.asarray(values) for name, values in weights.items()}
    order, first, levels = _paired(nodes["left"], nodes["right"], nodes["roots"])
    per_node = ("feature", "threshold", "missing_left", "set_start", "set_size")
    nodes |= {name: nodes[name][order] for name in per_node}
    columns, threshold, fill = _comparisons(spec["numeric"], nodes, first)
    leaves, start = _leaves(first, levels)
    count, groups, value = len(nodes["roots"]), spec["groups"], _float32(nodes["value"][order])
    most = int(leaves[:count].max())
    if most <= SCANNED_LEAVES:
        reach, ends = _scan(columns, threshold, first, leaves, start, count)
        value, size = value[ends], count * most
    else:
        reach, size = _walk(columns, threshold, first, len(levels) - 1, count), count
    step, width, zero = max(1, AT_ONCE // size), groups * value.shape[1], int(spec["zero_first"])

    def answer(numeric: np.ndarray | None = None, categories: np.ndarray | None = None) -> np.ndarray:
        seen = fill(numeric, categories)
        sums = np.zeros((len(seen), zero + width), dtype=np.float32)
        for begin in range(0, len(seen), step):
            block = seen[begin : begin + step]
            added = value.take(reach(block), axis=0).reshape(len(block), -1, width)
            np.add.reduce(added, axis=1, out=sums[begin : begin + step, zero:])
        return sums

    return answer


def _paired(left: np.ndarray, right: np.ndarray, roots: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[slice]]:
    """Order nodes by level, the two children of a node side by side.

    Returns:
        the nodes in this order; the place of each one's left child, of a leaf its own; the places of each level.
    """
    rows, firsts, levels = [roots], [], list[slice]()
    while True:
        now = rows[-1]
        begin = levels[-1].stop if levels else 0
        levels.append(slice(begin, begin + len(now)))
        is_split = left[now] != now
        places = np.arange(begin, begin + len(now))
        places[is_split] = begin + len(now) + 2 * np.arange(int(is_split.sum()))
        firsts.append(places)
        if not is_split.any():
            return np.concatenate(rows), np.concatenate(firsts), levels
        parents = now[is_split]
        rows.append(np.stack([left[parents], right[parents]], axis=1).reshape(-1))


def _comparisons(numbers: int, nodes: Arrays, first: np.ndarray) -> tuple[np.ndarray, np.ndarray, Network]:
    """Make every split one comparison: above a threshold is right.

    A missing number becomes the infinity that goes its way. Whether a category is in a split's set becomes a value of
    its own, and so does whether a number is missing, where a split asks for nothing else.

    Returns:
        the column and the threshold of each node; and what makes the columns of some rows.
    """
    feature, size, threshold = nodes["feature"], nodes["set_size"], _float32(nodes["threshold"]).copy()
    is_leaf, is_set = first == np.arange(len(first)), size > 0
    is_code = (feature >= numbers) & ~is_set & ~is_leaf
    goes_left = nodes["missing_left"].astype(bool)
    is_gap = ~(is_leaf | is_set | is_code | goes_left) & np.isposinf(threshold)
    # Columns: numbers with -inf for missing, numbers with inf for missing, codes, one per split by a set or a gap.
    columns = np.where(goes_left, feature, feature + numbers)
    columns[is_code] = feature[is_code] + numbers
    codes = int(feature[is_code].max()) + 1 - numbers if is_code.any() else 0
    own, is_outside, bases, limits = _sets(feature[is_set] - numbers, nodes["set_start"][is_set], size[is_set], nodes)
    gaps, begin_sets = feature[is_gap], 2 * numbers + codes
    begin_gaps = begin_sets + len(own)
    columns[is_set], columns[is_gap] = begin_sets + np.arange(len(own)), begin_gaps + np.arange(len(gaps))
    columns[is_leaf], threshold[is_set | is_gap] = 0, 0.5
    width = max(1, begin_gaps + len(gaps))

    def fill(numeric: np.ndarray | None, categories: np.ndarray | None) -> np.ndarray:
        given = numeric if numeric is not None else categories
        assert given is not None, "a row has numbers or categories"
        seen = np.empty((len(given), width), dtype=np.float32)
        if numeric is not None:
            np.fmax(numeric, -np.inf, out=seen[:, :numbers])
            np.fmin(numeric, np.inf, out=seen[:, numbers : 2 * numbers])
            if len(gaps):
                seen[:, begin_gaps:] = np.isnan(numeric[:, gaps])
        if categories is not None:
            if codes:
                seen[:, 2 * numbers : begin_sets] = categories[:, :codes]
            if len(own):
                place = np.minimum(categories.take(own, axis=1), limits)
                place += bases
                seen[:, begin_sets:begin_gaps] = is_outside.take(place)
        return seen

    return columns, threshold, fill


def _sets(own: np.ndarray, begin: np.ndarray, size: np.ndarray, nodes: Arrays) -> tuple[np.ndarray, ...]:
    """Return each set as a list: whether a code is outside, which is right.

    Returns:
        the category that each split asks for; the lists, one behind the other; the place of each, and its last entry,
        which stands for all codes beyond.
    """
    limits = size * WORD_BITS
    bases = np.cumsum(limits + 1) - (limits + 1)
    is_outside = np.ones(int((limits + 1).sum()), dtype=np.bool_)
    for base, first, count in zip(bases, begin, size, strict=True):
        words = nodes["words"][first : first + count].astype("<u4")
        is_outside[base : base + count * WORD_BITS] = np.unpackbits(words.view(np.uint8), bitorder="little") == 0
    return own, is_outside, bases, limits


def _leaves(first: np.ndarray, levels: list[slice]) -> tuple[np.ndarray, np.ndarray]:
    """Return the leaves below each node, and those of its tree left of them."""
    leaves, start = np.ones(len(first), dtype=np.int64), np.zeros(len(first), dtype=np.int64)
    splits = [np.flatnonzero(first[level] != np.arange(level.start, level.stop)) + level.start for level in levels]
    for at in reversed(splits):
        leaves[at] = leaves[first[at]] + leaves[first[at] + 1]
    for at in splits:
        start[first[at]], start[first[at] + 1] = start[at], start[at] + leaves[first[at]]
    return leaves, start


def _walk(columns: np.ndarray, threshold: np.ndarray, first: np.ndarray, depth: int, count: int) -> Layer:
    """Walk all trees at once, a level a step.

    Columns of rows -> nodes, [rows, trees].
    """

    def reach(seen: np.ndarray) -> np.ndarray:
        at = np.broadcast_to(np.arange(count), (len(seen), count))
        flat, starts = seen.reshape(-1), np.arange(len(seen))[:, None] * seen.shape[1]
        for _ in range(depth):
            above = flat.take(columns.take(at) + starts) > threshold.take(at)
            at = first.take(at)
            at += above
        return at

    return reach


def _scan(
    columns: np.ndarray, threshold: np.ndarray, first: np.ndarray, leaves: np.ndarray, start: np.ndarray, count: int
) -> tuple[Layer, np.ndarray]:
    """Ask all splits at once.

    Columns of rows -> places in a list of leaves, [rows, trees].

    A split that sends a row right rules out the leaves on its left; the first leaf that remains is reached. Lucchese et
    al. 2015, QuickScorer, https://doi.org/10.1145/2766462.2767733. Splits stand in a matrix [splits, trees], filled up
    with ones that never send right.
    """
    is_leaf, tree = first == np.arange(len(first)), np.arange(len(first))
    parents = np.flatnonzero(~is_leaf)
    for parent in parents:  # a node stands behind its parent
        tree[first[parent] : first[parent] + 2] = tree[parent]
    most, owners = int(leaves[:count].max()), tree[parents]
    by_tree = np.argsort(owners, kind="stable")
    parents, owners = parents[by_tree], owners[by_tree]
    place = (np.arange(len(parents)) - np.searchsorted(owners, owners)) * count + owners
    splits, kind = max(1, most - 1), np.uint32 if most <= 32 else np.uint64
    asked, limit = np.zeros(splits * count, dtype=np.int64), np.full(splits * count, np.inf, dtype=np.float32)
    asked[place], limit[place] = columns[parents], threshold[parents]
    ruled_out = np.zeros(splits * count, dtype=kind)
    left, before = leaves[first[parents]].tolist(), start[parents].tolist()
    ruled_out[place] = [((1 << some) - 1) << others for some, others in zip(left, before, strict=True)]
    ends, found = np.zeros((count, most), dtype=np.int64), np.flatnonzero(is_leaf)
    ends[tree[found], start[found]] = found
    begin, one = np.arange(count) * most, kind(1)

    def reach(seen: np.ndarray) -> np.ndarray:
        above = seen.take(asked, axis=1) > limit
        gone = np.bitwise_or.reduce((above * ruled_out).reshape(len(seen), splits, count), axis=1)
        kept = ~gone
        return np.asarray(np.bitwise_count((kept & -kept) - one) + begin)  # the lowest bit that is left

    return reach, ends.reshape(-1)


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
