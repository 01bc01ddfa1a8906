"""Weights, activations, representations and the loss: what was planted is found, and nothing else."""

import gc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from danlu.core.seeds import Seed
from danlu.inspection.activations import measure_activations
from danlu.inspection.layers import observed
from danlu.inspection.loss import gradient_norms, loss_plane, mean_loss
from danlu.inspection.representations import attention_weights, feature_maps, last_features, project
from danlu.inspection.weights import describe_weights, network_weights
from danlu.tasks.table import get_task
from tests.support.small_models import TASKS, batch, build


def rows_of(count: int, width: int = 6, size: int = 50) -> Any:
    drawn = torch.Generator().manual_seed(4)
    return ({"input": torch.randn(size, width, generator=drawn)} for _ in range(count // size))


def test_a_dead_unit_is_named_with_its_layer() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        network[0].bias[5] = -1e3
    found = {line["name"]: line for line in measure_activations(network, rows_of(200))}
    assert (found["1"]["dead"], found["1"]["dead_units"]) == (1, [5])
    assert found["0"]["dead"] == found["2"]["dead"] == 0


def test_a_saturated_layer_is_named_and_its_neighbours_are_not() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 2))
    with torch.no_grad():
        network[2].weight.mul_(1e4)
    found = {line["name"]: line for line in measure_activations(network, rows_of(200))}
    assert [name for name, line in found.items() if line["is_saturated"]] == ["3"]
    assert found["3"]["saturated"] == 8 and found["1"]["saturated"] == 0


