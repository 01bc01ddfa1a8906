"""The graph in Model Explorer's own JSON: every edge leads from a node that is there, modules are namespaces."""

from torch import nn

from danlu.inspection.graph import build_graph
from danlu.reporting.model_explorer import model_explorer_graph
from tests.support.small_models import batch, build


def test_every_node_has_its_namespace_and_its_sources() -> None:
    network = build("image")
    graph = build_graph(network, dict(batch("image").inputs)).as_json()
    made = model_explorer_graph("small", graph)
    (only,) = made["graphs"]
    ids = [node["id"] for node in only["nodes"]]
    assert ids == [node["id"] for node in graph["nodes"]] and len(set(ids)) == len(ids)
    edges = [(edge["sourceNodeId"], node["id"]) for node in only["nodes"] for edge in node["incomingEdges"]]
    assert sorted(edges) == sorted(map(tuple, graph["edges"]))
    first = next(node for node in only["nodes"] if node["id"] == "network.layer1.0.conv1")
    assert (first["label"], first["namespace"]) == ("Conv2d", "network/layer1/0")
    weights = network.get_submodule("network.layer1.0.conv1").weight.numel()  # type: ignore[operator,union-attr]
    assert {"key": "parameters", "value": str(weights)} in first["attrs"]


def test_a_module_that_is_called_again_is_a_namespace_of_its_own() -> None:
    block = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    network = nn.Sequential(block, block)
    import torch

    graph = build_graph(network, {"input": torch.zeros(1, 2)}).as_json()
    (only,) = model_explorer_graph("twice", graph)["graphs"]
    assert {node["namespace"] for node in only["nodes"]} == {"", "0", "0#2"}
