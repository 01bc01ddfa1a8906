"""One vector per row: numbers, embedded or plain, and embedded categories, concatenated."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from danlu.data.specs import TabularInputs
from danlu.models.tabular.numbers import embed_numbers

if TYPE_CHECKING:
    from danlu.models.tabular.families import ResNet, TabM


class FeatureEncoder(nn.Module):
    """Concatenate numbers [batch, numbers] and embedded categories [batch, categories] to [batch, width]."""

    def __init__(self, options: "ResNet | TabM", inputs: TabularInputs) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, embedding_width(size)) for size in inputs.cardinalities)
        embedded = inputs.numeric > 0 and options.numeric_embedding != "none"
        self.numbers = embed_numbers(options, inputs, options.embedding_width) if embedded else None
        self.width = inputs.numeric * (options.embedding_width if embedded else 1)
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
