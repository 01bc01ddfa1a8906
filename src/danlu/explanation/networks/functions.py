"""Networks as functions of what has gradients: of pixels, or of the embeddings of tokens.

In: a bundle's network and a score of its outputs. Out: modules [rows, ...] -> [rows], as captum takes them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Score = Callable[[Tensor], Tensor]


class PixelScore(nn.Module):
    """Map images [rows, channels, height, width], from 0 to 255, to scores [rows]."""

    def __init__(self, network: nn.Module, score: Score) -> None:
        super().__init__()
        self.network, self.score = network, score

    def forward(self, image: Tensor) -> Tensor:
        """Return the score of each image."""
        return self.score(self.network(image=image))


class EmbeddingScore(nn.Module):
    """Map embeddings of a text's tokens [rows, length, width] to scores [rows].

    The network reads its own tokens, and gets the embeddings in place of what it looks up.
    """

    def __init__(self, network: nn.Module, score: Score, inputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.network, self.score, self.inputs = network, score, inputs

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return the score of each text."""

        def instead(module: nn.Module, given: Any, output: Tensor) -> Tensor:
            return embeddings

        inputs = {name: values.expand(len(embeddings), -1) for name, values in self.inputs.items()}
        hook = input_embeddings(self.network).register_forward_hook(instead)
        try:
            return self.score(self.network(**inputs))
        finally:
            hook.remove()


def input_embeddings(network: Any) -> nn.Module:
    """Return the layer that looks up the tokens of a transformers model, within danlu's wrapper."""
    found: nn.Module = network.network.get_input_embeddings()
    return found


@torch.no_grad()
def look_up(network: nn.Module, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Return what the embedding layer gives, call by call of a forward pass."""
    found: list[Tensor] = []
    hook = input_embeddings(network).register_forward_hook(lambda module, given, output: found.append(output.detach()))
    try:
        network(**inputs)
    finally:
        hook.remove()
    return found
