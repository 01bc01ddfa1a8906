"""Precisions: what a device gets, what stays exact, and how far the others stray."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from danlu.errors import ArgumentError
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.table import TASKS, get_task
from danlu.training.composite_optimizer import ParamStorageOptimizer
from danlu.training.memory.activation_checkpointing import apply_activation_checkpointing
from danlu.training.param_storage import round_stochastically
from danlu.training.precision import Precision, choose_precision
from tests.support.small_models import adamw, batch, build, fit, groups_of, identical, loss_of, states

CPU = torch.device("cpu")
KINDS = ["mlp", "image", "text", "corpus"]


def keep(precision: Precision) -> Any:
    return {"bf16-master": "master", "bf16-stochastic": "stochastic"}[precision.name]


def test_auto_is_fp32_without_an_accelerator() -> None:
    assert choose_precision("auto", CPU) == "fp32"
    assert choose_precision("auto", torch.device("mps")) == "fp32"
    assert choose_precision("bf16-master", CPU) == "bf16-master"


@pytest.mark.parametrize(("bf16", "chosen"), [(True, "bf16"), (False, "fp16")])
def test_auto_takes_what_a_card_computes_in(bf16: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    assert choose_precision("auto", torch.device("cuda")) == chosen


@pytest.mark.parametrize(
    ("asked", "device", "capability", "words"),
    [
        ("tf32", "cpu", None, "Ampere"),
        ("tf32", "cuda", (7, 5), "Ampere"),
        ("float8", "cpu", None, "compute capability 8.9"),
        ("float8", "cuda", (8, 0), "compute capability 8.9"),
        ("bf16", "cuda", (7, 5), "say fp16"),
        ("bf16-master", "cuda", (7, 5), "say fp16"),
    ],
)
def test_what_a_device_lacks_is_refused(
    asked: str, device: str, capability: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: capability >= (8, 0))
    with pytest.raises(ArgumentError, match=words):
        choose_precision(asked, torch.device(device))


def test_rounding_of_fp32_products_is_set_for_a_run_and_restored() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with Precision("tf32", torch.device("cuda")).matmul_precision():
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
    with Precision("fp32", torch.device("cuda")).matmul_precision():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def test_fp32_is_plain_training() -> None:
    precision, plain, other = Precision("fp32", CPU), build("mlp"), build("mlp")
    assert precision.make_grad_scaler() is None
    expected = fit(plain, "mlp", adamw(groups_of(plain)))
    found = fit(precision.prepare(other), "mlp", adamw(groups_of(other)), computing=precision.autocast)
    assert found == expected
    assert identical(states(plain), states(other))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["bf16", "bf16-master", "bf16-stochastic"])
def test_training_in_bf16_follows_fp32(name: str, kind: str) -> None:
    precision, plain, low = Precision(name, CPU), build(kind), build(kind)
    expected = fit(plain, kind, adamw(groups_of(plain)), range(8))
    precision.prepare(low)
    optimizer = (
        ParamStorageOptimizer(groups_of(low), adamw, keep(precision))
        if precision.bf16_weights
        else adamw(groups_of(low))
    )
    found = fit(low, kind, optimizer, range(8), computing=precision.autocast)
    assert found == pytest.approx(expected, rel=0.1)
    assert found != expected
    assert precision.finish(low) is low
    assert {weight.dtype for weight in low.parameters()} == {torch.float32}
    with torch.no_grad():
        assert torch.isfinite(low.eval()(**batch(kind).inputs)).all()


def test_bf16_weights_leave_out_what_needs_its_digits() -> None:
    model = Precision("bf16-master", CPU).prepare(build("image"))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.dtype == torch.float32
            assert module.running_var is not None
            assert module.running_var.dtype == torch.float32
        if isinstance(module, nn.Conv2d):
            assert module.weight.dtype == torch.bfloat16
    language = Precision("bf16-master", CPU).prepare(build("corpus", tied=True))
    assert all(buffer.dtype == torch.float32 for name, buffer in language.named_buffers() if "inv_freq" in name)
    assert language.network.lm_head.weight is language.network.model.embed_tokens.weight  # type: ignore[union-attr]


@pytest.mark.parametrize("task", [name for name in TASKS if name != "preference"])
def test_losses_are_computed_in_fp32(task: str) -> None:
    torch.manual_seed(0)
    of_tokens = task in ("language-modelling", "token-classification")
    logits = torch.randn(4, 6, 5) if of_tokens else torch.randn(4, 3 if task == "quantile-regression" else 5)
    target = {
        "classification": torch.tensor([0, 1, 2, 3]),
        "ordinal": torch.tensor([0, 1, 2, 5]),
        "regression": torch.randn(4),
        "multi-output-regression": torch.randn(4, 5),
        "quantile-regression": torch.randn(4),
        "poisson-regression": torch.rand(4),
        "language-modelling": torch.randint(0, 5, (4, 6)),
        "token-classification": torch.randint(0, 5, (4, 6)),
        "multi-label": torch.randint(0, 2, (4, 5)).float(),
    }[task]
    low = logits.to(torch.bfloat16)
    loss, _ = get_task(task).head(None).loss(low, target, LossWeighting(smoothing=0.1))
    assert loss.dtype == torch.float32
    assert torch.equal(loss, get_task(task).head(None).loss(low.float(), target, LossWeighting(smoothing=0.1))[0])


def test_steps_too_small_for_bf16_add_up_in_a_master_weight() -> None:
    for way, moved in (("master", 1e-4), ("stochastic", 1e-4), (None, 0.0)):
        weight = nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
        groups = [{"params": [weight], "lr_scale": 1.0}]
        sgd = partial(torch.optim.SGD, lr=1e-4)
        optimizer: Any = sgd(groups) if way is None else ParamStorageOptimizer(groups, sgd, way)  # type: ignore[arg-type]
        for step in range(100):
            torch.manual_seed(step)
            weight.grad = torch.ones_like(weight)
            optimizer.step()
        # bf16's distance below 1 is 1/256: a hundredth is 2.56 of them.
        assert float(1 - weight.detach().float().mean()) == pytest.approx(
            100 * moved, abs=1.2 / 256 if way == "master" else 2e-4
        )


def test_stochastic_rounding_is_right_on_average_and_exact_where_it_can_be() -> None:
    torch.manual_seed(0)
    values = torch.full((100_000,), 1.0 + 0.3 / 128)
    rounded = torch.empty_like(values, dtype=torch.bfloat16)
    round_stochastically(values.clone(), rounded)
    assert set(rounded.tolist()) == {1.0, 1.0 + 1 / 128}
    assert float(rounded.float().mean()) == pytest.approx(1.0 + 0.3 / 128, abs=5e-5)
    exact = torch.tensor([0.0, -0.0, 1.5, -2.0, float("inf"), float("-inf"), 3e-39])
    out = torch.empty_like(exact, dtype=torch.bfloat16)
    round_stochastically(exact.clone(), out)
    assert out.float().tolist()[:6] == exact.tolist()[:6]
    round_stochastically(torch.tensor([float("nan")] * 3), out[:3])
    assert out[:3].isnan().all()


def test_a_seed_decides_stochastic_rounding() -> None:
    found = []
    for _ in range(2):
        precision, model = Precision("bf16-stochastic", CPU), build("mlp")
        optimizer = ParamStorageOptimizer(groups_of(precision.prepare(model)), adamw, "stochastic")
        fit(model, "mlp", optimizer, computing=precision.autocast)
        found.append(states(model))
    assert identical(*found)


def test_recomputation_in_bf16_changes_no_bit() -> None:
    precision, found = Precision("bf16", CPU), []
    for how in ("none", "full", "selective"):
        model = build("text")
        apply_activation_checkpointing(model, how)  # type: ignore[arg-type]
        found.append((fit(model, "text", adamw(groups_of(model)), computing=precision.autocast), states(model)))
    assert found[0][0] == found[1][0] == found[2][0]
    assert identical(found[0][1], found[1][1])
    assert identical(found[0][1], found[2][1])


def test_fp16_scales_its_loss_and_passes_over_steps_that_overflow() -> None:
    precision, model = Precision("fp16", CPU), build("text")
    optimizer, scaler = adamw(groups_of(model)), precision.make_grad_scaler()
    assert scaler is not None
    before, scale = states(model), scaler.get_scale()
    with precision.autocast():
        loss = loss_of(model.train(), "text", batch("text"))
    scaler.scale(loss * float("inf")).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert identical(states(model), before)
    assert scaler.get_scale() < scale
    optimizer.zero_grad()
    with precision.autocast():
        loss = loss_of(model, "text", batch("text"))
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert not identical(states(model), before)
    other = precision.make_grad_scaler()
    assert other is not None
    other.load_state_dict(scaler.state_dict())
    assert other.get_scale() == scaler.get_scale()


def test_loss_scaling_works_with_an_optimizer_on_the_host() -> None:
    found = []
    for host in (False, True):
        precision, model = Precision("fp16", CPU), build("text")
        groups = groups_of(model)
        optimizer: Any = ParamStorageOptimizer(groups, adamw, "host") if host else adamw(groups)
        scaler = precision.make_grad_scaler()
        assert scaler is not None
        for step in range(3):
            torch.manual_seed(step)
            with precision.autocast():
                loss = loss_of(model.train(), "text", batch("text", number=step))
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        found.append(states(model))
    assert identical(*found)


@pytest.mark.training
def test_float8_multiplies_large_matrices_alone() -> None:
    pytest.importorskip("torchao")
    plain, low = build("corpus", dropout=0.0), build("corpus", dropout=0.0)
    precision = Precision("float8", CPU)  # `choose_precision` refuses it here: the CPU emulates what it is asked to
    names = list(low.state_dict())
    precision.prepare(low)
    assert list(low.state_dict()) == names
    kinds = {name: type(module).__name__ for name, module in low.named_modules() if isinstance(module, nn.Linear)}
    assert kinds.pop("network.lm_head") == "Linear"
    assert set(kinds.values()) == {"Float8Linear"}
    expected = fit(plain, "corpus", adamw(groups_of(plain)))
    assert fit(low, "corpus", adamw(groups_of(low)), computing=precision.autocast) == pytest.approx(expected, rel=0.02)


def test_float8_takes_batches_of_any_size() -> None:
    pytest.importorskip("torchao")
    precision = Precision("float8", CPU)
    model = precision.prepare(nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 2)))
    with precision.autocast():
        loss = model(torch.randn(7, 32)).float().sum()
    loss.backward()
    weight = model[0].weight  # type: ignore[index]
    assert torch.isfinite(weight.grad).all()
