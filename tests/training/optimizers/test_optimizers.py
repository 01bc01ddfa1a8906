"""Each optimizer steps as torch's own does, or as its paper writes it, and goes on from its state bit for bit."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import danlu as package
from danlu.core import imports as extras
from danlu.core.component import components
from danlu.errors import MissingExtra, RecipeError
from danlu.training.optimizers import Optimizer
from danlu.training.optimizers.muon import orthogonalize
from danlu.training.optimizers.options import (
    SGD,
    Adafactor,
    Adagrad,
    Adam,
    AdamW,
    AdamW8bit,
    Lion,
    Muon,
    RMSprop,
    ScheduleFreeAdamW,
)
from danlu.training.param_groups import parameter_groups

RATES = (1e-3, 5e-3, 2e-2, 1e-2, 1e-2, 1e-3, 0.0, 3e-3)  # a schedule, with a step that stands still
SHAPES = ((6, 4), (4, 7), (3, 2, 3, 3), (5,))
DECAY = 0.1
ALL = sorted(components("optimizer"))


def parameters(dtype: torch.dtype = torch.float64, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]


def gradients(step: int, like: list[nn.Parameter]) -> list[Tensor]:
    """Noise, so that no step is like the last."""
    generator = torch.Generator().manual_seed(100 + step)
    return [torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype) for value in like]


def take(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        for weight, gradient in zip(weights, gradients(step, weights), strict=True):
            weight.grad = gradient
        for group in optimizer.param_groups:
            group["lr"] = RATES[step % len(RATES)] * group["lr_scale"]
        optimizer.step()


def group(weights: list[nn.Parameter], decay: float = DECAY) -> list[dict[str, Any]]:
    names = [f"w{index}" for index in range(len(weights))]
    return [{"params": weights, "weight_decay": decay, "lr_scale": 1.0, "names": names}]


OWN: list[tuple[Optimizer, Callable[[list[nn.Parameter]], torch.optim.Optimizer]]] = [
    (SGD(), lambda w: torch.optim.SGD(w, momentum=0.9, nesterov=True, weight_decay=DECAY, foreach=False)),
    (SGD(nesterov=False), lambda w: torch.optim.SGD(w, momentum=0.9, weight_decay=DECAY, foreach=False)),
    (SGD(momentum=0.0), lambda w: torch.optim.SGD(w, weight_decay=DECAY, foreach=False)),
    (Adam(betas=(0.8, 0.99)), lambda w: torch.optim.Adam(w, betas=(0.8, 0.99), weight_decay=DECAY, foreach=False)),
    (AdamW(eps=1e-6), lambda w: torch.optim.AdamW(w, eps=1e-6, weight_decay=DECAY, foreach=False)),
    (
        RMSprop(momentum=0.5, centered=True, alpha=0.9),
        lambda w: torch.optim.RMSprop(w, alpha=0.9, momentum=0.5, centered=True, weight_decay=DECAY, foreach=False),
    ),
    (Adagrad(), lambda w: torch.optim.Adagrad(w, weight_decay=DECAY, foreach=False)),
    (
        Adafactor(beta2_decay=-0.7, clip=1.5),
        lambda w: torch.optim.Adafactor(w, beta2_decay=-0.7, d=1.5, weight_decay=DECAY, foreach=False),
    ),
]


@pytest.mark.parametrize(("options", "make"), [pytest.param(*pair, id=repr(pair[0])) for pair in OWN])
def test_torchs_optimizers_are_torchs_own(options: Optimizer, make: Any) -> None:
    ours, theirs = parameters(), parameters()
    take(options.build(group(ours), RATES[0]), ours, range(8))
    reference = make(theirs)
    for one in reference.param_groups:
        one["lr_scale"] = 1.0
    take(reference, theirs, range(8))
    for own, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-12, atol=1e-14)


def follow(formula: Callable[[int, float, Tensor, Tensor, dict[str, Any]], Tensor]) -> list[Tensor]:
    """What a formula written for one weight at a time makes of all of them."""
    weights, memories = [value.detach().clone() for value in parameters()], [dict[str, Any]() for _ in SHAPES]
    for step in range(8):
        found = gradients(step, parameters())
        weights = [
            formula(step + 1, RATES[step], weight, gradient, memory)
            for weight, gradient, memory in zip(weights, found, memories, strict=True)
        ]
    return weights


def assert_follows(options: Optimizer, formula: Any, read: Callable[[Any], None] = lambda _: None) -> None:
    ours = parameters()
    optimizer = options.build(group(ours), RATES[0])
    take(optimizer, ours, range(8))
    read(optimizer)
    for own, wanted in zip(ours, follow(formula), strict=True):
        torch.testing.assert_close(own.detach(), wanted, rtol=1e-10, atol=1e-12)


def adafactor(step: int, lr: float, weight: Tensor, gradient: Tensor, memory: dict[str, Any]) -> Tensor:
    """Shazeer & Stern 2018, algorithm 4, with torch's two changes: rho is at most lr, epsilon 1 is a least value."""
    tiny = torch.finfo(torch.float64).eps
    beta = 1 - step**-0.8
    rho = min(lr, 1 / math.sqrt(step))
    alpha = max(1e-3, float(weight.square().mean().sqrt())) * rho
    weight = weight - lr * DECAY * weight
    squares = gradient.square()
    if gradient.ndim > 1:
        rows, columns = squares.mean(-1, keepdim=True), squares.mean(-2, keepdim=True)
        memory["r"] = beta * memory.get("r", torch.zeros_like(rows)) + (1 - beta) * rows
        memory["c"] = beta * memory.get("c", torch.zeros_like(columns)) + (1 - beta) * columns
        variance = memory["r"] * memory["c"] / memory["r"].mean(-2, keepdim=True).clamp(min=tiny)
    else:
        memory["v"] = beta * memory.get("v", torch.zeros_like(squares)) + (1 - beta) * squares
        variance = memory["v"]
    update = gradient / variance.sqrt().clamp(min=tiny)
    update = update / max(1.0, float(update.square().mean().sqrt()))
    return weight - alpha * update


