"""Hidden states of a network: the features before its last layer, or the token states after every layer.

Every network with a layer that maps a sample's features to logits names it as `last_layer`; custom networks may do so
too. Forward hooks capture the states, so networks need no code for it.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from danlu.errors import ArgumentError
from danlu.models.infer import eval_mode

States = Literal["features", "layers"]


class HiddenStateHook:
    """Capture a network's hidden states in every forward pass.

    Attributes:
        states: `features`: the inputs of the last layer, averaged over ensemble members and over several views of a
            sample; `layers`: the token states after each layer of a transformer.
        found: states of the last call: [batch, width], or one tensor [batch, tokens, width] per layer.
    """

    def __init__(self, model: nn.Module, states: States, model_name: str) -> None:
        """Register hooks on a model.

        Args:
            model: the network.
            states: which states to capture.
            model_name: the model's name in messages.

        Raises:
            ArgumentError: the model has no such states.
        """
        self.states, self.found = states, list[Tensor]()
        if states == "features":
            self._handle = _last_layer(model, model_name).register_forward_pre_hook(self._features)
            return
        network = _transformer(model, model_name)
        self._config = network.config
        self._said = network.config.output_hidden_states
        network.config.output_hidden_states = True
        self._handle = network.register_forward_hook(self._layers)

    def _features(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        self.found.append(given[0])

    def _layers(self, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        states = output.get("hidden_states") or output["encoder_hidden_states"]
        self.found = list(states[1:])  # the first are the embeddings

    def pop_states(self) -> list[Tensor]:
        """Return and clear the states of the last call, [batch, positions, width] each.

        Features have one position.
        """
        found, self.found = self.found, []
        if self.states == "layers":
            return found
        views = [_per_sample(values) for values in found]
        return [(views[0] if len(views) == 1 else torch.stack(views).mean(dim=0))[:, None]]

    def close(self) -> None:
        """Remove the hooks and restore the model's config."""
        self._handle.remove()
        if self.states == "layers":
            self._config.output_hidden_states = self._said


def collect_hidden_states(
    model: nn.Module, hook: HiddenStateHook, inputs: dict[str, Tensor], model_name: str
) -> list[Tensor]:
    """Run a model on a few samples and return its hidden states as `HiddenStateHook.pop_states` does.

    Args:
        model: on the samples' device.
        hook: registered on the model.
        inputs: the model's inputs by name.
        model_name: the model's name in messages.

    Raises:
        ArgumentError: the inputs of its last layer are not features of a whole sample.
    """
    with eval_mode(model):
        logits = model(**inputs)
    if hook.states == "features" and logits.ndim == 2 and any(values.ndim == 3 for values in hook.found):
        raise ArgumentError(
            f"{model_name} classifies by one of its tokens, so its last layer has no features of the whole text; set "
            "model.pooling: mean",
            code="DL515",
        )
    found = hook.pop_states()
    if len({values.shape[1] for values in found}) > 1:
        raise ArgumentError(
            f"{model_name} pools tokens between its layers, so its layers cannot be compared; set states: features",
            code="DL515",
        )
    return found


def _per_sample(values: Tensor) -> Tensor:
    """Reduce the last layer's input to [batch, width].

    It is [batch, width, 1, 1] after convolutions and [batch, members, width] in ensembles.
    """
    return values.mean(dim=1) if values.ndim == 3 else values.flatten(1)


def _last_layer(model: nn.Module, model_name: str) -> nn.Module:
    layer = getattr(model, "last_layer", None)
    if isinstance(layer, nn.Module):
        return layer
    raise ArgumentError(
        f"{model_name} has no last layer over features of a sample, so it has no hidden states to distill", code="DL515"
    )


def _transformer(model: Any, model_name: str) -> Any:
    network = getattr(model, "network", None)
    if hasattr(getattr(network, "config", None), "output_hidden_states"):
        return network
    raise ArgumentError(
        f"{model_name} is no transformer of texts, so it has no token states; set states: features", code="DL515"
    )
