"""Embeddings of a row's features: each number as a vector by its own weights, and all features as one vector.

Gorishniy et al. 2022, On Embeddings for Numerical Features in Tabular Deep Learning, https://arxiv.org/abs/2203.05556.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from danlu.data.specs import TabularInputs


@dataclass(frozen=True)
class EmbeddingSpec:
    """Hold the options of numeric embeddings.

    Attributes:
        form: a key of EMBEDDINGS.
        frequencies: periodic: frequencies per number.
        frequency_scale: periodic: standard deviation of the initial frequencies.
    """

    form: str
    frequencies: int
    frequency_scale: float


class PerFeatureLinear(nn.Module):
    """Apply a separate linear map per number: [batch, numbers, inputs] -> [batch, numbers, width]."""

    def __init__(self, numbers: int, inputs: int, width: int, zero: bool = False) -> None:
        super().__init__()
        bound = 0.0 if zero else inputs**-0.5
        self.weight = nn.Parameter(torch.empty(numbers, inputs, width).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        mapped: Tensor = torch.einsum("bni,niw->bnw", values, self.weight)
        return mapped


class LinearEmbedding(nn.Module):
    """Embed a number as a learned vector times the number, plus a learned bias."""

    def __init__(self, numbers: int, width: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(numbers, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(numbers, width).uniform_(-bound, bound))

    def forward(self, numeric: Tensor) -> Tensor:
        return torch.addcmul(self.bias, numeric[:, :, None], self.weight)


class LinearReLUEmbedding(LinearEmbedding):
    """Apply ReLU to a linear embedding, which a following linear layer would make redundant."""

    def forward(self, numeric: Tensor) -> Tensor:
        return super().forward(numeric).relu()


class PeriodicEmbedding(nn.Module):
    """Embed a number by sines and cosines of learned frequencies, mixed linearly."""

    def __init__(self, numbers: int, width: int, frequencies: int, scale: float) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(numbers, frequencies) * scale)
        self.mixing = PerFeatureLinear(numbers, 2 * frequencies, width)
        self.bias = nn.Parameter(torch.zeros(numbers, width))

    def forward(self, numeric: Tensor) -> Tensor:
        phases = 2 * math.pi * self.frequencies * numeric[:, :, None]
        mixed: Tensor = self.mixing(torch.cat([phases.cos(), phases.sin()], dim=2))
        return (mixed + self.bias).relu()


class PiecewiseLinearEncoding(nn.Module):
    """Encode a number by its position in each bin: 0 before, 1 after.

    Values beyond the outer edges are clamped.

    Args:
        edges: rising bin edges of each number.
    """

    start: Tensor
    width: Tensor
    there: Tensor

    def __init__(self, edges: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.bins = max((len(own) - 1 for own in edges), default=1)
        start, width = torch.zeros(len(edges), self.bins), torch.ones(len(edges), self.bins)
        there = torch.zeros(len(edges), self.bins)
        for row, own in enumerate(edges):
            count, places = len(own) - 1, torch.tensor(own, dtype=torch.float64)
            start[row, :count], width[row, :count] = places[:-1].float(), places.diff().float()
            there[row, :count] = 1.0
        # Known from preprocessing; not saved as weights, since `build` gets the edges again.
        for name, values in (("start", start), ("width", width), ("there", there)):
            self.register_buffer(name, values, persistent=False)

    def forward(self, numeric: Tensor) -> Tensor:
        """Map [batch, numbers] to [batch, numbers, bins]; bins that a number lacks are 0."""
        return ((numeric[:, :, None] - self.start) / self.width).clamp(0.0, 1.0) * self.there


class PiecewiseLinearEmbedding(nn.Module):
    """Embed a number piecewise linearly: a line plus a slope per bin, initially zero."""

    def __init__(self, edges: Sequence[Sequence[float]], width: int) -> None:
        super().__init__()
        self.place = PiecewiseLinearEncoding(edges)
        self.line = LinearEmbedding(len(edges), width)
        self.bends = PerFeatureLinear(len(edges), self.place.bins, width, zero=True)

    def forward(self, numeric: Tensor) -> Tensor:
        line: Tensor = self.line(numeric)
        bent: Tensor = line + self.bends(self.place(numeric))
        return bent


def embed_numbers(spec: EmbeddingSpec, inputs: TabularInputs, width: int) -> nn.Module:
    """Build the embedding of a row's numbers; `none` gives a linear embedding."""
    return EMBEDDINGS[spec.form](spec, inputs, width)


EMBEDDINGS: dict[str, Callable[[EmbeddingSpec, TabularInputs, int], nn.Module]] = {
    "none": lambda spec, inputs, width: LinearEmbedding(inputs.numeric, width),
    "linear": lambda spec, inputs, width: LinearReLUEmbedding(inputs.numeric, width),
    "periodic": lambda spec, inputs, width: PeriodicEmbedding(
        inputs.numeric, width, spec.frequencies, spec.frequency_scale
    ),
    "piecewise-linear": lambda spec, inputs, width: PiecewiseLinearEmbedding(inputs.edges, width),
}


class FeatureEncoder(nn.Module):
    """Concatenate numbers [batch, numbers] and embedded categories [batch, categories] to [batch, width].

    Args:
        inputs: specification of a row.
        spec: of numeric embeddings.
        numeric_width: size of a numeric embedding.
    """

    def __init__(self, inputs: TabularInputs, spec: EmbeddingSpec, numeric_width: int) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, embedding_width(size)) for size in inputs.cardinalities)
        embedded = inputs.numeric > 0 and spec.form != "none"
        self.numbers = embed_numbers(spec, inputs, numeric_width) if embedded else None
        self.width = inputs.numeric * (numeric_width if embedded else 1)
        self.width += sum(embedding_width(size) for size in inputs.cardinalities)

    def forward(self, numeric: Tensor | None, categories: Tensor | None) -> Tensor:
        parts: list[Tensor] = []
        if numeric is not None:
            parts.append(numeric if self.numbers is None else self.numbers(numeric).flatten(1))
        if categories is not None:
            parts += [embed(categories[:, index]) for index, embed in enumerate(self.embeddings)]
        return torch.cat(parts, dim=1)


def embedding_width(cardinality: int) -> int:
    """Return the embedding size for a categorical column (fastai's rule, at most 50)."""
    return min(50, int(1.6 * cardinality**0.56 + 0.5))
