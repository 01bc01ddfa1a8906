"""A multilayer perceptron for tables: numbers and category codes in, logits out. `linear` has no hidden layers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from danlu.data.specs import TabularInputs
from danlu.models.normalization import MIN_FEATURES_PER_GROUP, num_groups
from danlu.models.tabular.embeddings import embedding_width

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class MLPNetwork(nn.Module):
    """Add the outputs of a linear path and of hidden layers.

    With the linear path (Cheng et al. 2016, Wide & Deep, https://arxiv.org/abs/1606.07792) a small table does no worse
    than with a linear model: the hidden layers, whose last weights start at zero, only learn the remainder.
    """

    def __init__(
        self,
        inputs: TabularInputs,
        outputs: int,
        hidden: Sequence[int],
        dropout: float,
        normalization: str,
        activation: str,
    ) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, embedding_width(size)) for size in inputs.cardinalities)
        width = inputs.numeric + sum(embedding_width(size) for size in inputs.cardinalities)
        self.linear = nn.Linear(width, outputs)
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), _normalization(normalization, size)]
            layers += [ACTIVATIONS[activation](), nn.Dropout(dropout)]
            width = size
        self.hidden: nn.Sequential | None = None
        if layers:
            last = nn.Linear(width, outputs)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.hidden = nn.Sequential(*layers, last)

    @property
    def last_layer(self) -> nn.Module | None:
        """Last hidden layer's linear map; the linear path bypasses it."""
        return None if self.hidden is None else self.hidden[-1]

    def forward(self, numeric: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Map numeric [batch, numbers] and categories [batch, categories] to logits [batch, outputs]."""
        parts = [] if numeric is None else [numeric]
        if categories is not None:
            parts += [embed(categories[:, index]) for index, embed in enumerate(self.embeddings)]
        features = torch.cat(parts, dim=1)
        answer: Tensor = self.linear(features)
        return answer if self.hidden is None else answer + self.hidden(features)


def _normalization(name: str, size: int) -> nn.Module:
    if name == "group" and size > 1:  # torch's group norm refuses one row of one feature; layer norm is the same there
        return nn.GroupNorm(num_groups(size, MIN_FEATURES_PER_GROUP), size)
    known: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "group": nn.LayerNorm}
    return known[name](size) if name in known else nn.Identity()
