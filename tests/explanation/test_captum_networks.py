"""captum's own test networks: danlu's values are those of captum's methods and of the definitions, by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.explanation.networks.grad_cam import grad_cam
from danlu.explanation.networks.gradients import (
    deep_lift,
    gradient_shap,
    gradient_x_input,
    integrated_gradients,
    quiet,
)
from danlu.explanation.networks.images import ImageRow
from danlu.explanation.networks.methods import NETWORK_METHODS, Asked
from danlu.explanation.networks.rows import Incomplete
from tests.explanation.network_rows import image_row

attr = pytest.importorskip("captum.attr")
networks = pytest.importorskip("captum.testing.helpers.basic_models")


class Wrapped(nn.Module):
    """Give a test network the pixels of an image, as a list of numbers where it takes one."""

    def __init__(self, network: nn.Module, *, is_flat: bool) -> None:
        super().__init__()
        self.network, self.is_flat = network, is_flat

    def forward(self, image: Tensor) -> Tensor:
        """Return the network's outputs, [rows, outputs]."""
        given = image.float() / 16
        found: Tensor = self.network(given.flatten(1) if self.is_flat else given)
        return found


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], bool]] = {
    "one convolution": (lambda: networks.BasicModel_ConvNet_One_Conv(), (4, 4), False),
    "one convolution in place": (lambda: networks.BasicModel_ConvNet_One_Conv(inplace=True), (4, 4), False),
    "padding and dilation": (lambda: networks.BasicModel_ConvNetWithPaddingDilation(), (5, 5), False),
    "convolutions and pools": (lambda: networks.BasicModel_ConvNet(), (10, 10), False),
    "linear and relu": (lambda: networks.BasicLinearReLULinear(16), (4, 4), True),
    "largest of four": (lambda: networks.LinearMaxPoolLinearModel(), (2, 2), True),
    "for relevance": (lambda: networks.SimpleLRPModel(inplace=True), (1, 3), True),
}


def row_of(name: str) -> ImageRow:
    make, sides, is_flat = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = make()
    pixels = np.random.default_rng(3).integers(100, 256, sides, dtype=np.uint8)
    row = image_row(Wrapped(network, is_flat=is_flat), pixels)
    quarters = (np.arange(sides[0])[:, None] * 2 // sides[0]) * 2 + np.arange(sides[1]) * 2 // sides[1]
    _, players = np.unique(quarters, return_inverse=True)
    object.__setattr__(row, "segments", players.reshape(sides))
    return row


def by_captum(method: Any, row: ImageRow, **options: Any) -> np.ndarray:
    graph = row.graph()
    with quiet():
        found = method(graph.function).attribute(graph.own, graph.baseline, **options)
    return np.asarray(found.detach().double().numpy()[0, 0])


@pytest.mark.parametrize("name", list(NETWORKS))
def test_shapley_values_are_those_of_all_orders_of_players(name: str) -> None:
    row = row_of(name)
    found = NETWORK_METHODS["shap"].explain(row, Asked(Seed(0)))
    mask = torch.from_numpy(row.segments)[None, None]
    every_pixel = by_captum(attr.ShapleyValues, row, feature_mask=mask)
    expected = [every_pixel[row.segments == player].mean() for player in range(row.players)]
    assert found.exact and found.values == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_integrals_of_gradients_are_those_of_captum_and_complete(name: str) -> None:
    row = row_of(name)
    found = integrated_gradients(row, Seed(0))
    expected = by_captum(attr.IntegratedGradients, row, n_steps=256)
    scale = max(float(np.abs(expected).max()), 1e-6)
    assert np.abs(found.values - expected).max() < 1e-2 * scale
    assert found.values.sum() == pytest.approx(found.answer - found.base, rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_gradients_times_distances_are_those_of_the_definition(name: str) -> None:
    row = row_of(name)
    graph = row.graph()
    own = graph.own.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(graph.function(own).sum(), own)
    expected = (slopes * (graph.own - graph.baseline)).double().numpy()[0, 0]
    assert np.allclose(gradient_x_input(row, Seed(0)).values, expected, atol=1e-5)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_deep_lift_is_captums_where_it_adds_up_and_is_not_shown_else(name: str) -> None:
    row = row_of(name)
    try:
        with quiet():
            found = deep_lift(row, Seed(0))
    except Incomplete:
        assert name == "convolutions and pools"  # its softmax is part of the answer
        return
    assert np.allclose(found.values, by_captum(attr.DeepLift, row), atol=1e-5)
    assert found.values.sum() == pytest.approx(found.answer - found.base, rel=1e-3, abs=1e-5)


def test_gradient_shap_of_one_reference_is_near_the_integral() -> None:
    row = row_of("linear and relu")
    found, expected = gradient_shap(row, Seed(0)), integrated_gradients(row, Seed(0))
    assert found.half_widths is not None
    assert (np.abs(found.values - expected.values) <= 2 * found.half_widths + 1e-6).mean() > 0.9


def test_grad_cam_is_the_mean_gradient_times_the_map() -> None:
    row = row_of("one convolution")
    network: Any = row.source.predictor.model
    kept: list[Tensor] = []
    hook = network.network.conv1.register_forward_hook(lambda module, given, output: kept.append(output))
    score = row.graph().function(row.graph().own)
    hook.remove()
    (slopes,) = torch.autograd.grad(score.sum(), kept[0])
    plane = torch.relu((slopes.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1, keepdim=True))
    expected = nn.functional.interpolate(plane, (4, 4), mode="bilinear").detach().double().numpy()[0, 0]
    assert expected.max() > 0 and np.allclose(grad_cam(row, "network.conv1").values, expected, atol=1e-5)


@pytest.mark.parametrize("make", ["BasicModelWithReusedModules", "BasicModelWithReusedLinear"])
def test_a_network_that_uses_a_module_twice_is_refused_or_left_out(make: str) -> None:
    torch.manual_seed(1)
    row = image_row(Wrapped(getattr(networks, make)(), is_flat=True), np.array([[200, 10, 250]], dtype=np.uint8))
    with quiet(), pytest.raises((ArgumentError, Incomplete), match=r"integrated-gradients can|values add up to"):
        deep_lift(row, Seed(0))
