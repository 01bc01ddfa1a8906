"""Methods for networks find what is planted, add up where they promise to, and say where they do not."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from danlu.core.seeds import Seed
from danlu.explanation.networks.grad_cam import candidates, choose_layer, grad_cam
from danlu.explanation.networks.gradients import (
    deep_lift,
    gradient_shap,
    gradient_x_input,
    integrated_gradients,
    quiet,
)
from danlu.explanation.networks.methods import NETWORK_METHODS, Asked
from danlu.explanation.networks.rows import Incomplete
from danlu.explanation.networks.segments import segment
from danlu.explanation.networks.texts import ReadText, TextRow, Word
from tests.explanation.network_rows import OfImages, image_row, readout

SIDE, PATCH = 24, 6
TEXT = "the cat saw a zebra by the old river"
TRIGGER = 4


def noise(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(70, 110, (SIDE, SIDE), dtype=np.uint8)


def with_patch(rng: np.random.Generator) -> tuple[np.ndarray, slice, slice]:
    """An image with a chequered patch somewhere, and where it is."""
    line, column = rng.integers(0, SIDE - PATCH + 1, 2).tolist()
    lines, columns = slice(line, line + PATCH), slice(column, column + PATCH)
    image = noise(rng)
    image[lines, columns] = np.indices((PATCH, PATCH)).sum(axis=0) % 2 * 255
    return image, lines, columns


@pytest.fixture(scope="module")
def patch_finder() -> nn.Module:
    """A tiny network that was trained to see whether there is a patch."""
    rng = np.random.default_rng(0)
    images = np.stack([with_patch(rng)[0] if i % 2 else noise(rng) for i in range(64)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = OfImages(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1)),
        )
        steps = torch.optim.Adam(network.parameters(), lr=0.02)
        truth, given = torch.arange(64).remainder(2).float()[:, None], torch.from_numpy(images)[:, None]
        for _ in range(80):
            loss = nn.functional.binary_cross_entropy_with_logits(network(given), truth)
            steps.zero_grad()
            loss.backward()
            steps.step()
    assert float(loss.detach()) < 0.1
    return network


def test_grad_cam_finds_a_planted_patch_in_the_layer_that_is_most_faithful(patch_finder: nn.Module) -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        image, lines, columns = with_patch(rng)
        row = image_row(patch_finder, image)
        names = candidates(patch_finder, row.graph().own)
        assert names == ["network.0", "network.3"]
        found = grad_cam(row, choose_layer([row], names, Seed(0)))
        assert found.layer in names and found.values.shape == (SIDE, SIDE) and found.values.min() >= 0
        line, column = divmod(int(found.values.argmax()), SIDE)
        assert lines.start - 2 <= line < lines.stop + 2 and columns.start - 2 <= column < columns.stop + 2
        inside = found.values[lines, columns].sum() / found.values.sum()
        assert inside > 4 * (PATCH / SIDE) ** 2


@pytest.mark.parametrize("name", ["shap", "lime", "occlusion", "integrated-gradients", "gradient-shap"])
def test_other_methods_find_the_planted_patch_too(patch_finder: nn.Module, name: str) -> None:
    image, lines, columns = with_patch(np.random.default_rng(2))
    row = image_row(patch_finder, image)
    found = NETWORK_METHODS[name].explain(row, Asked(Seed(0)))
    described = row.describe(name, found).pixels
    assert described is not None
    sizes = np.abs(described.values)
    assert sizes[lines, columns].mean() > 3 * sizes.mean()


def test_integrated_gradients_are_complete(patch_finder: nn.Module) -> None:
    rng = np.random.default_rng(3)
    for _ in range(3):
        found = integrated_gradients(image_row(patch_finder, with_patch(rng)[0]), Seed(0))
        assert found.values.sum() == pytest.approx(found.answer - found.base, rel=1e-3, abs=1e-3)


def test_of_a_linear_network_gradients_are_the_closed_form() -> None:
    linear = nn.Linear(SIDE * SIDE, 1)
    row = image_row(OfImages(nn.Flatten(), linear), noise(np.random.default_rng(4)))
    weights = linear.weight.detach().double().numpy().reshape(SIDE, SIDE)
    own = weights * (row.image[..., 0].astype(float) - 90) / 255
    for method in (integrated_gradients, deep_lift, gradient_shap, gradient_x_input):
        with quiet():
            assert np.allclose(method(row, Seed(0)).values, own, atol=1e-6)


class Bent(nn.Module):
    """Bend by a function, which hooks of modules do not see."""

    def forward(self, given: Tensor) -> Tensor:
        """Return the squares."""
        return given**2


def test_deep_lift_that_breaks_completeness_is_not_shown() -> None:
    torch.manual_seed(0)
    image = noise(np.random.default_rng(5))
    seen = OfImages(nn.Flatten(), nn.Linear(SIDE * SIDE, 8), nn.ReLU(), nn.Linear(8, 1))
    with quiet():
        found = deep_lift(image_row(seen, image), Seed(0))
    assert found.values.sum() == pytest.approx(found.answer - found.base, rel=1e-3, abs=1e-5)
    unseen = OfImages(nn.Flatten(), nn.Linear(SIDE * SIDE, 8), Bent(), nn.Linear(8, 1))
    with quiet(), pytest.raises(Incomplete, match=r"row 0: values add up to .*, and the answer is .* beyond the base"):
        deep_lift(image_row(unseen, image), Seed(0))


class TokenNetwork(nn.Module):
    """Give a text the sum of numbers of its tokens, from the embeddings that are looked up."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.table = nn.Embedding(len(weights), 2)
        with torch.no_grad():
            self.table.weight.copy_(torch.tensor(weights)[:, None] * torch.tensor([0.25, 0.75]))

    @property
    def network(self) -> "TokenNetwork":
        """The model that a bundle's network wraps."""
        return self

    def get_input_embeddings(self) -> nn.Module:
        """Return the layer of embeddings, as models of transformers do."""
        return self.table

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return a number for each text, [rows, 1]."""
        return (self.table(input_ids) * attention_mask[..., None]).sum(dim=(1, 2))[:, None]


def text_row(weights: list[float]) -> TextRow:
    """The row of a text whose words have these numbers; the token 0 hides one and has none."""
    words, begin = [], 0
    for place, word in enumerate(TEXT.split()):
        words.append(Word((place,), begin, begin + len(word)))
        begin += len(word) + 1
    network = TokenNetwork([0.0, *weights]).eval()

    @torch.no_grad()
    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return np.asarray(network(**{name: torch.from_numpy(each) for name, each in inputs.items()}).double().numpy())

    predictor = SimpleNamespace(model=network, device=torch.device("cpu"))
    source: Any = SimpleNamespace(predictor=predictor, hiding=0, is_mask=True, run=run)
    return TextRow(0, readout(), ReadText(TEXT, np.arange(1, len(words) + 1), tuple(words)), None, None, source)


WEIGHTS = [0.0, 0.5, -0.25, 0.0, 3.0, 0.0, -1.0, 0.0, 0.125]


@pytest.mark.parametrize(
    "name",
    ["shap", "lime", "occlusion", "integrated-gradients", "deep-lift", "gradient-shap", "gradient-x-input"],
)
def test_each_method_finds_a_trigger_and_a_planted_linear_rule_of_words(name: str) -> None:
    row = text_row(WEIGHTS)
    found = NETWORK_METHODS[name].explain(row, Asked(Seed(0)))
    assert np.allclose(found.values, WEIGHTS, atol=2e-2 if name == "lime" else 1e-5)
    told = row.describe(name, found)
    first = max(told.values, key=lambda each: abs(each.share.value))
    assert first.name == "zebra" and TEXT[first.start : first.end] == "zebra"
    assert told.answer == pytest.approx(sum(WEIGHTS)) and (name == "lime") == (told.fidelity is not None)


def test_segments_follow_colours_and_cover_the_image() -> None:
    image = np.zeros((SIDE, SIDE, 1))
    image[:, SIDE // 2 :] = 1
    found = segment(image, 25)
    assert found.shape == (SIDE, SIDE) and sorted(np.unique(found)) == list(range(found.max() + 1))
    assert not set(np.unique(found[:, : SIDE // 2])) & set(np.unique(found[:, SIDE // 2 :]))
