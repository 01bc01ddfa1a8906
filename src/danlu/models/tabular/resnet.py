"""A residual network for tables.

Gorishniy et al. 2021, Revisiting Deep Learning Models for Tabular Data, https://arxiv.org/abs/2106.11959.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from danlu.data.specs import TabularInputs
from danlu.models.tabular.embeddings import FeatureEncoder

if TYPE_CHECKING:
    from danlu.models.tabular.options import ResNet


class ResNetBlock(nn.Module):
    """Normalize, widen and narrow, then add the input."""

    def __init__(self, width: int, inner: int, dropout: float, residual_dropout: float) -> None:
        super().__init__()
        self.added = nn.Sequential(
            nn.BatchNorm1d(width),
            nn.Linear(width, inner),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(inner, width),
            nn.Dropout(residual_dropout),
        )

    def forward(self, values: Tensor) -> Tensor:
        answer: Tensor = values + self.added(values)
        return answer


class ResNetNetwork(nn.Module):
    """Map numeric [batch, numbers] and categories [batch, categories] to logits [batch, outputs]."""

    def __init__(self, options: "ResNet", inputs: TabularInputs, outputs: int) -> None:
        super().__init__()
        width, inner = options.width, round(options.width * options.widening)
        self.features = FeatureEncoder(options, inputs)
        self.stem = nn.Linear(self.features.width, width)
        self.blocks = nn.Sequential(
            *(ResNetBlock(width, inner, options.dropout, options.residual_dropout) for _ in range(options.blocks))
        )
        self.head = nn.Sequential(nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, outputs))

    @property
    def last_layer(self) -> nn.Module:
        return self.head[-1]

    def forward(self, numeric: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        answer: Tensor = self.head(self.blocks(self.stem(self.features(numeric, categories))))
        return answer
