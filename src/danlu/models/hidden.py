"""A network's hidden states: what stands before its last layer, or the tokens' states after each of its layers.

Every network with a layer that turns a sample's features into logits names it as `last_layer`; one of your own may do
so too. States are read by hooks while the network is called, so networks know nothing of who reads them.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from danlu.core.errors import ArgumentError
from danlu.models.infer import judging

States = Literal["features", "layers"]


class StateReader:
    """Reads a network's hidden states whenever it is called.

    Attributes:
        states: `features`: what the last layer is given, the mean over members of an ensemble and over the views of one
            that looks at a sample more than once; `layers`: the tokens' states after each layer of a transformer.
        found: of the last call: [batch, width], or a tensor [batch, tokens, width] a layer.
    """

    def __init__(self, model: nn.Module, states: States, whose: str) -> None:
        """Put hooks on a model.

        Args:
            whose: what a person calls the model, for messages.

        Raises:
            ArgumentError: it has no such states.
        """
        self.states, self.found = states, list[Tensor]()
        if states == "features":
            self._handle = _last_layer(model, whose).register_forward_pre_hook(self._features)
            return
        network = _transformer(model, whose)
        self._config = network.config
        self._said = network.config.output_hidden_states
        network.config.output_hidden_states = True
        self._handle = network.register_forward_hook(self._layers)

    def _features(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        self.found.append(given[0])

    def _layers(self, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        states = output.get("hidden_states") or output["encoder_hidden_states"]
        self.found = list(states[1:])  # before them the embeddings

    def take(self) -> list[Tensor]:
        """The states of the call just made, and forget them: [batch, places, width] each; features have one place."""
        found, self.found = self.found, []
        if self.states == "layers":
            return found
        views = [_of_a_sample(values) for values in found]
        return [(views[0] if len(views) == 1 else torch.stack(views).mean(dim=0))[:, None]]

    def close(self) -> None:
        """Leave the model as it was."""
        self._handle.remove()
        if self.states == "layers":
            self._config.output_hidden_states = self._said


def states_of(model: nn.Module, reader: StateReader, inputs: dict[str, Tensor], whose: str) -> list[Tensor]:
    """The hidden states of a few samples, as `StateReader.take` gives them, of a model on the samples' device.

    Raises:
        ArgumentError: what its last layer is given are no features of a sample.
    """
    with judging(model):
        logits = model(**inputs)
    if reader.states == "features" and logits.ndim == 2 and any(values.ndim == 3 for values in reader.found):
        raise ArgumentError(
            f"{whose} answers by one of its tokens, so no features of a whole text stand before its last layer; say "
            "model.pooling: mean"
        )
    found = reader.take()
    if len({values.shape[1] for values in found}) > 1:
        raise ArgumentError(
            f"{whose} pools tokens between its layers, so these cannot be compared; say states: features"
        )
    return found


def _of_a_sample(values: Tensor) -> Tensor:
    """[batch, width] of what a last layer is given: [batch, width, 1, 1] by convolutions, [batch, members, width]."""
    return values.mean(dim=1) if values.ndim == 3 else values.flatten(1)


def _last_layer(model: nn.Module, whose: str) -> nn.Module:
    layer = getattr(model, "last_layer", None)
    if isinstance(layer, nn.Module):
        return layer
    raise ArgumentError(f"{whose} has no last layer over features of a sample, so it has no hidden states to learn of")


def _transformer(model: Any, whose: str) -> Any:
    network = getattr(model, "network", None)
    if hasattr(getattr(network, "config", None), "output_hidden_states"):
        return network
    raise ArgumentError(f"{whose} is no transformer of texts, so its tokens have no states; say states: features")
