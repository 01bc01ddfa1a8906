"""The planted truths of networks, by every method of danlu and its peers.

    python benchmarks/explain_networks.py

With captum alone, peers of shap are left out; the environment of `explain.py` has both. danlu's methods run as
`danlu explain` runs them: segments of images are danlu's own, and what a method says of pixels is summed by square.
"""

import importlib.util
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from explanation.cases import MASK, SEEDS, Planted, solves
from explanation.networks import GRAY, NETWORK_CASES, SIDE

from danlu.core.seeds import Seed
from danlu.explanation.networks.grad_cam import candidates, choose_layer
from danlu.explanation.networks.images import ImageRow
from danlu.explanation.networks.methods import NETWORK_METHODS, Asked
from danlu.explanation.networks.readout import Readout
from danlu.explanation.networks.rows import Incomplete, NetworkRow
from danlu.explanation.networks.texts import ReadText, TextRow, Word

CALLS = 500  # of peers that sample; danlu's own number is 20 a segment or word
Values = Callable[[Planted], np.ndarray | None]  # None where a method has no values


def network_row(instance: Planted) -> NetworkRow:
    """Return an instance as danlu's methods take it."""
    network = instance.network.eval()
    readout = Readout("yes", "number", lambda outputs: outputs[:, 0], "number", lambda outputs: outputs[:, 0])

    @torch.no_grad()
    def run(given: Any) -> np.ndarray:
        named = given if isinstance(given, dict) else {"image": given}
        return np.asarray(network(**{name: torch.from_numpy(each) for name, each in named.items()}).double().numpy())

    predictor = SimpleNamespace(model=network, device=torch.device("cpu"))
    if instance.kind == "image":
        pixels = instance.row.reshape(1, 1, SIDE, SIDE).astype(np.uint8)
        fill = np.full((1, 1, 1), GRAY, np.uint8)
        images: Any = SimpleNamespace(predictor=predictor, fill=fill, references=None, run=run)
        row = ImageRow(0, readout, pixels, images)
        names = candidates(network, row.graph().own)
        images.layer = lambda row, seed: choose_layer([row], names, seed)
        return row
    words = tuple(Word((place,), 2 * place, 2 * place + 1) for place in range(len(instance.row)))
    texts: Any = SimpleNamespace(predictor=predictor, hiding=MASK, is_mask=True, run=run)
    return TextRow(0, readout, ReadText("w " * len(words), instance.row.astype(np.int64), words), None, None, texts)


def by_player(instance: Planted, values: np.ndarray) -> np.ndarray:
    """Sum what is said of pixels by square; words are players already."""
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    return np.array([flat[list(cells)].sum() for cells in instance.players])


def of_danlu(name: str, instance: Planted) -> np.ndarray | None:
    row = network_row(instance)
    if instance.kind == "text" and NETWORK_METHODS[name].of_images_alone:
        return None
    try:
        found = NETWORK_METHODS[name].explain(row, Asked(Seed(0)))
    except Incomplete:
        return None
    described = row.describe(name, found)
    values = [each.share.value for each in described.values] if described.pixels is None else described.pixels.values
    return by_player(instance, np.asarray(values))


def dummy(name: str, instance: Planted) -> np.ndarray | None:
    row = network_row(instance)
    if name == "random":
        return np.random.default_rng(len(instance.players)).standard_normal(len(instance.players))
    sizes = row.dummies().get(name)
    if sizes is None or not isinstance(row, ImageRow):
        return sizes
    return by_player(instance, (sizes / np.bincount(row.segments.ravel()))[row.segments])


class _Score(nn.Module):
    """Give the score of inputs as captum and shap hand them over."""

    def __init__(self, instance: Planted) -> None:
        super().__init__()
        self.network, self.is_image = instance.network, instance.kind == "image"

    def forward(self, given: Tensor) -> Tensor:
        """Return the scores, [rows]."""
        found: Tensor = self.network(given if self.is_image else given.round().long())
        return found[:, 0]


