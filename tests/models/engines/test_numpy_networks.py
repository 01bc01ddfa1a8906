"""Networks in numpy answer as their twins in torch, whatever their options and inputs."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.core.seeds import Seed
from danlu.data.specs import TabularInputs
from danlu.models.base import FitData, Model, Rows
from danlu.models.engines import numpy_networks
from danlu.models.engines.numpy_engine import network_spec, read_weights
from danlu.models.engines.numpy_networks import FAMILIES, build_network, read_safetensors
from danlu.models.tabular.options import MLP, Additive, Boosting, FTTransformer, Linear, ResNet, TabM, Tree
from danlu.models.tabular.tree_arrays import TreeBuilder
from danlu.models.tabular.tree_ensemble import TreeEnsemble
from danlu.tasks.loss_weighting import LossWeighting

FORMS = st.sampled_from(["none", "linear", "periodic", "piecewise-linear"])
WIDTHS = st.integers(2, 40)  # torch refuses group norm of a single number
EMBEDDED = {"numeric_embedding": FORMS, "frequencies": st.integers(1, 5), "embedding_width": st.integers(1, 6)}
OPTIONS: dict[str, st.SearchStrategy[Model]] = {
    "linear": st.just(Linear()),
    "mlp": st.builds(
        MLP,
        hidden=st.lists(WIDTHS, max_size=3).map(tuple),
        normalization=st.sampled_from(["batch", "layer", "group", "none"]),
        activation=st.sampled_from(["relu", "gelu", "silu"]),
    ),
    "resnet": st.builds(ResNet, width=WIDTHS, blocks=st.integers(1, 3), **EMBEDDED),
    "tabm": st.builds(TabM, width=WIDTHS, blocks=st.integers(1, 3), members=st.integers(1, 5), **EMBEDDED),
    "ft-transformer": st.builds(
        FTTransformer,
        width=st.sampled_from([4, 8, 12]),
        heads=st.sampled_from([1, 2, 4]),
        blocks=st.integers(1, 3),
        numeric_embedding=FORMS,
        frequencies=st.integers(1, 5),
    ),
    "additive": st.just(Additive()),
}


@st.composite
def table_inputs(draw: st.DrawFn) -> TabularInputs:
    numeric = draw(st.integers(0, 4))
    sizes = tuple(draw(st.lists(st.integers(1, 40), min_size=0 if numeric else 1, max_size=3)))
    rising = st.lists(st.integers(-30, 30), min_size=2, max_size=6, unique=True)
    edges = tuple(tuple(sorted(place / 10 for place in draw(rising))) for _ in range(numeric))
    return TabularInputs(numeric=numeric, cardinalities=sizes, edges=edges)


def rows_of(inputs: TabularInputs, count: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    if inputs.numeric:
        found["numeric"] = random.normal(0, 2, (count, inputs.numeric)).astype(np.float32)
    if inputs.cardinalities:
        found["categories"] = np.stack([random.integers(0, size, count) for size in inputs.cardinalities], axis=1)
    return found


def in_numpy(options: Model, inputs: TabularInputs, outputs: int, network: Any, rows: dict[str, np.ndarray]) -> Any:
    """The answer of the network whose weights were written and read again."""
    with TemporaryDirectory() as folder:
        options.write_weights(network, Path(folder))
        weights = read_weights(Path(folder) / options.weights_file, outputs)
        return build_network(network_spec(options, inputs, outputs), weights)(**rows)


def in_torch(network: torch.nn.Module, rows: dict[str, np.ndarray]) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(network.eval()(**{name: torch.from_numpy(values) for name, values in rows.items()}))


def shaken(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """A network in which nothing is 0 or 1 as it was built."""
    generator = torch.Generator().manual_seed(seed)
    for name, values in network.state_dict().items():
        if values.is_floating_point():
            noise = torch.rand(values.shape, generator=generator)
            values.copy_(0.5 + noise if name.endswith("running_var") else values + noise - 0.5)
    return network


@pytest.mark.parametrize("family", OPTIONS)
def test_a_network_answers_as_in_torch(family: str) -> None:
    @settings(max_examples=40, deadline=None)
    @given(OPTIONS[family], table_inputs(), st.integers(1, 4), st.sampled_from([1, 2, 33]), st.integers(0, 2**31))
    def check(options: Any, inputs: TabularInputs, outputs: int, count: int, seed: int) -> None:
        torch.manual_seed(seed)
        network, rows = shaken(options.build(inputs, outputs), seed), rows_of(inputs, count, seed)
        expected, found = in_torch(network, rows), in_numpy(options, inputs, outputs, network, rows)
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(expected).max())))

    check()


def grown(random: np.random.Generator, builder: TreeBuilder, inputs: TabularInputs, depth: int) -> int:
    """Add a tree of random splits by numbers, by codes and by sets of codes; return its root."""
    if depth == 0 or random.random() < 0.2:
        builder.add_leaf(random.normal(size=builder.width).tolist())
        return len(builder) - 1
    left, right = (grown(random, builder, inputs, depth - 1) for _ in range(2))
    feature = int(random.integers(0, inputs.numeric + len(inputs.cardinalities)))
    if feature < inputs.numeric:
        threshold = float(random.choice([random.normal(), 0.0, math.inf, 1e300]))
        builder.add_split(feature, threshold, bool(random.random() < 0.5), left, right)
    elif random.random() < 0.2:
        builder.add_split(feature, float(random.integers(0, 40)), True, left, right)
    else:
        words = [int(word) for word in random.integers(0, 2**32, int(random.integers(0, 3)))]
        builder.add_category_split(feature, words, left, right)
    return len(builder) - 1


@settings(max_examples=200, deadline=None)
@given(
    table_inputs(),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([1, 2, 50]),
    st.sampled_from([0, numpy_networks.SCANNED_LEAVES]),
    st.integers(0, 2**31),
)
def test_trees_answer_as_in_torch(
    inputs: TabularInputs, groups: int, zero: bool, count: int, scanned: int, seed: int
) -> None:
    """Whether all splits are asked at once, or the trees are walked, as they are where one has many leaves."""
    random = np.random.default_rng(seed)
    builder = TreeBuilder(int(random.integers(1, 4)))
    for _ in range(groups * int(random.integers(1, 5))):
        builder.roots.append(grown(random, builder, inputs, int(random.integers(0, 7))))
    network, rows = TreeEnsemble(groups, builder.width, zero), rows_of(inputs, count, seed)
    network.set_trees(builder.to_arrays())
    if "numeric" in rows:
        rows["numeric"][random.random(rows["numeric"].shape) < 0.3] = random.choice([np.nan, np.inf, -np.inf])
    if "categories" in rows:
        rows["categories"][random.random(rows["categories"].shape) < 0.2] += 100  # beyond what any set knows
    spec = {"family": "tree", "numeric": inputs.numeric, "groups": groups, "zero_first": zero}
    with patch.object(numpy_networks, "SCANNED_LEAVES", scanned):
        found = build_network(spec, builder.to_arrays())(**rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, in_torch(network, rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_fitted_trees_answer_as_in_torch_on_gaps_and_categories(outputs: int) -> None:
    random, inputs = np.random.default_rng(outputs), TabularInputs(numeric=2, cardinalities=(7, 70))
    rows = rows_of(inputs, 400, outputs)
    rows["numeric"][random.random((400, 2)) < 0.2] = np.nan
    likely = np.nan_to_num(rows["numeric"][:, 0]) + (rows["categories"][:, 1] % 3)
    target = likely.astype(np.float32) if outputs == 1 else np.digitize(likely, [0.5, 1.5][: outputs - 1])
    given_rows = Rows(rows["numeric"], rows["categories"], target)
    for options in (Boosting(rounds=9, leaf_rows=5), Tree(leaf_rows=5)):
        data = FitData(inputs, outputs, _squared, given_rows, None, given_rows, Seed(3), 1)
        fit, network = options.start_fit(data), options.build(inputs, outputs)
        rounds = len(list(fit.iter_rounds()))
        fit.load_rounds_into(network, rounds)
        found = in_numpy(options, inputs, outputs, network, rows)
        np.testing.assert_allclose(found, in_torch(network, rows), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            found[:1], in_numpy(options, inputs, outputs, network, {k: v[:1] for k, v in rows.items()})
        )
        assert len(np.unique(found[:, -1])) > 3


def _squared(logits: Any, target: Any, weighting: LossWeighting) -> tuple[Any, int]:
    return torch.zeros(()), len(target)


def test_each_tensor_is_found_by_its_own_name_and_place(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors = {
        "z": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "a": torch.tensor([True, False]),
        "m": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "k": torch.tensor([2**40]),
        "b": torch.tensor(3.0, dtype=torch.float64),
        "h": torch.tensor([[0.5]], dtype=torch.float16),
    }
    save_file(tensors, tmp_path / "t.safetensors", metadata={"x": "y"})
    found = read_safetensors(tmp_path / "t.safetensors")
    assert found.keys() == tensors.keys()
    for name, values in tensors.items():
        assert found[name].tolist() == values.tolist()
        assert found[name].shape == tuple(values.shape)


def test_every_family_is_tried() -> None:
    assert {*OPTIONS, "tree", "boosting"} == set(FAMILIES)
