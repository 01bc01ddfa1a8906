"""An ensemble of perceptrons that share matrices.

Gorishniy et al. 2024, TabM, https://arxiv.org/abs/2410.24210; Wen et al. 2020, BatchEnsemble,
https://arxiv.org/abs/2002.06715.
"""

import torch
from torch import Tensor, nn

from danlu.data.specs import TabularInputs
from danlu.models.tabular.embeddings import EmbeddingSpec, FeatureEncoder


class BatchEnsembleLinear(nn.Module):
    """Share one matrix among members; each scales inputs and outputs and has its own bias.

    Args:
        members: size of the ensemble.
        inputs: input width.
        outputs: output width.
        random_signs: initialize input scales with random signs, so that members differ from the first step; else ones.
    """

    def __init__(self, members: int, inputs: int, outputs: int, random_signs: bool) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        ones = torch.ones(members, inputs)
        self.scale_in = nn.Parameter(
            torch.where(torch.rand(members, inputs) < 0.5, -ones, ones) if random_signs else ones
        )
        self.scale_out = nn.Parameter(torch.ones(members, outputs))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound).repeat(members, 1))

    def forward(self, values: Tensor) -> Tensor:
        """Map [batch, members, inputs] to [batch, members, outputs]."""
        return torch.addcmul(self.bias, nn.functional.linear(values * self.scale_in, self.weight), self.scale_out)


class EnsembleLinear(nn.Module):
    """Apply a separate matrix and bias per member."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, outputs).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        """Map [batch, members, inputs] to [batch, members, outputs]."""
        mapped: Tensor = torch.einsum("bmi,mio->bmo", values, self.weight)
        return mapped + self.bias


class TabMNetwork(nn.Module):
    """Map numeric [batch, numbers] and categories [batch, categories] to logits [batch, members, outputs]."""

    def __init__(
        self,
        inputs: TabularInputs,
        outputs: int,
        embedding: EmbeddingSpec,
        *,
        members: int,
        embedding_width: int,
        width: int,
        blocks: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.members = members
        self.features = FeatureEncoder(inputs, embedding, embedding_width)
        layers: list[nn.Module] = []
        incoming = self.features.width
        for at in range(blocks):
            layers += [BatchEnsembleLinear(members, incoming, width, random_signs=at == 0), nn.ReLU()]
            layers.append(nn.Dropout(dropout))
            incoming = width
        self.layers = nn.Sequential(*layers)
        self.head = EnsembleLinear(members, incoming, outputs)

    @property
    def last_layer(self) -> nn.Module:
        return self.head

    def forward(self, numeric: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        features = self.features(numeric, categories)[:, None].expand(-1, self.members, -1)
        answer: Tensor = self.head(self.layers(features))
        return answer