def _inputs(instance: Planted) -> tuple[Tensor, Tensor, Tensor]:
    """Return the row, its baseline and the player of each cell, as captum takes them."""
    shape = (1, 1, SIDE, SIDE) if instance.kind == "image" else (1, -1)
    players = np.zeros(len(instance.row), dtype=np.int64)
    for player, cells in enumerate(instance.players):
        players[list(cells)] = player
    row, base = (
        torch.from_numpy(each.astype(np.float32)).reshape(shape) for each in (instance.row, instance.background[0])
    )
    return row, base, torch.from_numpy(players).reshape(shape)


def of_captum(name: str, instance: Planted) -> np.ndarray | None:
    """Values of captum's own methods, given the players themselves where a method takes them."""
    import captum.attr

    row, base, players = _inputs(instance)
    method = getattr(captum.attr, name)(_Score(instance))
    options: dict[str, Any] = {"n_samples": CALLS} if name == "KernelShap" else {}
    options |= {"n_samples": CALLS // len(instance.players)} if name == "ShapleyValueSampling" else {}
    torch.manual_seed(0)
    found = method.attribute(row, baselines=base, feature_mask=players, **options)
    sums = by_player(instance, found.detach().numpy())
    shares: np.ndarray = sums / np.array([len(cells) for cells in instance.players])
    return shares


def of_gradients(name: str, instance: Planted) -> np.ndarray | None:
    """Values of captum's or shap's methods of gradients on pixels, sums held to nothing."""
    if instance.kind == "text":
        return None  # tokens have no gradients, and embeddings are danlu's own way there
    row, base, _ = _inputs(instance)
    torch.manual_seed(0)
    if name in ("Saliency", "DeepLift"):
        import captum.attr

        method = getattr(captum.attr, name)(_Score(instance))
        found = method.attribute(row, abs=True) if name == "Saliency" else method.attribute(row, base)
        return by_player(instance, found.detach().numpy())
    import shap

    explainer = getattr(shap, name)(instance.network, base)
    try:
        return by_player(instance, np.asarray(explainer.shap_values(row)).reshape(-1))
    except AssertionError:  # DeepExplainer, where its sums break
        return None


def of_shap_permutation(instance: Planted) -> np.ndarray | None:
    import shap

    cells = np.zeros((len(instance.players), len(instance.row)), dtype=bool)
    for player, own in enumerate(instance.players):
        cells[player, list(own)] = True

    def value(coalitions: np.ndarray) -> np.ndarray:
        return instance.model(np.where(coalitions.astype(bool) @ cells, instance.row, instance.background[0]))

    players = len(instance.players)
    explainer = shap.PermutationExplainer(value, shap.maskers.Independent(np.zeros((1, players))), seed=0)
    return np.asarray(explainer(np.ones((1, players)), max_evals=CALLS, silent=True).values[0])


SAMPLED = ("KernelShap", "ShapleyValueSampling", "FeatureAblation")
METHODS: dict[str, Values] = {
    **{f"danlu {name}": partial(of_danlu, name) for name in NETWORK_METHODS if name != "attention-rollout"},
    **{name: partial(dummy, name) for name in ("random", "input-magnitude", "edges")},
    **{
        f"captum {each}": partial(of_captum, each) for each in ("KernelShap", "ShapleyValueSampling", "FeatureAblation")
    },
    **{f"captum {each}": partial(of_gradients, each) for each in ("Saliency", "DeepLift")},
}
if importlib.util.find_spec("shap") is not None:
    METHODS |= {f"shap {each}": partial(of_gradients, each) for each in ("GradientExplainer", "DeepExplainer")}
    METHODS["shap PermutationExplainer"] = of_shap_permutation


def main() -> None:
    """Print in how many of the four seeds each method puts the truth first; a dash where it has no values."""
    instances = {name: [case(seed) for seed in SEEDS] for name, case in NETWORK_CASES.items()}
    print(
        "| method | " + " | ".join(instances) + f" | **of {len(instances)}** |\n|---|" + "---|" * (len(instances) + 1)
    )
    for method, give in METHODS.items():
        cells, whole = [], 0
        for own in instances.values():
            values = [give(instance) for instance in own]
            found = sum(each is not None and solves(one, each) for one, each in zip(own, values, strict=True))
            whole += found == len(SEEDS)
            cells.append("–" if all(each is None for each in values) else f"{found}")
        print(f"| {method} | " + " | ".join(cells) + f" | {whole} |", flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