def lion(step: int, lr: float, weight: Tensor, gradient: Tensor, memory: dict[str, Any]) -> Tensor:
    """Chen et al. 2023, algorithm 2."""
    moment = memory.get("m", torch.zeros_like(weight))
    update = torch.sign(0.9 * moment + 0.1 * gradient)
    memory["m"] = 0.99 * moment + 0.01 * gradient
    return weight - lr * (update + DECAY * weight)


def muon(step: int, lr: float, weight: Tensor, gradient: Tensor, memory: dict[str, Any]) -> Tensor:
    """Jordan et al. 2024 at the scale of Liu et al. 2025; AdamW for what is no matrix."""
    if weight.ndim < 2:
        return adamw(step, lr, weight, gradient, memory, betas=(0.9, 0.95))
    memory["m"] = 0.95 * memory.get("m", torch.zeros_like(weight)) + 0.05 * gradient
    update = (0.05 * gradient + 0.95 * memory["m"]).flatten(1)
    update = update / update.norm()
    if update.shape[0] > update.shape[1]:
        update = update.T
    for _ in range(5):
        gram = update @ update.T
        update = 3.4445 * update + (-4.7750 * gram + 2.0315 * gram @ gram) @ update
    if weight.flatten(1).shape[0] > weight.flatten(1).shape[1]:
        update = update.T
    scale = 0.2 * math.sqrt(max(update.shape))
    return weight - lr * (DECAY * weight + scale * update.reshape(weight.shape))


