"""Compare what a bundle will build with the network to be trained, before the first step: names and shapes.

Training would otherwise end with weights that nothing can open.
"""

import json
from typing import TYPE_CHECKING

from danlu.core.imports import silence_libraries
from danlu.data.specs import InputSpec
from danlu.errors import ArgumentError, DanluError
from danlu.models.base import Model

if TYPE_CHECKING:
    from torch import nn

Shapes = dict[str, tuple[int, ...]]
NAMES_SHOWN = 3


def check_rebuild(model: Model, network: "nn.Module", inputs: InputSpec, outputs: int) -> None:
    """Raise ArgumentError unless the options that a bundle keeps build the same network again.

    Args:
        model: the options that built the network.
        network: as it was built, without adapters.
        inputs: specification of a prepared sample.
        outputs: outputs per sample or token.
    """
    built, again = _shapes(network), _rebuilt_shapes(model, inputs, outputs)
    wrong = [_difference(name, built, again) for name in (built | again) if built.get(name) != again.get(name)]
    if wrong:
        more = f" and {len(wrong) - NAMES_SHOWN} more" if len(wrong) > NAMES_SHOWN else ""
        raise ArgumentError(
            f"model: {model.name}: its bundle would build another network than the one to be trained, and could not be "
            f"opened: {'; '.join(wrong[:NAMES_SHOWN])}{more}. Nothing was trained. Set the options that differ in "
            "model.config, or where the model is your own let portable() keep all that build() depends on",
            code="DL310",
        )


def _rebuilt_shapes(model: Model, inputs: InputSpec, outputs: int) -> Shapes:
    """Build the network as a bundle does, without memory where possible.

    The random numbers that this draws are given back, since adapters are drawn from the same stream.
    """
    import torch

    from danlu.models.predictor import model_options

    options = model_options(json.loads(json.dumps(model.portable().model_dump(mode="json"))))
    with torch.random.fork_rng(devices=[]), silence_libraries():
        try:
            with torch.device("meta"):
                return _shapes(options.build(inputs, outputs))
        except (RuntimeError, ValueError, TypeError, DanluError):  # it looks at values, which meta lacks
            return _shapes(options.build(inputs, outputs))


def _shapes(network: "nn.Module") -> Shapes:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _difference(name: str, built: Shapes, again: Shapes) -> str:
    if name not in again:
        return f"{name} {list(built[name])} is absent"
    if name not in built:
        return f"{name} {list(again[name])} is added"
    return f"{name} is {list(again[name])} in place of {list(built[name])}"
