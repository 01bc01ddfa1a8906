"""The parts of an ONNX file, each against what danlu itself computes: trees, scaling, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from danlu.data.specs import TabularInputs
from danlu.data.tabular.scaling import SCALERS, Scaler, Scaling
from danlu.errors import ArgumentError
from danlu.exporters.onnx.gathered_trees import GatheredTrees
from danlu.exporters.onnx.graph import GraphBuilder
from danlu.exporters.onnx.network import network_graph, require_opset
from danlu.exporters.onnx.scaling import add_scaling
from danlu.exporters.onnx.trees import add_trees, codes_in
from danlu.exporters.ports import BATCH, Port, network_ports
from danlu.models.tabular.tree_arrays import TreeBuilder
from danlu.models.tabular.tree_ensemble import TreeEnsemble

NUMBERS, CODES = 3, 140  # codes beyond four words of 32


def run_graph(builder: GraphBuilder, value: str, port: Port, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What ONNX Runtime answers."""
    import onnxruntime
    from onnx import helper

    builder.nodes.append(helper.make_node("Identity", [value], [port.name]))
    builder.outputs.append(port)
    session = onnxruntime.InferenceSession(
        builder.model(20, "part").SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, inputs)[0])


def grown_trees(seed: int, groups: int, width: int, zero_first: bool) -> TreeEnsemble:
    """Trees of random splits: by numbers with gaps either way, by sets of codes, empty sets and single leaves too."""
    generator = np.random.default_rng(seed)
    builder = TreeBuilder(width)

    def add(depth: int) -> None:
        at = len(builder)
        if depth == 0 or generator.uniform() < 0.2:
            builder.add_leaf(generator.normal(size=width).tolist())
            return
        splits_by_set = generator.uniform() < 0.5
        if splits_by_set:
            held = generator.choice(CODES, generator.integers(0, 20))
            words = [0] * (int(held.max(initial=0)) // 32 + 1)
            for code in held.tolist():
                words[code // 32] |= 1 << (code % 32)
            builder.add_category_split(NUMBERS, words, at + 1, 0)
        else:
            threshold = float(generator.normal())
            builder.add_split(int(generator.integers(NUMBERS)), threshold, bool(generator.uniform() < 0.5), at + 1, 0)
        add(depth - 1)
        builder.right[at] = len(builder)
        add(depth - 1)

    for _ in range(3 * groups):
        builder.roots.append(len(builder))
        add(int(generator.integers(0, 5)))
    network = TreeEnsemble(groups, width, zero_first)
    network.set_trees(builder.to_arrays())
    return network.eval()


def rows_with_gaps(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    numeric = generator.normal(size=(count, NUMBERS)).astype(np.float32)
    numeric[generator.uniform(size=numeric.shape) < 0.2] = np.nan
    return numeric, generator.integers(0, CODES + 30, (count, 1))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), shape=st.sampled_from([(1, 1, False), (1, 1, True), (4, 1, False), (1, 3, False)]))
def test_trees_answer_as_danlus_own_walk(seed: int, shape: tuple[int, int, bool]) -> None:
    network = grown_trees(seed, *shape)
    numeric, categories = rows_with_gaps(seed)
    builder = GraphBuilder()
    builder.add_input("numeric", "float32", BATCH, NUMBERS)
    builder.add_input("categories", "int64", BATCH, 1)
    logits = add_trees(builder, network, "numeric", "categories")
    expected = network(torch.from_numpy(numeric), torch.from_numpy(categories)).numpy()
    port = Port("logits", "float32", (BATCH, expected.shape[1]))
    found = run_graph(builder, logits, port, {"numeric": numeric, "categories": categories})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    walked = GatheredTrees(network)(torch.from_numpy(numeric), torch.from_numpy(categories)).numpy()
    np.testing.assert_array_equal(walked, expected)


def test_sets_of_categories_are_looked_up_in_a_graph_without_bits(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    network = grown_trees(3, 1, 1, True)
    assert network.has_category_splits
    inputs = TabularInputs(numeric=NUMBERS, cardinalities=(CODES,))
    graph = network_graph(GatheredTrees(network), inputs, 20, "logits")
    assert not {node.op_type for node in graph.graph.node} & {"BitShift", "TreeEnsemble"}
    numeric, categories = rows_with_gaps(3)
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    compiled = openvino.Core().compile_model(tmp_path / "model.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled({"numeric": numeric, "categories": categories})[0]
    expected = network(torch.from_numpy(numeric), torch.from_numpy(categories)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_set_of_codes_is_read_from_its_words() -> None:
    assert codes_in(np.array([0b101, 0, 1 << 31])) == [0, 2, 95]


@pytest.mark.parametrize("name", sorted(SCALERS))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_scaling_answers_as_the_preparation(name: str, dtype: str) -> None:
    generator = np.random.default_rng(1)
    trained = [generator.normal(size=300) * 3 + 10, np.exp(generator.normal(size=300)), generator.integers(-2, 3, 300)]
    scaler = Scaler.of(SCALERS[name]())
    scalings = [scaler.fit(column.astype(np.float64)) for column in trained]
    asked = np.stack([np.concatenate([column, 3 * column - 1]) for column in trained], axis=1).astype(dtype)
    builder = GraphBuilder()
    scaled = add_scaling(builder, builder.add_input("x", dtype, BATCH, 3), scalings, dtype)
    found = run_graph(builder, scaled, Port("y", dtype, (BATCH, 3)), {"x": asked})
    expected = [each.apply(asked[:, at].astype(np.float64)) for at, each in enumerate(scalings)]
    np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=1e-12 if dtype == "float64" else 2e-5)


@pytest.mark.parametrize("exponent", [-1.5, 0.0, 0.5, 2.0, 3.0])
def test_a_power_bends_either_half(exponent: float) -> None:
    scaling = Scaling(bend="yeo-johnson", exponent=exponent, offset=0.5, scale=2.0)
    plain = Scaling(offset=1.0, scale=4.0)
    values = np.stack([np.linspace(-5, 5, 41)] * 2, axis=1)
    builder = GraphBuilder()
    scaled = add_scaling(builder, builder.add_input("x", "float64", BATCH, 2), [plain, scaling], "float64")
    found = run_graph(builder, scaled, Port("y", "float64", (BATCH, 2)), {"x": values})
    np.testing.assert_allclose(found[:, 0], plain.apply(values[:, 0]), atol=1e-12)
    np.testing.assert_allclose(found[:, 1], scaling.apply(values[:, 1]), atol=1e-12)


class Medians(nn.Module):
    """Compute what ONNX has no operator for."""

    def forward(self, numeric: Tensor) -> Tensor:
        return numeric.median(dim=1, keepdim=True).values


class Outer(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.middle = inner

    def forward(self, numeric: Tensor) -> Tensor:
        return torch.as_tensor(self.middle(numeric))


class Counted(nn.Module):
    """Look at the number of rows."""

    def forward(self, numeric: Tensor) -> Tensor:
        return numeric * (1.0 if len(numeric) > 1 else 2.0) + torch.ones(int(numeric.shape[0]), 1)


class Looking(nn.Module):
    """Look at a value."""

    def forward(self, numeric: Tensor) -> Tensor:
        return numeric if float(numeric.sum()) > 0 else -numeric


TWO = TabularInputs(numeric=2, cardinalities=())


def test_an_operator_that_cannot_leave_is_named_with_its_module() -> None:
    with pytest.raises(ArgumentError, match=r"operator aten\.median.* in the module middle has no form in ONNX"):
        network_graph(Outer(Medians()).eval(), TWO, 20)


def test_a_network_that_looks_at_values_is_refused() -> None:
    with pytest.raises(ArgumentError, match="cannot leave torch"):
        network_graph(Looking().eval(), TWO, 20)


@pytest.mark.parametrize("opset", [7, 17, 24, 99])
def test_an_unknown_opset_is_refused_with_those_that_are_known(opset: int) -> None:
    with pytest.raises(ArgumentError, match="18 to 23"):
        require_opset(opset)


class Both(nn.Module):
    """Tell its two inputs apart, which stand in another order than their names."""

    def forward(self, categories: Tensor | None = None, numeric: Tensor | None = None) -> Tensor:
        assert numeric is not None and categories is not None
        return 10 * numeric.sum(dim=1, keepdim=True) + categories.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("opset", [18, 20, 23])
def test_names_land_on_their_inputs_and_the_batch_is_free(opset: int, tmp_path: Path) -> None:
    import onnxruntime

    inputs = TabularInputs(numeric=2, cardinalities=(3, 4))
    graph = network_graph(Both().eval(), inputs, opset)
    assert [(value.name, value.type.tensor_type.shape.dim[0].dim_param) for value in graph.graph.input] == [
        ("numeric", "batch"),
        ("categories", "batch"),
    ]
    assert str(Path(__file__).parent) not in str(graph)  # no lines of code of this machine

    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    given: dict[str, Any] = {"numeric": np.float32([[1, 2]] * 7), "categories": np.int64([[0, 1]] * 7)}
    np.testing.assert_array_equal(session.run(None, given)[0], np.full((7, 1), 31.0))


def test_inputs_of_a_table_are_those_that_it_has() -> None:
    assert [port.name for port in network_ports(TabularInputs(numeric=0, cardinalities=(3,)))] == ["categories"]
    assert network_ports(TWO)[0].shape == ("batch", 2)


def test_labels_of_whole_numbers_stay_numbers_and_others_are_words() -> None:
    from danlu.exporters.onnx.whole import label_values
    from danlu.tasks.classification import ClassTarget

    def target(labels: tuple[Any, ...]) -> ClassTarget:
        return ClassTarget(task="classification", column="y", labels=labels)

    assert label_values(target((3, 10))) == ([3, 10], "int64")
    assert label_values(target((False, True))) == (["False", "True"], "string")
    assert label_values(target(("a", "b"))) == (["a", "b"], "string")
