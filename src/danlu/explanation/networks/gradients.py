"""Methods of gradients and of occlusion, by captum: what each pixel or word adds to a network's score.

In: a `Graph`, or the function of a row's players. Out: an `Attribution`. Those that promise to add up to the answer are
held to it: `Incomplete` is raised where they do not. DeepLIFT as captum has it follows modules alone, so that
functional activations, normalization of layers and attention break its promise without a word.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from captum.attr import DeepLift, FeatureAblation, GradientShap, InputXGradient, IntegratedGradients, Occlusion

from danlu.core.seeds import Seed
from danlu.errors import ArgumentError
from danlu.explanation.networks.images import ImageRow
from danlu.explanation.networks.rows import Attribution, Graph, Incomplete, NetworkRow

COMPLETE = 1e-3  # of the larger of answer and base
FIRST_STEPS, MOST_STEPS = 64, 2048  # of an integral, which are doubled until it is complete
BATCH = 32
SAMPLES, PARTS = 32, 16  # draws of gradient SHAP: a part each for the spread
SURE = 4.0  # standard errors of a sum of draws, beyond which it is not complete
LOOSE = 0.1  # of what the answer is beyond the base, which draws may miss at most
WINDOWS = 4  # squares of an occlusion along a side, each moved by half of itself
LEAST = 1e-6


def integrated_gradients(row: NetworkRow, seed: Seed) -> Attribution:
    """Integrate gradients from the baseline (Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365)."""
    graph, steps = row.graph(), FIRST_STEPS
    base, answer = _ends(graph)
    integral = IntegratedGradients(graph.function)
    while True:
        found = integral.attribute(graph.own, graph.baseline, n_steps=steps, internal_batch_size=BATCH)
        values = _numbers(found)
        error = abs(float(values.sum()) - (answer - base))
        if error <= _allowed(base, answer) or steps >= MOST_STEPS:
            break
        steps *= 2
    return _complete(row, graph, values, "gauss-legendre", steps, error)


def deep_lift(row: NetworkRow, seed: Seed) -> Attribution:
    """Compare activations with the baseline's (Shrikumar et al. 2017, https://arxiv.org/abs/1704.02685).

    Raises:
        ArgumentError: captum cannot follow the network, as where it uses a module twice.
    """
    graph = row.graph()
    base, answer = _ends(graph)
    try:
        with _not_in_place(graph.function):
            found = DeepLift(graph.function).attribute(graph.own, graph.baseline)
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ArgumentError(
            f"method: deep-lift cannot follow this network ({said}); integrated-gradients can", code="DL409"
        ) from error
    values = _numbers(found)
    return _complete(row, graph, values, "rescale", 2, abs(float(values.sum()) - (answer - base)))


def gradient_shap(row: NetworkRow, seed: Seed) -> Attribution:
    """Draw places between references and the row (Erion et al. 2021, https://arxiv.org/abs/1906.10670).

    The base is the mean score of the references. Intervals are of what is drawn.
    """
    from scipy.stats import t

    graph = row.graph()
    with torch.no_grad():
        base, answer = float(graph.function(graph.references).mean()), float(graph.function(graph.own)[0])
    method, parts = GradientShap(graph.function), []
    for part in range(PARTS):
        with _drawing(seed.derive("gradient-shap", part)):
            parts.append(row.fold(_numbers(method.attribute(graph.own, graph.references, n_samples=SAMPLES))))
    found = np.stack(parts)
    spread = found.std(axis=0, ddof=1) / np.sqrt(PARTS)
    sums = found.reshape(PARTS, -1).sum(axis=1)
    values, error = found.mean(axis=0), abs(float(sums.mean()) - (answer - base))
    drawn = min(SURE * float(sums.std(ddof=1)) / np.sqrt(PARTS), LOOSE * abs(answer - base))
    allowed = max(drawn, _allowed(base, answer))
    if not error <= allowed:
        raise Incomplete(_sum_of("gradient-shap", row, float(sums.mean()), answer - base))
    half = spread * float(t.ppf(0.975, PARTS - 1))
    return Attribution(values, "drawn", row.readout.score_scale, base, answer, half, error, calls=2 * PARTS * SAMPLES)


def gradient_x_input(row: NetworkRow, seed: Seed) -> Attribution:
    """Multiply each input's distance from the baseline with the score's gradient."""
    graph = row.graph()
    base, answer = _ends(graph)
    moved = _Moved(graph)
    found = InputXGradient(moved).attribute(graph.own - graph.baseline)
    return Attribution(row.fold(_numbers(found)), "gradient", row.readout.score_scale, base, answer, calls=1)


def occlusion(row: NetworkRow) -> Attribution:
    """Take away each word, or squares of an image, and say what the answer loses.

    Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901.
    """
    base, answer = row.ends()

    def ask(present: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(row.values(present.numpy() > 0.5))

    whole = torch.ones(1, row.players)
    found = FeatureAblation(ask).attribute(whole, torch.zeros(1, row.players), perturbations_per_eval=BATCH)
    values = _numbers(found)
    return Attribution(values, "ablation", row.readout.scale, base, answer, calls=row.players)


def occluded_squares(row: ImageRow) -> Attribution:
    """Cover squares of an image and say what the answer loses on their mean.

    Each lies half over the next.
    """
    base, answer = row.ends()
    own, fill = (torch.from_numpy(row.pixels.astype(np.float32)), torch.from_numpy(row.source.fill.astype(np.float32)))

    def ask(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(row.readout.number(row.source.run(images.numpy().round().astype(np.uint8))))

    channels, height, width = own.shape[1:]
    window = (channels, *(max(1, -(-side // WINDOWS)) for side in (height, width)))
    strides = (channels, *(max(1, each // 2) for each in window[1:]))
    found = Occlusion(ask).attribute(
        own, window, strides, baselines=fill[None].expand_as(own), perturbations_per_eval=BATCH
    )
    values = _numbers(found)[0]
    calls = int(
        np.prod(
            [
                -(-(side - each) // step) + 1
                for side, each, step in zip(own.shape[2:], window[1:], strides[1:], strict=True)
            ]
        )
    )
    return Attribution(values, "squares", row.readout.scale, base, answer, calls=calls)


class _Moved(torch.nn.Module):
    """Give the score of inputs that are told as distances from the baseline."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.function, self.baseline = graph.function, graph.baseline

    def forward(self, distance: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.function(self.baseline + distance)
        return found


GRADIENTS: dict[str, Callable[[NetworkRow, Seed], Attribution]] = {
    "integrated-gradients": integrated_gradients,
    "deep-lift": deep_lift,
    "gradient-shap": gradient_shap,
    "gradient-x-input": gradient_x_input,
}


@torch.no_grad()
def _ends(graph: Graph) -> tuple[float, float]:
    """Return the scores of the baseline and of the row."""
    return float(graph.function(graph.baseline)[0]), float(graph.function(graph.own)[0])


def _allowed(base: float, answer: float) -> float:
    return COMPLETE * max(abs(base), abs(answer), LEAST)


def _complete(
    row: NetworkRow, graph: Graph, values: np.ndarray, estimator: str, calls: int, error: float
) -> Attribution:
    base, answer = _ends(graph)
    if not error <= _allowed(base, answer):
        raise Incomplete(_sum_of(estimator, row, float(values.sum()), answer - base))
    found = row.fold(values)
    return Attribution(found, estimator, row.readout.score_scale, base, answer, completeness_error=error, calls=calls)


def _sum_of(estimator: str, row: NetworkRow, total: float, wanted: float) -> str:
    return f"row {row.number}: values add up to {total:.4g}, and the answer is {wanted:.4g} beyond the base"


def _numbers(found: Any) -> np.ndarray:
    return np.asarray(found.detach().cpu().double().numpy()[0])


@contextmanager
def quiet() -> Iterator[None]:
    """Keep captum from warning of what it does to the network for a while."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def _drawing(seed: Seed) -> Iterator[None]:
    """Have captum draw from a seed.

    It draws from the global generators of numpy and torch.
    """
    before = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed.value % 2**63)
        np.random.seed(seed.value % 2**32)
        try:
            yield
        finally:
            np.random.set_state(before)


@contextmanager
def _not_in_place(network: torch.nn.Module) -> Iterator[None]:
    """Have activations write to memory of their own, as captum's hooks on them need."""
    changed = [module for module in network.modules() if getattr(module, "inplace", False) is True]
    for module in changed:
        module.inplace = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in changed:
            module.inplace = True  # type: ignore[assignment]
