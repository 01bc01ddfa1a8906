"""Scaling of numbers as nodes: all columns at once, grouped by the form of their scaling."""

from collections.abc import Sequence

import numpy as np

from danlu.data.tabular.scaling import Scaling
from danlu.exporters.onnx.graph import GraphBuilder


def add_scaling(builder: GraphBuilder, values: str, scalings: Sequence[Scaling], dtype: str) -> str:
    """Scale a matrix [batch, columns] without gaps, and return the name of the result.

    Args:
        builder: of the graph.
        values: the matrix.
        scalings: one a column.
        dtype: of the matrix, float64 or float32.
    """
    forms = [_form(scaling) for scaling in scalings]
    groups = list(dict.fromkeys(forms))
    if len(groups) == 1:
        return _FORMS[groups[0]](builder, values, scalings, dtype)
    parts, order = [], []
    for group in groups:
        places = [at for at, form in enumerate(forms) if form == group]
        chosen = builder.add("Gather", values, builder.constant(places, np.int64), axis=1)
        parts.append(_FORMS[group](builder, chosen, [scalings[at] for at in places], dtype))
        order += places
    together = builder.add("Concat", *parts, axis=1)
    return builder.add("Gather", together, builder.constant(np.argsort(order), np.int64), axis=1)


def _form(scaling: Scaling) -> str:
    return "quantile" if scaling.quantiles else scaling.bend


def _linear(builder: GraphBuilder, values: str, scalings: Sequence[Scaling], dtype: str) -> str:
    """Subtract the offset, divide by the scale."""
    offsets, scales = (np.array([getattr(each, name) for each in scalings]) for name in ("offset", "scale"))
    shifted = builder.add("Sub", values, builder.constant(offsets, dtype)) if offsets.any() else values
    return builder.add("Div", shifted, builder.constant(scales, dtype)) if (scales != 1).any() else shifted


def _log1p(builder: GraphBuilder, values: str, scalings: Sequence[Scaling], dtype: str) -> str:
    sizes = builder.add("Log", builder.add("Add", builder.add("Abs", values), builder.constant(1.0, dtype)))
    return _linear(builder, builder.add("Mul", builder.add("Sign", values), sizes), scalings, dtype)


def _yeo_johnson(builder: GraphBuilder, values: str, scalings: Sequence[Scaling], dtype: str) -> str:
    """Bend each half by itself, since the other half's power may not be finite."""
    zero = builder.constant(0.0, dtype)
    exponents = np.array([scaling.exponent for scaling in scalings])
    above = _power(builder, builder.add("Max", values, zero), exponents, dtype)
    below = _power(builder, builder.add("Max", builder.add("Neg", values), zero), 2.0 - exponents, dtype)
    bent = builder.add("Where", builder.add("Less", values, zero), builder.add("Neg", below), above)
    return _linear(builder, bent, scalings, dtype)


def _power(builder: GraphBuilder, values: str, exponents: np.ndarray, dtype: str) -> str:
    """Return ((1 + x)^e - 1) / e of x >= 0.

    Where e is 0, it is log(1 + x)."""
    one, logarithmic = builder.constant(1.0, dtype), exponents == 0
    logs = builder.add("Log", builder.add("Add", values, one))
    powers = builder.constant(np.where(logarithmic, 1.0, exponents), dtype)
    raised = builder.add("Sub", builder.add("Exp", builder.add("Mul", logs, powers)), one)
    found = builder.add("Div", raised, powers)
    return builder.add("Where", builder.constant(logarithmic), logs, found) if logarithmic.any() else found


def _quantile(builder: GraphBuilder, values: str, scalings: Sequence[Scaling], dtype: str) -> str:
    """Interpolate between the knots of each column, from -1 to 1, and no farther.

    Each value climbs through the bins between knots, as far as it reaches into each; columns with fewer bins have some
    of width 0. Looking the bin up would take a gather per value, which OpenVINO 2026.4 answers wrongly.
    """
    bins = max(len(scaling.quantiles) for scaling in scalings) - 1
    starts, widths, slopes = (np.zeros((len(scalings), bins)) for _ in range(3))
    for row, each in enumerate(scalings):
        own = np.array(each.quantiles)
        count = len(own) - 1
        starts[row, :count], widths[row, :count] = own[:-1], np.diff(own)
        slopes[row, :count] = 2.0 / count / np.diff(own)
    wide = builder.add("Unsqueeze", values, builder.constant([2], np.int64))
    reached = builder.add(
        "Max", builder.add("Sub", wide, builder.constant(starts, dtype)), builder.constant(0.0, dtype)
    )
    climbed = builder.add(
        "Mul", builder.add("Min", reached, builder.constant(widths, dtype)), builder.constant(slopes, dtype)
    )
    height = builder.add("ReduceSum", climbed, builder.constant([2], np.int64), keepdims=0)
    return builder.add("Sub", height, builder.constant(1.0, dtype))


_FORMS = {"none": _linear, "log1p": _log1p, "yeo-johnson": _yeo_johnson, "quantile": _quantile}
