"""Trust of images and texts: figures are right where they are known, and ranks only where intervals decide."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import danlu
from danlu.core.seeds import Seed
from danlu.explanation.intervals import Interval
from danlu.explanation.networks.faithfulness import measure_losses
from danlu.explanation.networks.methods import NETWORK_METHODS, Asked
from danlu.explanation.networks.trust import SHARES, Measured, lost_by_removal, shuffled_network, sum_up_rows
from danlu.explanation.removal import sum_up
from danlu.explanation.trust_results import Trust, recommend
from tests.explanation.network_rows import OfImages, image_row
from tests.explanation.test_network_methods import WEIGHTS, text_row


def test_what_a_sum_of_words_loses_is_told_by_its_values_and_not_by_dummies() -> None:
    row = text_row(WEIGHTS)
    losses = measure_losses(row, Seed(0))
    assert losses.unfaithfulness(np.array(WEIGHTS)) == pytest.approx(0, abs=1e-9)
    assert losses.unfaithfulness(row.dummies()["input-magnitude"]) > 0.3
    lost = lost_by_removal(row, {"right": np.array(WEIGHTS), "wrong": -np.arange(9.0)})
    order = np.argsort(-np.abs(WEIGHTS), kind="stable")
    sizes = [max(1, round(share * 9)) for share in SHARES]
    assert lost["right"] == pytest.approx([abs(np.array(WEIGHTS)[order[:size]].sum()) for size in sizes], abs=1e-5)
    assert lost["right"].mean() > lost["wrong"].mean()


def test_a_text_hardly_moves_where_its_least_word_is_hidden() -> None:
    row = text_row(WEIGHTS)
    near = row.near(Seed(0), 0)
    assert near.players == row.players and near.ends()[1] == pytest.approx(row.ends()[1])  # its word has the weight 0
    found = NETWORK_METHODS["shap"].explain(near, Asked(Seed(0))).values
    assert np.allclose(found, WEIGHTS, atol=1e-5)


def test_an_image_hardly_moves_by_noise_and_keeps_its_segments() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12), dtype=np.uint8)
    row = image_row(OfImages(nn.Flatten(), nn.Linear(144, 1)), pixels)
    near = row.near(Seed(0), 0)
    moved = near.pixels.astype(int) - row.pixels
    assert 0 < np.abs(moved).max() <= 14 and np.array_equal(near.segments, row.segments)
    assert np.array_equal(near.pixels, row.near(Seed(0), 3).pixels)


def test_segments_that_are_taken_away_are_filled_from_images_alike_in_what_stays() -> None:
    own = np.full((8, 8), 50, np.uint8)
    own[:, 4:] = 200
    alike, other = own.copy(), np.full((8, 8), 255, np.uint8)
    alike[:, 4:] = 90
    linear = nn.Linear(64, 1)
    nn.init.constant_(linear.weight, 1.0)
    nn.init.zeros_(linear.bias)
    row = image_row(OfImages(nn.Flatten(), linear), own)
    object.__setattr__(row, "segments", (np.arange(8) // 4)[None].repeat(8, axis=0))
    row.source.references = np.stack([own, other, *[alike] * 5])[:, None]
    found = row.refilled(np.array([[True, True], [True, False]]))
    assert found * 255 == pytest.approx([own.sum(dtype=int), alike.sum(dtype=int)], rel=1e-5)  # and not itself


def test_weights_are_shuffled_each_in_itself() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    one, two = (shuffled_network(network, Seed(1)) for _ in range(2))
    for own, first, second in zip(network.parameters(), one.parameters(), two.parameters(), strict=True):
        assert torch.equal(own.flatten().sort().values, first.flatten().sort().values) and torch.equal(first, second)
    weights = [next(each.parameters()) for each in (network, one)]
    assert not torch.equal(*weights)


def _measured(rows: int, *, lime: float, broken: bool = False) -> list[Measured]:
    rng = np.random.default_rng(0)
    found = []
    for row in range(rows):
        one = Measured()
        for name, level in (("shap", 1.0), ("lime", lime), ("occlusion", 0.9), ("random", 0.1), ("edges", 0.2)):
            one.errors[name] = 1.1 - level / 2 + 0.01 * rng.standard_normal()
            one.lost[name] = np.full(len(SHARES), level + 0.02 * rng.standard_normal())
            one.moves[name] = one.alike[name] = 0.1
        one.completeness["shap"] = 1e-9 * row
        if broken and row == rows - 1:
            one.incomplete["occlusion"] = "its values do not add up"
        found.append(one)
    return found


def test_methods_are_ranked_and_recommended_only_where_intervals_decide() -> None:
    alike = sum_up_rows(_measured(6, lime=1.0, broken=True), ("random", "edges"))
    assert [one.method for one in alike] == ["shap", "lime"]  # occlusion broke its promise on one row
    assert all(one.beats_dummies for one in alike) and recommend(alike) == "shap"
    assert alike[0].completeness == Interval(pytest.approx(5e-9)) and alike[1].completeness is None
    assert alike[0].removal is not None and alike[1].removal is None and alike[0].removal.sizes == SHARES
    assert recommend(sum_up_rows(_measured(6, lime=2.0), ("random", "edges"))) == "lime"
    assert recommend(sum_up_rows(_measured(1, lime=2.0), ("random", "edges"))) == "shap"  # one row has no interval
    assert recommend(()) == "shap"


def test_a_dummy_is_never_recommended() -> None:
    lost = [{"shap": np.full(9, 0.1 + row), "random": np.full(9, 2.0 + row)} for row in (0.0, 0.01, 0.02)]
    removal = sum_up(lost, SHARES, ("random",))
    figure = Interval(0.0)
    trust = Trust("shap", 3, figure, figure, {"random": figure}, False, figure, None, removal)
    assert removal.ranks[0] == ("random",) and recommend([trust]) == "shap"


KEYS = {"method", "rows", "completeness", "infidelity", "dummies", "beats_dummies", "stability", "randomisation"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["images", "texts"])
def test_every_method_of_a_network_is_measured_beside_dummies(
    image_run: Path, text_run: Path, tmp_path: Path, name: str
) -> None:
    run = image_run if name == "images" else text_run
    found = danlu.explain(run, rows=[0, 1], methods=["trust"], budget=300, output=tmp_path)
    methods = {one.method: one for one in found.trust}
    assert {"shap", "lime", "occlusion", "integrated-gradients"} <= set(methods) and found.local == ()
    assert set(found.trust[0].dummies) == {"random", "input-magnitude", *(["edges"] if name == "images" else [])}
    for one in found.trust:
        assert one.rows == 2 and 0 <= one.infidelity.value <= 1 and one.stability.value >= 0
        assert one.randomisation is not None and one.randomisation.value < 0.95
    shap = methods["shap"]
    assert shap.completeness is not None and shap.completeness.value < 1e-6 and shap.removal is not None
    assert set(methods) | set(shap.dummies) == set(shap.removal.areas)
    document = json.loads((tmp_path / "explanation.json").read_text())
    assert all(set(one) == {*KEYS, "removal"} for one in document["trust"])
    assert document["recommended"] in methods
