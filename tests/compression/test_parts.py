"""The parts of compression by themselves: ranges, codes, factors, structures, steps of a command line."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from danlu.artifacts.bundle import Coding, Structure
from danlu.compression.factors import Factors, rank_for, split_layer
from danlu.compression.parsing import parse_steps
from danlu.compression.ranges import calibrate
from danlu.compression.results import CompressionResult, Figure, Point
from danlu.core.cpu import Processor, this_processor
from danlu.errors import ArgumentError, ArtifactError
from danlu.models.coded_weights import decode, encode
from danlu.models.structure import apply_structure, structure_of


def _graph() -> onnx.ModelProto:
    """x -> relu(x w), 6 inputs, 5 outputs."""
    weight = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in (("x", 6), ("y", 5))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [onnx.numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_ranges_do_not_depend_on_how_rows_come_in_batches(method: str) -> None:
    rows = np.random.default_rng(1).normal(size=(101, 6)).astype(np.float32)
    whole = calibrate(_graph(), [{"x": rows}], method, 99.0, ["x", "h", "y"])
    parts = [{"x": part} for part in np.split(rows, [1, 8, 57])]
    assert calibrate(_graph(), parts, method, 99.0, ["x", "h", "y"]) == whole
    low, high = whole["x"]
    extremes = float(rows.min()), float(rows.max())
    if method == "minmax":
        assert (low, high) == extremes
        return
    assert extremes[0] <= low < high <= extremes[1]
    if method == "percentile":
        assert (low, high) != extremes
    outside = float(np.mean((rows < low) | (rows > high)))
    assert outside <= (0.011 if method == "percentile" else 0.2)


@pytest.mark.parametrize(
    ("bits", "group", "most"), [(8, 0, 0.5 / 127), (8, 7, 0.5 / 127), (4, 32, 0.5 / 7), (4, 0, 0.5 / 7)]
)
def test_a_code_is_the_nearest_of_its_levels(bits: int, group: int, most: float) -> None:
    torch.manual_seed(0)
    weight = torch.randn(11, 5, 3, 3)
    weight[3] = 0
    codes, scales = encode(weight, bits, group)
    coding = Coding.model_validate({"bits": bits, "group": group, "shapes": {"w": tuple(weight.shape)}})
    found = decode({"w.codes": codes, "w.scales": scales, "b": torch.ones(2)}, coding)
    assert set(found) == {"w", "b"} and found["w"].shape == weight.shape
    largest = weight.flatten(1).abs().amax(dim=1)[:, None]
    assert bool(((found["w"] - weight).flatten(1).abs() <= largest * most * 1.01 + 1e-6).all())
    assert bool((found["w"][3] == 0).all())
    again = encode(found["w"], bits, group)
    assert torch.equal(again[0], codes)
    assert codes.numel() * codes.element_size() <= weight.numel() * bits / 8 + 11


def test_codes_of_another_size_are_refused() -> None:
    codes, scales = encode(torch.randn(4, 8), 8, 0)
    coding = Coding(bits=8, group=0, shapes={"w": (4, 9)})
    with pytest.raises(RuntimeError, match="another size"):
        decode({"w.codes": codes, "w.scales": scales}, coding)
    with pytest.raises(RuntimeError, match="missing"):
        decode({"w.codes": codes}, coding)


@pytest.mark.parametrize(
    ("layer", "given"),
    [
        (nn.Linear(20, 12), (5, 20)),
        (nn.Linear(12, 20, bias=False), (5, 12)),
        (nn.Conv2d(3, 16, 3, stride=2, padding=1), (2, 3, 9, 9)),
        (nn.Conv1d(6, 4, 5, dilation=2), (2, 6, 30)),
    ],
)
def test_full_rank_changes_nothing_and_lower_ranks_are_the_best_there_are(
    layer: nn.Module, given: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    values, factors = torch.randn(given), Factors.of(layer)
    rank = len(factors.values)
    assert torch.allclose(split_layer(layer, factors, rank)(values), layer(values), atol=1e-5)
    half = split_layer(layer, factors, rank // 2)
    first, second = (part.weight.detach().flatten(1).double() for part in half)
    matrix = layer.weight.detach().flatten(1).double()
    lost = float(torch.linalg.matrix_norm(matrix - second @ first))
    assert lost == pytest.approx(float(factors.values[rank // 2 :].square().sum().sqrt()), rel=1e-5)
    assert rank_for(factors.energies, 1.0) == rank and rank_for(factors.energies, 1e-9) == 1


def test_a_structure_brings_a_new_network_to_the_sizes_of_a_compressed_one() -> None:
    def build() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 4, 10))

    smaller = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5 * 4, 10))
    smaller[3] = split_layer(smaller[3], Factors.of(smaller[3]), 2)
    structure = structure_of(smaller, build(), {"3": 2})
    assert structure is not None
    again = build()
    apply_structure(again, Structure.model_validate(structure.model_dump(mode="json")), "here")
    again.load_state_dict(smaller.state_dict())
    pixels = torch.randn(2, 3, 4, 4)
    assert torch.equal(again.eval()(pixels), smaller.eval()(pixels))
    assert again[0].out_channels == 5 and again[1].num_features == 5
    for wrong in (
        Structure(shapes={"0.weight": (9, 3, 3, 3)}),
        Structure(ranks={"2": 1}),
        Structure(shapes={"9": (1,)}),
    ):
        with pytest.raises(ArtifactError, match="not of this model"):
            apply_structure(build(), wrong, "here")


def test_steps_are_read_as_a_command_line_or_a_recipe_has_them() -> None:
    given = parse_steps("prune={amount: 0.5, what: weights, by: taylor}, quantize=int8-dynamic")
    assert [step.name for step in given] == ["prune", "quantize"]
    assert given[0].model_dump()["by"] == "taylor" and given[1].model_dump()["scheme"] == "int8-dynamic"
    assert parse_steps([{"prune": 0.3}, "quantize"])[0].model_dump()["amount"] == 0.3


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("prunes=0.5", 'the nearest is "prune"'),
        ("prune=1.5", "less than 1"),
        ("prune=0.5,", "is no step"),
        ("prune={amount: 0.5", "is not closed"),
        ("prune={amount: 0.5, schedule: cosine, what: weights}", "set epochs"),
        ("prune={amount: 0.5, pattern: '2:4'}", "is for weights"),
        ("quantize={scheme: int8-static, group: 3}", "group is for stored weights"),
        ("low-rank={energy: 0.5, parameters: 0.5}", "give one of them"),
        ("distill={}", "names no student"),
    ],
)
def test_wrong_steps_are_refused_by_name(steps: str, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        parse_steps(steps)


def test_a_processor_says_whether_sums_of_8_bit_products_saturate() -> None:
    assert not Processor("old", ("avx2", "avx512f")).adds_8_bit_exactly
    assert Processor("new", ("avx2", "avx_vnni")).adds_8_bit_exactly
    here = this_processor()
    assert Processor.of(here.to_json()) == here and here.name


def test_a_result_keeps_the_keys_of_its_document() -> None:
    from pathlib import Path

    point = Point("p0", Path("b"), "torch", (), 10, 20, 3, 0.0, metrics={"accuracy": Figure(0.9, 0.8, 1.0)})
    told = CompressionResult({"name": "x", "features": []}, (point,), "p0", "p0").to_json()
    assert set(told) == {"format", "cpu", "rows", "original", "chosen", "points", "rolled_back"}
    assert told["points"][0]["metrics"] == {"accuracy": {"value": 0.9, "low": 0.8, "high": 1.0}}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_heads_and_neurons_that_do_nothing_are_removed_without_a_change(name: str) -> None:
    from danlu.compression.blocks import find_groups, remove_parts
    from danlu.core.imports import patch_torchvision

    patch_torchvision()
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
    shared = {"num_key_value_heads": 2} if name == "llama" else {}
    config = AutoConfig.for_model(name, **sizes, **shared, vocab_size=50)
    torch.manual_seed(0)
    network = nn.Module()
    network.network = (AutoModelForCausalLM if name == "llama" else AutoModelForMaskedLM).from_config(config).eval()
    groups = find_groups(network)
    assert [group.parts for group in groups] == [len(shared) * 2 or 4] * 2 + [24] * 2
    with torch.no_grad():
        for group in groups:  # every second part of each adds nothing
            matrix = group.inputs.weight
            matrix.view(len(matrix), group.parts, -1)[:, ::2] = 0
            for layer in group.outputs:
                layer.weight.view(group.parts, -1, layer.weight.shape[1])[::2] *= 1e-6
    ids = torch.arange(5, 17).reshape(2, 6)
    before = network.network(ids).logits
    remove_parts(groups, 0.5, lambda weight: weight.detach() ** 2, across_layers=False)
    assert groups[0].outputs[0].out_features == 16 and groups[2].outputs[0].out_features == 12
    assert torch.allclose(network.network(ids).logits, before, atol=1e-5)
