"""A transformer with one token per feature of a row.

Gorishniy et al. 2021, Revisiting Deep Learning Models for Tabular Data, https://arxiv.org/abs/2106.11959.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from danlu.data.specs import TabularInputs
from danlu.errors import ArgumentError
from danlu.models.tabular.embeddings import EmbeddingSpec, embed_numbers


class FeatureTokenizer(nn.Module):
    """Turn a row into tokens, [batch, tokens, width]: CLS, numbers, categories."""

    offsets: Tensor

    def __init__(self, inputs: TabularInputs, embedding: EmbeddingSpec, width: int) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.empty(1, 1, width).uniform_(-1, 1) * width**-0.5)
        self.numbers = embed_numbers(embedding, inputs, width) if inputs.numeric else None
        # One embedding table for all categorical columns; `offsets` gives each its own rows.
        self.table: nn.Embedding | None = None
        sizes = torch.tensor(inputs.cardinalities, dtype=torch.int64)
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        if inputs.cardinalities:
            self.table = nn.Embedding(int(sizes.sum()), width)
            nn.init.uniform_(self.table.weight, -(width**-0.5), width**-0.5)

    def forward(self, numeric: Tensor | None, categories: Tensor | None) -> Tensor:
        given = numeric if numeric is not None else categories
        assert given is not None
        parts = [self.answer.expand(given.shape[0], 1, -1)]
        if self.numbers is not None:
            parts.append(self.numbers(numeric))
        if self.table is not None and categories is not None:
            parts.append(self.table(categories + self.offsets))
        return torch.cat(parts, dim=1)


class MultiHeadAttention(nn.Module):
    """Attend from some tokens to all tokens with several heads."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, asking: Tensor, tokens: Tensor) -> Tensor:
        """Attend from asking [batch, some tokens, width] to tokens [batch, tokens, width]; return asking's shape."""
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(asking), self.key(tokens), self.value(tokens))
        )
        dropout = self.dropout if self.training else 0.0
        found = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        answer: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return answer


class GatedFeedForward(nn.Module):
    """Apply a feed-forward layer with ReGLU gating (Shazeer 2020, https://arxiv.org/abs/2002.05202)."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, 2 * inner), nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        through, gate = self.first(tokens).chunk(2, dim=-1)
        answer: Tensor = self.second(self.dropout(through * gate.relu()))
        return answer


class TransformerBlock(nn.Module):
    """Apply attention, then a gated feed-forward layer, both pre-norm and residual.

    Args:
        width: size of a token.
        heads: of attention.
        inner: width of the feed-forward layer.
        attention_dropout: on attention weights.
        dropout: within the feed-forward layer.
        residual_dropout: on the output of attention and feed-forward layer.
        first: skip the first norm as in the paper, since tokens start at one scale.
        last: compute the CLS token only, the only one needed afterwards.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        attention_dropout: float,
        dropout: float,
        residual_dropout: float,
        first: bool,
        last: bool,
    ) -> None:
        super().__init__()
        self.last = last
        self.attention_norm = nn.Identity() if first else nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads, attention_dropout)
        self.gated_norm = nn.LayerNorm(width)
        self.gated = GatedFeedForward(width, inner, dropout)
        self.dropout = nn.Dropout(residual_dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.attention_norm(tokens)
        kept, asking = (tokens[:, :1], normed[:, :1]) if self.last else (tokens, normed)
        kept = kept + self.dropout(self.attention(asking, normed))
        answer: Tensor = kept + self.dropout(self.gated(self.gated_norm(kept)))
        return answer


class FTTransformerNetwork(nn.Module):
    """Map numeric [batch, numbers] and categories [batch, categories] to logits [batch, outputs]."""

    def __init__(
        self,
        inputs: TabularInputs,
        outputs: int,
        embedding: EmbeddingSpec,
        *,
        width: int,
        blocks: int,
        heads: int,
        widening: float,
        attention_dropout: float,
        dropout: float,
        residual_dropout: float,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ArgumentError(f"model.width: {width} is not a multiple of model.heads, {heads}", code="DL512")
        self.tokens = FeatureTokenizer(inputs, embedding, width)
        inner, rates = round(width * widening), (attention_dropout, dropout, residual_dropout)
        self.blocks = nn.Sequential(
            *(TransformerBlock(width, heads, inner, *rates, at == 0, at == blocks - 1) for at in range(blocks))
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, outputs))

    @property
    def last_layer(self) -> nn.Module:
        return self.head[-1]

    def forward(self, numeric: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        answer: Tensor = self.head(self.blocks(self.tokens(numeric, categories))[:, 0])
        return answer
