"""A residual network for tables.

Gorishniy et al. 2021, Revisiting Deep Learning Models for Tabular Data, https://arxiv.org/abs/2106.11959.
"""

from torch import Tensor, nn

from danlu.data.specs import TabularInputs
from danlu.models.tabular.embeddings import EmbeddingSpec, FeatureEncoder


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

    def __init__(
        self,
        inputs: TabularInputs,
        outputs: int,
        embedding: EmbeddingSpec,
        *,
        embedding_width: int,
        width: int,
        blocks: int,
        widening: float,
        dropout: float,
        residual_dropout: float,
    ) -> None:
        super().__init__()
        inner = round(width * widening)
        self.features = FeatureEncoder(inputs, embedding, embedding_width)
        self.stem = nn.Linear(self.features.width, width)
        self.blocks = nn.Sequential(*(ResNetBlock(width, inner, dropout, residual_dropout) for _ in range(blocks)))
        self.head = nn.Sequential(nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, outputs))

    @property
    def last_layer(self) -> nn.Module:
        return self.head[-1]

    def forward(self, numeric: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        answer: Tensor = self.head(self.blocks(self.stem(self.features(numeric, categories))))
        return answer