def adamw(
    step: int,
    lr: float,
    weight: Tensor,
    gradient: Tensor,
    memory: dict[str, Any],
    betas: tuple[float, float] = (0.9, 0.999),
) -> Tensor:
    """Loshchilov & Hutter 2019, algorithm 2."""
    first, second = betas
    memory["m"] = first * memory.get("m", torch.zeros_like(weight)) + (1 - first) * gradient
    memory["v"] = second * memory.get("v", torch.zeros_like(weight)) + (1 - second) * gradient.square()
    moment, square = memory["m"] / (1 - first**step), memory["v"] / (1 - second**step)
    return weight - lr * (moment / (square.sqrt() + 1e-8) + DECAY * weight)


def schedule_free(wanted: str) -> Any:
    """Defazio et al. 2024, algorithm 1, with x stored: what is judged is x, gradients are taken at y."""

    def formula(step: int, lr: float, weight: Tensor, gradient: Tensor, memory: dict[str, Any]) -> Tensor:
        z, x = memory.get("z", weight), memory.get("x", weight)
        y = 0.1 * z + 0.9 * x
        memory["v"] = 0.999 * memory.get("v", torch.zeros_like(weight)) + 0.001 * gradient.square()
        direction = gradient / ((memory["v"] / (1 - 0.999**step)).sqrt() + 1e-8)
        z = z - lr * (direction + DECAY * y)
        memory["largest"] = max(memory.get("largest", 0.0), lr)
        memory["sum"] = memory.get("sum", 0.0) + memory["largest"] ** 2
        share = memory["largest"] ** 2 / memory["sum"]
        memory["z"], memory["x"] = z, (1 - share) * x + share * z
        return memory["x"] if wanted == "x" else 0.1 * z + 0.9 * memory["x"]

    return formula


@pytest.mark.parametrize(
    ("options", "formula"),
    [
        pytest.param(AdamW(), adamw, id="adamw"),
        pytest.param(Adafactor(), adafactor, id="adafactor"),
        pytest.param(Lion(betas=(0.9, 0.99)), lion, id="lion"),
        pytest.param(Muon(), muon, id="muon"),
        pytest.param(ScheduleFreeAdamW(), schedule_free("y"), id="schedule-free, in training"),
    ],
)
def test_an_optimizer_follows_its_papers_formula(options: Optimizer, formula: Any) -> None:
    assert_follows(options, formula)


def test_a_schedule_free_optimizer_is_judged_by_its_average() -> None:
    assert_follows(ScheduleFreeAdamW(), schedule_free("x"), read=lambda optimizer: optimizer.eval())


def test_schedule_free_training_goes_on_from_the_very_weights_it_had() -> None:
    weights = parameters(torch.float32)
    optimizer: Any = ScheduleFreeAdamW().build(group(weights), RATES[0])
    optimizer.eval()  # before any step there is no average to put in
    optimizer.train()
    take(optimizer, weights, range(5))
    before = [weight.detach().clone() for weight in weights]
    optimizer.eval()
    optimizer.eval()
    assert not torch.equal(weights[0], before[0])
    with pytest.raises(RuntimeError, match="call train"):
        optimizer.step()
    optimizer.train()
    optimizer.train()
    assert all(torch.equal(weight, was) for weight, was in zip(weights, before, strict=True))


