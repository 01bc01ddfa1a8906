"""ONNX files: layers stand beside those of the network they came from, and the drawn graph answers as the file does."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import danlu
from danlu.errors import ArgumentError, DataError

onnx = pytest.importorskip("onnx")
quantization = pytest.importorskip("onnxruntime.quantization")

from danlu.exporters.onnx.network import module_graph  # noqa: E402 - needs onnx
from danlu.exporters.ports import BATCH, Port  # noqa: E402
from danlu.inspection.activations import measure_activations  # noqa: E402
from danlu.inspection.difference import Difference, compare_networks  # noqa: E402
from danlu.inspection.layers import TorchLayers  # noqa: E402
from danlu.inspection.onnx_file import OnnxFile  # noqa: E402
from danlu.inspection.onnx_graph import onnx_graph  # noqa: E402


class Network(nn.Module):
    """Has a norm that exporters fold, an activation of its own code, and a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        self.body = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = self.stem(image)
        found = torch.relu(self.body(found)) + found
        return self.head(found.mean(dim=(2, 3)))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    made = Network()
    for _ in range(3):  # a norm with figures of its own
        made(torch.randn(8, 2, 9, 9) * 2 + 1)
    return made.eval()


@pytest.fixture(scope="module")
def written(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    ports = (Port("image", "float32", (BATCH, 2, 9, 9)),)
    onnx.save(module_graph(network, ports, (torch.zeros(2, 2, 9, 9),), 20, "logits"), path)
    return path


def changed(written: Path, folder: Path, change: Any) -> Path:
    model = onnx.load(written)
    change(model.graph)
    onnx.save(model, folder / "changed.onnx")
    return folder / "changed.onnx"


def difference(network: nn.Module, path: Path) -> Difference:
    rows = {"image": torch.randn(12, 2, 9, 9, generator=torch.Generator().manual_seed(1)) * 2 + 1}
    return compare_networks(TorchLayers(network), OnnxFile(path), [(rows, rows)])


EXPECTED = [("stem.1", "name"), ("stem.2", "name"), ("body", "name"), ("relu", "name"), ("head", "name")]


def test_layers_of_a_file_are_those_of_its_network_and_a_folded_norm_is_compared_behind_itself(
    network: Network, written: Path
) -> None:
    found = difference(network, written)
    assert [(layer.name, layer.matched) for layer in found.layers] == EXPECTED
    assert all(layer.snr_db is None or layer.snr_db > 100 for layer in found.layers)
    assert found.first_below is None and found.unmatched == (("stem.0",), ())
    assert {each.name: each.change for each in found.weights} == dict.fromkeys(
        ("body.weight", "body.bias", "head.weight", "head.bias"), 0.0
    )


def test_files_whose_operators_have_no_names_are_matched_by_the_names_of_their_weights(
    network: Network, written: Path, tmp_path: Path
) -> None:
    def forget(graph: Any) -> None:
        for node in graph.node:
            node.name = ""

    found = difference(network, changed(written, tmp_path, forget))
    layers = {layer.name: layer.other for layer in found.layers}
    assert layers["stem.1"] == "network.stem.0" and layers["body"] == "network.body"
    assert found.first_below is None and min(layer.snr_db or 200 for layer in found.layers) > 100


def test_files_without_any_names_are_matched_by_shape_and_place(
    network: Network, written: Path, tmp_path: Path
) -> None:
    def forget(graph: Any) -> None:
        names = {each.name: f"w{place}" for place, each in enumerate(graph.initializer)}
        for node in graph.node:
            node.name = ""
            node.input[:] = [names.get(name, name) for name in node.input]
        for each in graph.initializer:
            each.name = names[each.name]

    found = difference(network, changed(written, tmp_path, forget))
    assert {layer.matched for layer in found.layers} == {"shape"}
    assert [layer.name for layer in found.layers] == ["stem.1", "stem.2", "body", "relu", "head"]
    assert min(layer.snr_db or 200 for layer in found.layers) > 100, "each beside its own"


@pytest.mark.parametrize("planted", ["body", "head"])
def test_a_perturbed_layer_of_a_file_is_the_first_that_parts(
    planted: str, network: Network, written: Path, tmp_path: Path
) -> None:
    def perturb(graph: Any) -> None:
        (weight,) = [each for each in graph.initializer if each.name.endswith(f"{planted}.weight")]
        values = onnx.numpy_helper.to_array(weight)
        noisy = values + np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
        weight.CopyFrom(onnx.numpy_helper.from_array(noisy, weight.name))

    found = difference(network, changed(written, tmp_path, perturb))
    assert found.first_below == planted and len(found.rows) == 8
    assert {each.name for each in found.weights if each.change > 0} == {f"{planted}.weight"}


@pytest.mark.parametrize("is_named", [True, False])
def test_layers_of_a_quantized_file_are_compared_behind_their_scales_and_bias(
    is_named: bool, network: Network, written: Path, tmp_path: Path
) -> None:
    def forget(graph: Any) -> None:
        for node in graph.node:
            node.name = "" if not is_named else node.name

    quantization.quantize_dynamic(changed(written, tmp_path, forget), tmp_path / "small.onnx")
    found = difference(network, tmp_path / "small.onnx")
    decibels = {layer.name: layer.snr_db or 200 for layer in found.layers}
    assert {"stem.1", "body", "head"} <= set(decibels) and min(decibels.values()) > 25
    assert max(decibels[name] for name in ("stem.1", "body", "head")) < 60
    (weight,) = [each for each in found.weights if each.name == "body.weight"]
    assert 0 < weight.change < 0.02, "eight bits"


def test_the_graph_of_a_file_is_measured_replayed_and_grouped_by_layer(written: Path, tmp_path: Path) -> None:
    found = danlu.visualize(written, only="graph", output=tmp_path / "look")
    graph = found.json["graph"]
    assert graph["replay_deviation"] <= 1e-6 and graph["failed_at"] is None
    nodes = {node["id"]: node for node in graph["nodes"]}
    body = next(node for node in graph["nodes"] if node["module"] == "body")
    assert body["outputs"] == [[1, 6, 7, 7]] and body["flops"] == 2 * 6 * 49 * 6 * 9 and body["ms"] > 0
    assert body["bytes"] == 4 * 6 * 49 and body["parameters"] == 6 * 6 * 9 + 6
    assert nodes["input.image"]["outputs"] == [[1, 2, 9, 9]] and nodes["output.logits"]["inputs"] == [[1, 3]]
    modules = {module["id"]: module["parent"] for module in graph["modules"]}
    assert modules["stem.2"] == "stem" and {edge for pair in graph["edges"] for edge in pair} <= set(nodes)


def small(nodes: list[Any], weights: dict[str, np.ndarray], folder: Path) -> Path:
    shape = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "small",
        [shape("x", onnx.TensorProto.FLOAT, ["rows", 4])],
        [shape("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10),
        folder / "hand.onnx",
    )
    return folder / "hand.onnx"


@pytest.mark.parametrize("is_hidden", [False, True])
def test_a_file_that_fails_is_drawn_up_to_the_failing_operator_with_the_shapes_that_met(
    is_hidden: bool, tmp_path: Path
) -> None:
    """Shapes that meet only while it runs are told as well as those that the file itself tells."""
    node = onnx.helper.make_node
    weights = {"w": np.ones((4, 8), np.float32), "v": np.ones((9, 2), np.float32)}
    nodes = [node("MatMul", ["x", "w"], ["h"], name="first"), node("Relu", ["h"], ["g"], name="act")]
    if is_hidden:
        weights["which"] = np.arange(8) < 3
        nodes += [node("Compress", ["g", "which"], ["r"], name="some", axis=1)]
        nodes += [node("MatMul", ["r", "v"], ["k"], name="second"), node("Relu", ["k"], ["y"], name="last")]
    else:
        nodes += [node("MatMul", ["g", "v"], ["k"], name="second"), node("Relu", ["k"], ["y"], name="last")]
    graph = onnx_graph(small(nodes, weights, tmp_path))
    assert graph.failed_at is not None and graph.failed_at.node == "second" and graph.replay_deviation is None
    assert dict(graph.failed_at.shapes) == {**({"r": (1, 3)} if is_hidden else {"g": (1, 8)}), "v": (9, 2)}
    assert [node.id for node in graph.nodes][-1] == "second" and "node-" not in graph.failed_at.error
    assert ("act" if not is_hidden else "some", "second") in graph.edges


def test_two_files_are_compared_on_drawn_inputs(written: Path, tmp_path: Path) -> None:
    quantization.quantize_dynamic(written, tmp_path / "small.onnx")
    found = danlu.visualize(written, against=tmp_path / "small.onnx", output=tmp_path / "look").json["difference"]
    assert found["first_below"] is None and found["against"] == "small.onnx"
    assert {"stem.1", "body", "head"} <= {layer["name"] for layer in found["layers"]}
    assert len(found["samples"]) == 8
    other = small([onnx.helper.make_node("Relu", ["x"], ["y"])], {}, tmp_path)
    with pytest.raises(ArgumentError, match="takes other inputs"):
        danlu.visualize(written, against=other, output=tmp_path / "other")
    with pytest.raises(ArgumentError, match="comes first"):
        danlu.visualize(written, against=tmp_path, output=tmp_path / "other")


def test_activations_of_a_file_are_those_of_its_network_on_the_same_rows(
    network: Network, written: Path, tmp_path: Path
) -> None:
    rows = torch.randn(70, 2, 9, 9, generator=torch.Generator().manual_seed(1))  # more than a batch
    np.savez(tmp_path / "rows.npz", image=rows.double().numpy())
    found = danlu.visualize(written, data=tmp_path / "rows.npz", only="activations", output=tmp_path / "look").json
    layers = {layer["name"]: layer for layer in found["activations"]["states"]["model"]}
    own = {layer["name"]: layer for layer in measure_activations(network, [{"image": rows}])}
    assert found["activations"]["rows"] == 70 and {"stem.2", "body", "head"} <= set(layers) & set(own)
    for name in ("stem.2", "body", "head"):
        assert layers[name]["units"] == own[name]["units"]
        np.testing.assert_allclose(layers[name]["quantiles"], own[name]["quantiles"], rtol=0.1, atol=0.01)
    assert (tmp_path / "look" / "activations.png").is_file()


def test_a_dead_unit_of_a_file_is_named_on_rows_of_a_table(tmp_path: Path) -> None:
    names = ("age", "city")
    inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 1]) for name in names]
    nodes = [
        onnx.helper.make_node("Concat", names, ["both"], axis=1, name="both"),
        onnx.helper.make_node("MatMul", ["both", "first.weight"], ["made"], name="first/MatMul"),
        onnx.helper.make_node("Relu", ["made"], ["answer"], name="relu/Relu"),
    ]
    weight = onnx.numpy_helper.from_array(np.array([[1, -1, 2], [1, -1, 0]], dtype=np.float32), "first.weight")
    output = onnx.helper.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, ["batch", 3])
    graph = onnx.helper.make_graph(nodes, "small", inputs, [output], [weight])
    opsets = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=opsets), tmp_path / "table.onnx")
    data = {"city": [1.0, 2.0, 3.0], "age": [30.0, 40.0, 50.0], "unused": ["a", "b", "c"]}
    ask = partial(danlu.visualize, tmp_path / "table.onnx", only="activations")
    found = ask(data=data, output=tmp_path / "look").json["activations"]
    layer = found["states"]["model"][-1]
    assert (layer["units"], layer["dead_units"], found["rows"]) == (3, [1], 3)
    with pytest.raises(ArgumentError, match="has no rows of its own; give DATA") as caught:
        ask(output=tmp_path / "other")
    assert caught.value.code == "DL401"
    with pytest.raises(DataError, match="no column 'city'"):
        ask(data={"age": [1.0]}, output=tmp_path / "other")
    for arrays, said in (
        ({"age": np.ones((2, 1))}, "has no array 'city'"),
        ({"age": np.ones((2, 1)), "city": np.ones((2, 3))}, r"'city' is \[2, 3\]"),
        ({"age": np.ones((2, 1)), "city": np.ones((3, 1))}, "the same number of rows"),
    ):
        np.savez(tmp_path / "rows.npz", **arrays)
        with pytest.raises(DataError, match=said):
            ask(data=tmp_path / "rows.npz", output=tmp_path / "other")


def test_a_copy_of_a_file_is_equal(written: Path) -> None:
    one, other = OnnxFile(written), OnnxFile(written, copy.deepcopy(onnx.load(written)))
    inputs: Any = one.drawn(4)
    found = compare_networks(one, other, [(inputs, inputs)])
    assert found.layers and all(layer.snr_db is None for layer in found.layers) and found.rows == []
