"""The graph of a network is the network: replayed on other rows it gives the same answers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from danlu.core.imports import patch_torchvision
from danlu.inspection.graph import build_graph, largest_difference, replay
from danlu.inspection.trace import tensors_of
from tests.support.small_models import batch, build

patch_torchvision()
EQUAL = 1e-6
TIMM = (
    *("resnet10t", "vit_tiny_patch16_224", "convnext_atto", "efficientnet_lite0", "mobilenetv3_small_050"),
    *("swin_tiny_patch4_window7_224", "mixer_s32_224", "regnety_002", "densenet121", "poolformer_s12"),
)
TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 100,
}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "llama": TINY | {"num_key_value_heads": 1},
    "bert": TINY,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 100, "bos_token_id": 1, "eos_token_id": 1},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 100},
    "mixtral": TINY | {"num_key_value_heads": 2, "num_local_experts": 4},
    "gemma2": TINY | {"num_key_value_heads": 1, "head_dim": 16},
}


def rebuilds(network: nn.Module, make: Callable[[], dict[str, Tensor]]) -> None:
    """The graph answers the rows that it was traced with, and others, as the network does; no weight is lost."""
    network.eval()
    rows, others = make(), make()
    graph = build_graph(network, rows)
    assert graph.failed_at is None
    assert graph.replay_deviation is not None and graph.replay_deviation <= EQUAL
    with torch.no_grad():
        expected = tensors_of(network(**others))
    assert largest_difference(expected, replay(network, rows, others)) <= EQUAL
    weights = {name: values.numel() for name, values in network.named_parameters()}
    assert sum(node.parameters for node in graph.nodes) == sum(weights.values()) - sum(map(weights.get, graph.unused))
    ids = [node.id for node in graph.nodes]
    assert len(set(ids)) == len(ids)
    assert {end for edge in graph.edges for end in edge} <= set(ids)
    assert {node.module for node in graph.nodes} <= {module.id for module in graph.modules}


@pytest.mark.parametrize("name", TIMM)
def test_the_graph_of_timms_networks_is_the_network(name: str) -> None:
    import timm

    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=5)
    channels, height, width = network.default_cfg["input_size"]
    rebuilds(network, lambda: {"x": torch.randn(1, channels, height, width)})


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_graph_of_transformers_is_the_network(name: str) -> None:
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    network = AutoModel.from_config(AutoConfig.for_model(name, **TRANSFORMERS[name]))

    def make() -> dict[str, Tensor]:
        ids = torch.randint(2, 100, (2, 12))
        mask = torch.tensor([[1] * 12, [1] * 7 + [0] * 5])
        return {"input_ids": ids, "attention_mask": mask} | ({"decoder_input_ids": ids} if name == "t5" else {})

    rebuilds(network, make)


@pytest.mark.parametrize("kind", ["mlp", "image", "text", "corpus"])
def test_the_graph_of_danlus_networks_is_the_network(kind: str) -> None:
    numbers = iter(range(9))
    rebuilds(build(kind), lambda: dict(batch(kind, number=next(numbers)).inputs))


def test_flops_are_those_that_torch_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    network, inputs = build("image"), dict(batch("image").inputs)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(**inputs)
    graph = build_graph(network, inputs)
    assert sum(node.flops for node in graph.nodes) == counter.get_total_flops() > 0


class Shared(nn.Module):
    """Calls one block twice and adds what it was given: a skip connection over both."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.block(x)) + x


def test_a_module_that_is_called_twice_is_drawn_twice_and_counted_once() -> None:
    graph = build_graph(Shared(), {"x": torch.randn(2, 4)})
    assert [node.id for node in graph.nodes] == [
        *("input.x", "block.0", "block.1", "block.0#2", "block.1#2", "add", "output")
    ]
    assert [node.parameters for node in graph.nodes] == [0, 20, 0, 0, 0, 0, 0]
    assert ("block.1#2", "add") in graph.edges and ("input.x", "add") in graph.edges
    assert [module.id for module in graph.modules] == ["", "block", "block#2"]
    assert graph.replay_deviation == 0.0


