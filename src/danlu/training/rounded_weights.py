"""Train a network that answers with rounded weights (quantisation-aware training of weights).

The forward pass sees each matrix rounded to its levels, and the gradient is applied to the matrix as it was: the
straight-through estimator, Bengio et al. 2013, https://arxiv.org/abs/1308.3432; Jacob et al. 2018,
https://arxiv.org/abs/1712.05877. Activations stay as they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from danlu.models.coded_weights import rounded
from danlu.recipe.sections.sparsity import Rounding
from danlu.training.masks import prunable_weights


@dataclass(frozen=True)
class WeightRounding:
    """Round a network's matrices while gradients are computed, or answers.

    Attributes:
        network: its linear layers and convolutions are rounded.
        options: to how many bits, in which groups.
    """

    network: nn.Module
    options: Rounding

    @contextmanager
    def rounded(self) -> Iterator[None]:
        """Put rounded weights into the network, and the others back afterwards."""
        weights = prunable_weights(self.network)
        kept: dict[str, Tensor] = {}
        with torch.no_grad():
            for name, weight in weights.items():
                kept[name] = weight.detach().clone()
                weight.copy_(rounded(weight, self.options.bits, self.options.group))
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in weights.items():
                    weight.copy_(kept[name])
