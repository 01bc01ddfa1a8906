"""Compiled models: the same results, compiled once, and left aside where a compiler fails."""

from typing import Any

import pytest
import torch
from torch import nn

from danlu.core.torch_compat import compiled_graphs
from danlu.training.compiling import CompiledModel, maybe_compile
from danlu.training.composite_optimizer import OptimizerInBackward
from danlu.training.memory.activation_checkpointing import apply_activation_checkpointing
from tests.support.small_models import adamw, batch, build, fit, groups_of, identical, loss_of, states

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> None:
    torch._dynamo.reset()


def compile_with(model: nn.Module, backend: Any) -> CompiledModel:
    """A compiled model whose graphs go to another backend than inductor."""
    made = CompiledModel(model)
    made._function = torch.compile(model, backend=backend)
    return made


@pytest.mark.training
def test_auto_compiles_on_cuda_alone() -> None:
    model = nn.Linear(2, 2)
    assert maybe_compile(model, "auto", CPU) is model
    assert maybe_compile(model, False, torch.device("cuda")) is model
    assert isinstance(maybe_compile(model, "auto", torch.device("cuda")), CompiledModel)
    assert isinstance(maybe_compile(model, True, CPU), CompiledModel)


@pytest.mark.training
@pytest.mark.parametrize("kind", ["mlp", pytest.param("corpus", marks=pytest.mark.slow)])
def test_nothing_is_compiled_after_the_first_epoch(kind: str) -> None:
    model = build(kind)
    call = compile_with(model, "aot_eager")
    counts = []
    for _ in range(3):
        model.train()
        for rows in (8, 8, 5):  # a short last batch
            loss_of(call, kind, batch(kind, rows=rows)).backward()
        model.eval()
        with torch.inference_mode():
            for rows in (8, 3):
                loss_of(call, kind, batch(kind, rows=rows))
        counts.append(compiled_graphs())
    assert call.works
    assert counts[0] > 0
    assert counts == [counts[0]] * 3


@pytest.mark.training
def test_the_trial_leaves_a_model_as_it_was() -> None:
    model, stepped = build("mlp").train(), []
    before, random = states(model), torch.get_rng_state()
    OptimizerInBackward(groups_of(model), adamw, before_step=stepped.append)
    call = compile_with(model, "aot_eager")
    assert call._try(batch("mlp").inputs)
    assert identical(states(model), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert not stepped
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.training
def test_a_model_that_cannot_be_compiled_trains_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler here")

    plain, other = build("text"), build("text")
    expected = fit(plain, "text", adamw(groups_of(plain)))
    call = compile_with(other, broken)
    assert fit(other, "text", adamw(groups_of(other)), call=call) == expected
    assert identical(states(other), states(plain))
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("training.compile: the model could not be compiled; training continues without (")
    assert "no compiler here" in lines[0]


def test_running_out_of_memory_is_not_taken_for_a_compiler_that_fails() -> None:
    def exhausted(graph: Any, inputs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = build("mlp")
    call = compile_with(model, exhausted)
    with pytest.raises(Exception, match="out of memory"):
        call(**batch("mlp").inputs)
    assert call.works


@pytest.mark.slow
def test_inductor_trains_as_torch_does() -> None:
    plain, other = build("mlp", dropout=0.0), build("mlp", dropout=0.0)
    expected = fit(plain, "mlp", adamw(groups_of(plain)))
    call = maybe_compile(other, True, CPU)
    assert fit(other, "mlp", adamw(groups_of(other)), call=call) == pytest.approx(expected, rel=1e-4)
    assert isinstance(call, CompiledModel)
    assert call.works


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("how", ["full", "selective"])
def test_a_compiled_model_that_recomputes_is_the_same(how: Any) -> None:
    plain, other = build("mlp", dropout=0.0), build("mlp", dropout=0.0)
    expected = fit(plain, "mlp", adamw(groups_of(plain)), range(2))
    apply_activation_checkpointing(other, how)
    call = compile_with(other, "aot_eager")
    assert fit(other, "mlp", adamw(groups_of(other)), range(2), call=call) == pytest.approx(expected, rel=1e-6)
    assert call.works
    for name, value in plain.named_buffers():  # statistics are counted once
        torch.testing.assert_close(dict(other.named_buffers())[name], value)