class InPlace(nn.Module):
    """Writes into a part of a tensor; what reads the whole later depends on it."""

    def forward(self, x: Tensor) -> Tensor:
        doubled = x * 2
        doubled[:, 0] = torch.sigmoid(x[:, 1])
        return doubled.exp()


def test_what_is_written_in_place_reaches_later_readers() -> None:
    rebuilds(InPlace(), lambda: {"x": torch.randn(3, 4)})
    graph = build_graph(InPlace(), {"x": torch.randn(3, 4)})
    assert ("copy", "exp") in graph.edges


def test_memory_and_parameters_stand_at_their_layer() -> None:
    graph = build_graph(nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 2, bias=False)), {"input": torch.randn(4, 8)})
    first, second = graph.nodes[1:3]
    assert (first.parameters, second.parameters) == (8 * 16 + 16, 32)
    assert (first.bytes, second.bytes) == (4 * 16 * 4, 4 * 2 * 4)
    assert (first.flops, second.flops) == (2 * 4 * 8 * 16, 2 * 4 * 16 * 2)
    assert first.ms is not None and first.ms > 0


def test_a_broken_network_is_drawn_up_to_the_failing_layer_with_the_shapes_that_met() -> None:
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(17, 2))
    graph = build_graph(network, {"input": torch.randn(4, 8)})
    assert [node.id for node in graph.nodes] == ["input.input", "0", "1", "2"]
    assert graph.edges[-1] == ("1", "2")
    assert graph.failed_at is not None and graph.failed_at.node == "2"
    assert graph.failed_at.shapes == (("input", (4, 16)), ("2.weight", (2, 17)))
    assert "17" in graph.failed_at.error and graph.replay_deviation is None


class Misfit(nn.Module):
    """Multiplies matrices that do not fit, in its own code."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) @ torch.ones(4, 2)


def test_a_failure_outside_of_layers_names_the_operation_and_both_shapes() -> None:
    failed = build_graph(Misfit(), {"x": torch.randn(5, 8)}).failed_at
    assert failed is not None and failed.node == "mm"
    assert [shape for _, shape in failed.shapes] == [(5, 3), (4, 2)]


class Asking(nn.Module):
    """Fails before any operation is reached."""

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("not today")


def test_an_error_of_the_networks_own_is_kept() -> None:
    graph = build_graph(nn.Sequential(nn.Linear(2, 2), Asking()), {"input": torch.randn(1, 2)})
    assert graph.failed_at is not None
    assert (graph.failed_at.node, graph.failed_at.error) == ("1", "ValueError: not today")
    assert graph.nodes[-1].id == "1"


def test_unused_parameters_are_named() -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    network.register_parameter("forgotten", nn.Parameter(torch.ones(3)))
    assert build_graph(network, {"input": torch.randn(1, 2)}).unused == ("forgotten",)


class Retrying(nn.Module):
    """Tries one layer, and takes another where it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(9, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.wide(x)
        except RuntimeError:
            return self.narrow(x)


def test_an_error_that_the_network_catches_itself_is_no_failure() -> None:
    graph = build_graph(nn.Sequential(Retrying(), nn.ReLU()), {"input": torch.randn(3, 4)})
    assert graph.failed_at is None and graph.replay_deviation == 0.0
    assert [node.outputs for node in graph.nodes if node.id in ("0.narrow", "1")] == [((3, 2),), ((3, 2),)]


class Drawing(nn.Module):
    """Adds what it draws anew each time, which no replay can give again."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


def test_a_replay_that_answers_otherwise_says_by_how_much() -> None:
    deviation = build_graph(Drawing(), {"x": torch.zeros(50, 4)}).replay_deviation
    assert deviation is not None and 0.1 < deviation < 1.0