class Functional(nn.Module):
    """Calls its activations itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(torch.relu(self.first(x))).mean(dim=(2, 3))


def test_activations_that_no_module_makes_are_seen_by_channel() -> None:
    network = Functional()
    with torch.no_grad():
        network.first.bias[2] = -50
    found = measure_activations(network, [{"x": torch.randn(6, 3, 9, 9)}])
    assert [line["name"] for line in found] == ["first", "relu", "tanh"]
    assert [line["units"] for line in found] == [4, 4, 4] and found[1]["dead_units"] == [2]


def test_a_layer_that_runs_twice_is_numbered_anew_in_every_pass() -> None:
    layer = nn.Linear(3, 3)
    network = nn.Sequential(layer, nn.ReLU(), layer)
    seen: list[str] = []
    with observed(network, lambda name, kind, output: seen.append(name)):
        for _ in range(2):
            network(torch.randn(1, 3))
    assert seen == ["0", "1", "0#2"] * 2


@given(st.floats(1e-6, 1e6), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_quantiles_of_streamed_activations_are_right_to_a_tenth(scale: float, seed: int) -> None:
    values = torch.randn(4000, 1, generator=torch.Generator().manual_seed(seed)) * scale
    (line,) = measure_activations(nn.Sequential(nn.Identity()), ({"input": each} for each in values.split(500)))
    for found, expected in zip(
        line["quantiles"], np.quantile(values.numpy(), (0.01, 0.25, 0.5, 0.75, 0.99)), strict=True
    ):
        assert found == pytest.approx(expected, rel=0.1, abs=0.05 * scale)


def test_memory_does_not_grow_with_the_rows() -> None:
    """Tensors made since the start that are alive when the next batch is asked for, 1,000 rows in."""
    network = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 3))
    held: list[int] = []

    def counted() -> Any:
        for inputs in rows_of(1000):
            gc.collect()
            alive = [each for each in gc.get_objects() if type(each) is Tensor]
            held.append(sum(each.numel() * each.element_size() for each in alive))
            del alive  # else the list itself keeps them
            yield inputs

    gc.collect()
    gc.freeze()  # what other tests keep is not walked through at every batch
    try:
        measure_activations(network, counted())
    finally:
        gc.unfreeze()
    assert len(held) == 20 and max(held) < held[2] + 30_000, "the outputs of one batch are 27 kB"


def test_weights_are_described_by_their_form() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(40, 5))
    lines, pictures = describe_weights(network_weights(network))
    assert {picture.name: picture.form for picture in pictures} == {
        "0.weight": "filters",
        "0.bias": "bars",
        "2.weight": "map",
        "2.bias": "bars",
    }
    by_name = {line["name"]: line for line in lines}
    singular = torch.linalg.svdvals(network[2].weight.detach())
    assert by_name["2.weight"]["singular"] == pytest.approx(singular.tolist(), rel=1e-4)
    assert "singular" not in by_name["0.bias"]
    assert by_name["2.weight"]["std"] == pytest.approx(float(network[2].weight.detach().std(correction=0)))


def test_the_effective_rank_is_that_which_was_planted() -> None:
    low = torch.linalg.qr(torch.randn(40, 3)).Q @ torch.linalg.qr(torch.randn(30, 3)).Q.T
    (line,), _ = describe_weights([("low", low)])
    assert line["rank"] == pytest.approx(3.0, rel=1e-2)
    (zero,), _ = describe_weights([("zero", torch.zeros(4, 4))])
    assert zero["rank"] == 0.0 and zero["zeros"] == 1.0


def test_weights_that_are_not_finite_are_counted() -> None:
    (line,), _ = describe_weights([("broken", torch.tensor([[1.0, float("nan")], [float("inf"), 2.0]]))])
    assert line["not_finite"] == 2 and line["mean"] is None and line["quantiles"][2] == 1.5


def test_principal_components_keep_the_plane_that_was_planted() -> None:
    drawn = np.random.default_rng(3)
    plane = drawn.normal(size=(200, 2)) * [5.0, 2.0]
    features = plane @ np.linalg.qr(drawn.normal(size=(10, 2)))[0].T + 7
    points, explained = project(features)
    assert sum(explained) == pytest.approx(1.0) and explained[0] > explained[1]
    distances = [np.linalg.norm(each[:, None] - each[None], axis=-1) for each in (plane, points)]
    assert np.allclose(*distances, atol=1e-8)
    assert np.array_equal(project(features)[0], points)


def test_umap_keeps_neighbours_together_and_one_seed_gives_one_picture() -> None:
    pytest.importorskip("umap", reason="no umap-learn here: pip install 'danlu[umap]'")
    from danlu.inspection.representations import project_by_umap

    drawn = np.random.default_rng(0)
    classes = np.repeat(np.arange(3), 40)
    features = drawn.normal(size=(3, 12))[classes] * 6 + drawn.normal(size=(120, 12))
    features[5, 3] = np.nan
    points = project_by_umap(features.astype(np.float32), Seed(1))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert points.shape == (120, 2) and (classes[distances.argmin(axis=1)] == classes).mean() > 0.9
    assert np.array_equal(project_by_umap(features.astype(np.float32), Seed(1)), points)


def test_umap_is_named_where_it_is_missing_or_rows_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    from danlu.inspection import representations

    monkeypatch.setattr(representations, "missing_packages", lambda extra: ("umap",))
    assert representations.lacks_for_umap(100) == "it is not installed: pip install 'danlu[umap]'"
    monkeypatch.setattr(representations, "missing_packages", lambda extra: ())
    assert representations.lacks_for_umap(15) == "it needs more than 15 rows" and not representations.lacks_for_umap(16)


def test_features_are_what_the_last_layer_reads() -> None:
    network = build("mlp").eval()
    found = last_features(network, [dict(batch("mlp", number=number).inputs) for number in range(2)])
    assert len(found) == 16 and np.isfinite(found).all()


def test_feature_maps_are_of_one_image_by_layer() -> None:
    maps = feature_maps(build("image").eval(), dict(batch("image").inputs))
    assert len(maps) > 2 and all(values.ndim == 3 and len(values) <= 8 for _, values in maps)


@pytest.mark.parametrize("kind", ["text", "corpus"])
def test_attention_of_each_place_sums_to_one(kind: str) -> None:
    layers = attention_weights(build(kind).eval(), dict(batch(kind).inputs))
    assert len(layers) == 3
    for layer in layers:
        assert layer.shape == (2, 16, 16)
        assert np.allclose(layer.sum(axis=-1), 1.0, atol=1e-5)
    if kind == "corpus":
        assert np.triu(layers[0][0], 1).max() == 0.0, "no place reads what comes after it"


def test_the_middle_of_the_landscape_is_the_loss_and_weights_stay() -> None:
    network, made = build("mlp").eval(), batch("mlp")
    before = [values.clone() for values in network.parameters()]
    head = get_task(TASKS["mlp"]).head(None)
    batches = [(dict(made.inputs), made.target)]
    places, losses = loss_plane(network, head, batches, Seed(1))
    with torch.no_grad():
        assert losses[len(places) // 2, len(places) // 2] == pytest.approx(mean_loss(network, head, batches))
    assert all(torch.equal(was, now) for was, now in zip(before, network.parameters(), strict=True))
    assert np.array_equal(loss_plane(network, head, batches, Seed(1))[1], losses)


def test_gradient_norms_are_those_of_the_mean_loss_and_frozen_flags_stay() -> None:
    network, made = build("mlp").eval(), batch("mlp")
    first = next(iter(network.parameters())).requires_grad_(False)
    head = get_task(TASKS["mlp"]).head(None)
    halves = [
        ({name: v[rows] for name, v in made.inputs.items()}, made.target[rows]) for rows in (slice(3), slice(3, 8))
    ]
    norms = gradient_norms(network, head, halves)
    assert not first.requires_grad
    first.requires_grad_(True)
    torch.nn.functional.cross_entropy(network(**made.inputs), made.target).backward()
    for name, values in network.named_parameters():
        assert norms[name] == pytest.approx(
            0.0 if values.grad is None else float(values.grad.norm()), rel=1e-4, abs=1e-7
        )