def test_muon_steps_matrices_as_torchs_own_does() -> None:
    ours, theirs = parameters(torch.float32, ((6, 4), (4, 7))), parameters(torch.float32, ((6, 4), (4, 7)))
    take(Muon().build(group(ours), RATES[0]), ours, range(4))
    reference = torch.optim.Muon(theirs, weight_decay=DECAY, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    reference.param_groups[0]["lr_scale"] = 1.0
    take(reference, theirs, range(4))
    begun = parameters(torch.float32, ((6, 4), (4, 7)))
    for own, wanted, first in zip(ours, theirs, begun, strict=True):
        moved = (wanted - first).detach().norm()
        assert float((own - wanted).detach().norm() / moved) < 0.03  # torch's goes through bf16, which keeps 8 bits


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_matrix_becomes_about_orthogonal(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(1, rows, columns, generator=generator, dtype=torch.float64)
    before = torch.linalg.svdvals(matrix[0])
    after = torch.linalg.svdvals(orthogonalize(matrix, 10)[0])
    clear = int((before > 0.05 * before[0]).sum())  # the iterations lift very small ones more slowly
    assert after.shape == before.shape
    assert float(after[:clear].min()) > 0.6
    assert float(after.max()) < 1.25


def test_muon_steps_hidden_matrices_alone() -> None:
    model = nn.ModuleDict(
        {"embed": nn.Embedding(9, 4), "hidden": nn.Conv2d(4, 6, 3), "norm": nn.LayerNorm(6), "head": nn.Linear(6, 2)}
    )
    optimizer = Muon().build(parameter_groups(model, 0.1), RATES[0])
    by_kind: dict[bool, set[str]] = {True: set(), False: set()}
    for one in optimizer.param_groups:
        by_kind["momentum" in one] |= set(one["names"])
        assert len(one["names"]) == len(one["params"])
        assert "roles" not in one
    assert by_kind[True] == {"hidden.weight"}
    assert by_kind[False] == {
        "embed.weight", "hidden.bias", "norm.weight", "norm.bias", "head.weight", "head.bias",
    }  # fmt: skip


def test_eight_bit_moments_are_near_those_of_32() -> None:
    shapes = ((64, 96), (5,))  # the first is quantized, the second too small for it
    ours, theirs, begun = (parameters(torch.float32, shapes) for _ in range(3))
    optimizer = AdamW8bit().build(group(ours), RATES[0])
    take(optimizer, ours, range(6))
    take(AdamW().build(group(theirs), RATES[0]), theirs, range(6))
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-5, atol=1e-6)
    moved = (theirs[0] - begun[0]).detach().norm()
    assert 0 < float((ours[0] - theirs[0]).detach().norm() / moved) < 0.05
    moment = optimizer.state_dict()["state"][0]["exp_avg"]
    assert moment["codes"].dtype == torch.uint8
    assert moment["scale"].numel() == 64 * 96 / 256


def test_eight_bit_moments_need_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "low-bit", ("a_package_that_is_nowhere",))
    with pytest.raises(MissingExtra, match=r"adamw-8bit needs .*pip install 'danlu\[low-bit\]'"):
        AdamW8bit().build(group(parameters(torch.float32)), RATES[0])


