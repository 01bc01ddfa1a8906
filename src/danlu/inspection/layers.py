"""What the layers of a network give while it runs: modules without modules inside, and activation functions between.

In: a torch module. Out: calls of an observer with a layer's name, kind and output. Names are those of the graph.
`Layered` is what a network must tell of itself to be compared: a torch module, or a file that another engine runs.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from danlu.core.torch_compat import TorchDispatchMode
from danlu.inspection.trace import tensors_of

# Operators whose outputs are units of a layer, where a module's own code calls them.
ACTIVATIONS = (
    *("relu", "relu_", "gelu", "silu", "silu_", "tanh", "tanh_", "sigmoid", "sigmoid_", "leaky_relu", "elu", "elu_"),
    *(
        "hardswish",
        "hardswish_",
        "hardsigmoid",
        "hardtanh",
        "hardtanh_",
        "mish",
        "softplus",
        "clamp_min",
        "prelu_kernel",
    ),
)
BY_CHANNEL = ("Conv", "BatchNorm", "GroupNorm", "InstanceNorm")  # modules whose units stand in the second dimension

# What each layer gives for some rows: its kind and its output, by name in the order in which they run.
Outputs = dict[str, tuple[str, Tensor]]
# (layer, kind, output): kind is the module's class or the operator's name.
Observer = Callable[[str, str, Tensor], None]


class Layered(Protocol):
    """Say what a network must tell of itself to be compared with another."""

    def outputs(self, inputs: Mapping[str, Any]) -> tuple[Outputs, Tensor]:
        """Return what every layer gives for some rows, and the answer."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        ...


@dataclass(frozen=True)
class TorchLayers:
    """Tell what the layers of a torch module give.

    Attributes:
        network: in evaluation mode.
        answer: makes of its output what is compared.
    """

    network: nn.Module
    answer: Callable[[Tensor], Tensor] = lambda output: output

    def outputs(self, inputs: Mapping[str, Tensor]) -> tuple[Outputs, Tensor]:
        """Return what every layer gives for some rows, and the answer."""
        found: Outputs = {}

        def keep(layer: str, kind: str, output: Tensor) -> None:
            found[layer] = (kind, output.clone())  # the next layer may write into it

        with torch.no_grad():
            with observed(self.network, keep):
                returned = tensors_of(self.network(**{name: values.clone() for name, values in inputs.items()}))
            return found, self.answer(returned[0])

    def weights(self) -> dict[str, Tensor]:
        """Return the parameters by name."""
        return {name: values.detach() for name, values in self.network.named_parameters()}


@contextmanager
def observed(network: nn.Module, observe: Observer) -> Iterator[None]:
    """Call an observer with the output of every layer that runs within the block.

    Args:
        network: any network; its hooks are removed afterwards.
        observe: takes the layer's name, its kind and its first output. A layer that runs twice in a pass is numbered.
    """
    watch = _Watch(network, observe)
    handles = []
    for path, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(watch.entering(path)))
        handles.append(module.register_forward_hook(watch.leaving(path)))
    try:
        with watch:
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follow which module runs, and see the activations that it calls itself."""

    def __init__(self, network: nn.Module, observe: Observer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.network, self.observe = network, observe
        self._open: list[str] = []
        self._leaves = {path for path, module in network.named_modules() if not list(module.children())}
        self._taken: Counter[str] = Counter()
        self._is_observing = False

    def entering(self, path: str) -> Any:
        def enter(module: nn.Module, args: Any) -> None:
            if not path:
                self._taken.clear()
                self._open.clear()
            self._open.append(path)

        return enter

    def leaving(self, path: str) -> Any:
        def leave(module: nn.Module, args: Any, returned: Any) -> None:
            while self._open and self._open.pop() != path:  # a module failed within, whose error was caught
                continue
            if path and path in self._leaves:
                self._tell(path, type(module).__name__, returned)

        return leave

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        name = str(func._schema.name).partition("::")[2]
        if name in ACTIVATIONS and not self._is_observing and (not self._open or self._open[-1] not in self._leaves):
            at = self._open[-1] if self._open else ""
            self._tell(f"{at}.{name.strip('_')}".strip("."), name.strip("_"), results)
        return results

    def _tell(self, layer: str, kind: str, returned: Any) -> None:
        outputs = [values for values in tensors_of(returned) if values.is_floating_point()]
        if not outputs:
            return
        self._taken[layer] += 1
        number = self._taken[layer]
        self._is_observing = True  # what the observer computes is no part of the network
        try:
            self.observe(layer if number == 1 else f"{layer}#{number}", kind, outputs[0])
        finally:
            self._is_observing = False


def by_unit(kind: str, output: Tensor) -> Tensor:
    """Return a layer's output with its units last, [rows and positions, units].

    Units are channels of convolutions and of images, features of all else.
    """
    if output.ndim == 1:
        return output[:, None]
    if output.ndim > 2 and (any(word in kind for word in BY_CHANNEL) or output.ndim == 4):
        output = output.movedim(1, -1)
    return output.reshape(-1, output.shape[-1])
