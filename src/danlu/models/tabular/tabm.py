"""An ensemble of perceptrons that share matrices (Gorishniy et al. 2024, TabM; Wen et al. 2020, BatchEnsemble)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from danlu.data.specs import TabularInputs
from danlu.models.tabular.features import Features

if TYPE_CHECKING:
    from danlu.models.tabular.families import TabM


class SharedLinear(nn.Module):
    """One matrix for all members; each scales what goes in and what comes out, and has a bias of its own.

    Args:
        signs: begin with random signs in what goes in, so that members differ from the first step; else with ones.
    """

    def __init__(self, members: int, inputs: int, outputs: int, signs: bool) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        ones = torch.ones(members, inputs)
        self.scale_in = nn.Parameter(torch.where(torch.rand(members, inputs) < 0.5, -ones, ones) if signs else ones)
        self.scale_out = nn.Parameter(torch.ones(members, outputs))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound).repeat(members, 1))

    def forward(self, values: Tensor) -> Tensor:
        """[batch, members, inputs] -> [batch, members, outputs]."""
        return torch.addcmul(self.bias, nn.functional.linear(values * self.scale_in, self.weight), self.scale_out)


class OwnLinear(nn.Module):
    """A matrix and a bias of its own for each member."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, outputs).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        """[batch, members, inputs] -> [batch, members, outputs]."""
        mapped: Tensor = torch.einsum("bmi,mio->bmo", values, self.weight)
        return mapped + self.bias


class TabMNetwork(nn.Module):
    """numeric: [batch, numbers], categories: [batch, categories] -> [batch, members, outputs]."""

    def __init__(self, options: "TabM", inputs: TabularInputs, outputs: int) -> None:
        super().__init__()
        self.members = options.members
        self.features = Features(options, inputs)
        layers: list[nn.Module] = []
        width = self.features.width
        for at in range(options.blocks):
            layers += [SharedLinear(options.members, width, options.width, signs=at == 0), nn.ReLU()]
            layers.append(nn.Dropout(options.dropout))
            width = options.width
        self.layers = nn.Sequential(*layers)
        self.head = OwnLinear(options.members, width, outputs)

    @property
    def last_layer(self) -> nn.Module:
        return self.head

    def forward(self, numeric: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        features = self.features(numeric, categories)[:, None].expand(-1, self.members, -1)
        answer: Tensor = self.head(self.layers(features))
        return answer