def through_a_file(value: Any, tensors: list[Tensor]) -> Any:
    """A state as a checkpoint writes and reads it: tensors apart, all else as JSON, whose keys are texts."""
    if isinstance(value, Tensor):
        assert type(value) is Tensor
        tensors.append(value.detach().clone())
        return {"tensor": len(tensors) - 1}
    if isinstance(value, dict):
        return {"dict": [[key, through_a_file(part, tensors)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [through_a_file(part, tensors) for part in value]}
    assert value is None or isinstance(value, bool | int | float | str), value
    return {"value": value}


def back(written: Any, tensors: list[Tensor]) -> Any:
    ((kind, value),) = written.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {key: back(part, tensors) for key, part in value}
    return [back(part, tensors) for part in value] if kind == "list" else value


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_a_state_read_back_goes_on_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    shapes = ((64, 64), *SHAPES)
    weights = parameters(dtype, shapes)
    optimizer = components("optimizer")[name]().build(group(weights), RATES[0])  # type: ignore[attr-defined]
    take(optimizer, weights, range(3))
    tensors: list[Tensor] = []
    state = back(json.loads(json.dumps(through_a_file(optimizer.state_dict(), tensors))), tensors)
    others = [nn.Parameter(weight.detach().clone()) for weight in weights]
    resumed = components("optimizer")[name]().build(group(others, decay=0.0), RATES[0])  # type: ignore[attr-defined]
    resumed.load_state_dict(state)
    assert [one["weight_decay"] for one in resumed.param_groups] == [DECAY] * len(resumed.param_groups)
    take(optimizer, weights, range(3, 7))
    take(resumed, others, range(3, 7))
    assert all(torch.equal(weight, other) for weight, other in zip(weights, others, strict=True))
    assert all(bool(weight.isfinite().all()) for weight in weights)


@pytest.mark.parametrize("name", ALL)
def test_every_group_has_its_own_rate_and_decay(name: str) -> None:
    """Without gradients' direction, what is left is decay; a scale of 0 leaves weights alone."""
    fast, still = parameters(torch.float32), parameters(torch.float32)
    groups = [
        {"params": fast, "weight_decay": 0.5, "lr_scale": 1.0, "names": ["a", "b", "c", "d"]},
        {"params": still, "weight_decay": 0.5, "lr_scale": 0.0, "names": ["e", "f", "g", "h"]},
    ]
    optimizer = components("optimizer")[name]().build(groups, 0.01)  # type: ignore[attr-defined]
    assert {one["lr"] for one in optimizer.param_groups} == {0.01, 0.0}
    assert {name for one in optimizer.param_groups for name in one["names"]} == set("abcdefgh")
    take(optimizer, [*fast, *still], range(2))
    assert all(not torch.equal(weight, was) for weight, was in zip(fast, parameters(torch.float32), strict=True))
    assert all(torch.equal(weight, was) for weight, was in zip(still, parameters(torch.float32), strict=True))
    optimizer.zero_grad()
    assert all(weight.grad is None for weight in [*fast, *still])


@pytest.mark.parametrize("name", ALL)
def test_a_weight_without_a_gradient_stays(name: str) -> None:
    weights = parameters(torch.float32)
    optimizer = components("optimizer")[name]().build(group(weights), 0.01)  # type: ignore[attr-defined]
    for weight, gradient in zip(weights[1:], gradients(0, weights[1:]), strict=True):
        weight.grad = gradient
    optimizer.step()
    assert torch.equal(weights[0], parameters(torch.float32)[0])
    assert not torch.equal(weights[1], parameters(torch.float32)[1])


@pytest.fixture(scope="module")
def wine() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_wine

    features, classes = load_wine(return_X_y=True)
    features = torch.tensor(features, dtype=torch.float32)
    return (features - features.mean(0)) / features.std(0), torch.tensor(classes)


@pytest.mark.parametrize("name", ALL)
def test_each_learns_the_wines_at_its_usual_rate(name: str, wine: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(13, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 3)
    )
    options: Any = components("optimizer")[name]()
    optimizer: Any = options.build(parameter_groups(model, options.weight_decay), options.default_lr)
    features, classes = wine
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(features), classes)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["muon", "schedule-free-adamw", "adamw-8bit"])
def test_a_recipe_trains_with_it(name: str, table_recipe: dict[str, Any], tmp_path: Any) -> None:
    training = {"epochs": 4, "batch_size": 32, "optimizer": name}
    run = package.train({**table_recipe, "training": training}, output=tmp_path)
    losses = [line["validation/loss"] for line in run.metrics() if "validation/loss" in line]
    assert losses[-1] < losses[0]
    schedule = package.load_recipe(run.path / "recipe.yaml").training.schedule
    assert schedule.name == ("constant" if name == "schedule-free-adamw" else "cosine")


def test_a_schedule_that_is_said_stays(table_recipe: dict[str, Any], tmp_path: Any) -> None:
    training = {"epochs": 1, "optimizer": "schedule-free-adamw", "schedule": "cosine"}
    run = package.train({**table_recipe, "training": training}, output=tmp_path)
    assert package.load_recipe(run.path / "recipe.yaml").training.schedule.name == "cosine"


def test_two_averages_of_the_weights_are_refused(table_recipe: dict[str, Any], tmp_path: Any) -> None:
    training = {"optimizer": "schedule-free-adamw", "average": "ema"}
    with pytest.raises(RecipeError, match=r"training\.average: schedule-free-adamw already averages the weights"):
        package.train({**table_recipe, "training": training}, output=tmp_path)
