"""A generalized additive model: the sum of one curve per number and one value per category, and these as a table."""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from danlu.data.specs import TabularInputs
from danlu.models.tabular.embeddings import PiecewiseLinearEncoding
from danlu.tasks.base import Target

if TYPE_CHECKING:
    from danlu.data.tabular.preprocessor import TabularPreprocessor

INTERCEPT = "(all rows)"


class AdditiveNetwork(nn.Module):
    """Map numeric [batch, numbers] and categories [batch, categories] to logits [batch, outputs].

    `rises` holds how much a curve rises within each bin, [numbers, bins, outputs], so weight decay flattens curves;
    `values` holds each category's contribution.
    """

    offsets: Tensor

    def __init__(self, inputs: TabularInputs, outputs: int) -> None:
        super().__init__()
        self.edges, self.sizes = inputs.edges, inputs.cardinalities
        self.place = PiecewiseLinearEncoding(inputs.edges)
        self.rises = nn.Parameter(torch.zeros(inputs.numeric, self.place.bins, outputs))
        sizes = torch.tensor(inputs.cardinalities, dtype=torch.int64)
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        self.values = nn.Parameter(torch.zeros(sum(inputs.cardinalities), outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, numeric: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        answer: Tensor = self.bias
        if numeric is not None:
            answer = answer + torch.einsum("bnt,nto->bo", self.place(numeric), self.rises)
        if categories is not None:
            answer = answer + nn.functional.embedding(categories + self.offsets, self.values).sum(dim=1)
        return answer


def shape_functions(network: AdditiveNetwork, preprocessor: "TabularPreprocessor", target: Target) -> pl.DataFrame:
    """Return each feature's contribution as a table, as described in `Additive.read`."""
    outputs = target.output_names
    names, found = preprocessor.names, []
    constant = target.to_readable(_as_array(network.bias))
    rises, values = (target.to_readable(_as_array(weights)) for weights in (network.rises, network.values))
    for position, edges in enumerate(network.edges):
        heights = np.concatenate([np.zeros((1, len(outputs))), rises[position, : len(edges) - 1].cumsum(axis=0)])
        mean = ((heights[1:] + heights[:-1]) / 2).mean(axis=0)  # bins are quantiles, with about equal numbers of rows
        constant = constant + mean
        places = preprocessor.to_units(position, np.array(edges))
        found.append(_rows(names[position], [f"{place:.6g}" for place in places], heights - mean, outputs))
    begin = 0
    for category, size in zip(preprocessor.embedded, network.sizes, strict=True):
        own = values[begin : begin + size]
        begin += size
        constant = constant + own.mean(axis=0)
        found.append(_rows(category.column, list(category.names), own - own.mean(axis=0), outputs))
    constant = constant + target.readable_offset
    return pl.concat([_rows(INTERCEPT, [""], constant[None], outputs), *found])


def _as_array(weights: Tensor) -> np.ndarray:
    values: np.ndarray = weights.detach().double().cpu().numpy()
    return values


def _rows(feature: str, values: list[str], added: np.ndarray, outputs: list[str]) -> pl.DataFrame:
    columns = {name: added[:, at] for at, name in enumerate(outputs)}
    return pl.DataFrame({"feature": [feature] * len(values), "value": values, **columns})
