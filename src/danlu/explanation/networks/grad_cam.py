"""Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391) by captum, of the layer that is most faithful.

Layers of convolutions keep the image's plane. Which of them a map is best taken of is measured on the bundle's golden
samples: by what the answer loses without the segments that the map points to.
"""

from typing import Any

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import nn

from danlu.core.seeds import Seed
from danlu.explanation.networks.faithfulness import measure_losses
from danlu.explanation.networks.rows import Attribution, Graph, NetworkRow

MOST_LAYERS = 8  # spread over the depth, the last among them


def grad_cam(row: NetworkRow, name: str) -> Attribution:
    """Return a layer's map, enlarged to the image, [height, width].

    It is never negative and has no unit.
    """
    graph = row.graph()
    with torch.no_grad():
        base, answer = float(graph.function(graph.baseline)[0]), float(graph.function(graph.own)[0])
    values = layer_map(graph, name)
    return Attribution(values, "grad-cam", row.readout.score_scale, base, answer, calls=1, layer=name)


def layer_map(graph: Graph, name: str) -> np.ndarray:
    """Return the map of one layer, [height, width] float64."""
    layer = dict(graph.network.named_modules())[name]
    found = LayerGradCam(graph.function, layer).attribute(graph.own, relu_attributions=True)
    assert isinstance(found, torch.Tensor)
    sides = tuple(graph.own.shape[2:])
    return np.asarray(LayerAttribution.interpolate(found, sides, "bilinear").detach().cpu().double().numpy()[0, 0])


def candidates(network: nn.Module, image: torch.Tensor) -> list[str]:
    """Return layers with convolutions that run once, in order.

    They keep a plane of 2 x 2 or more.
    """
    calls: dict[str, int] = {}
    order: list[str] = []
    hooks = []
    for name, module in network.named_modules():
        if name and any(isinstance(each, nn.Conv2d) for each in module.modules()):
            hooks.append(module.register_forward_hook(_noting(name, calls, order)))
    try:
        with torch.no_grad():
            network(image=image)
    finally:
        for hook in hooks:
            hook.remove()
    once = [name for name in order if calls[name] == 1]
    if len(once) <= MOST_LAYERS:
        return once
    places = np.linspace(0, len(once) - 1, MOST_LAYERS).round().astype(int)
    return [once[place] for place in places]


def _noting(name: str, calls: dict[str, int], order: list[str]) -> Any:
    def note(module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
            calls[name] = calls.get(name, 0) + 1
            if calls[name] == 1:
                order.append(name)

    return note


def choose_layer(rows: list[NetworkRow], names: list[str], seed: Seed) -> str:
    """Choose the layer with the most faithful maps of rows; of equal ones the last."""
    errors = np.zeros(len(names))
    for row in rows:
        graph, losses = row.graph(), measure_losses(row, seed)
        for place, name in enumerate(names):
            errors[place] += losses.unfaithfulness(row.of_players(layer_map(graph, name)))
    return names[len(names) - 1 - int(errors[::-1].argmin())]
