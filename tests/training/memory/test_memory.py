"""Training in less memory gives what plain training gives, and takes less of it."""

import copy
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from danlu.errors import RecipeError
from danlu.experiment.checks import check_task_options
from danlu.models.text.chunked_loss import DeferredLogits, choose_chunk_size, deferred_cross_entropy
from danlu.models.text.hf_wrapper import enable_chunked_loss
from danlu.recipe.load import check_recipe
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.table import get_task
from danlu.tasks.token_losses import token_loss, token_predict
from danlu.training.composite_optimizer import OptimizerInBackward, ParamStorageOptimizer
from danlu.training.memory.activation_checkpointing import apply_activation_checkpointing
from danlu.training.memory.microbatch import is_out_of_memory, min_microbatch_rows, split_batch
from danlu.training.memory.offload import ActivationOffload
from tests.support.small_models import (
    adamw,
    batch,
    build,
    fit,
    groups_of,
    identical,
    loss_of,
    peak_of,
    states,
)

KINDS = ["mlp", "image", "text", "corpus"]
HOWS: list[Any] = ["full", 2, "selective"]
HOWS_AND_NONE: list[Any] = ["none", *HOWS]


# Recomputation


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", KINDS)
def test_recomputation_changes_no_bit(kind: str, how: Any) -> None:
    plain, less = build(kind), build(kind)
    names = list(less.state_dict())
    assert apply_activation_checkpointing(less, how) > 0
    assert list(less.state_dict()) == names
    expected = fit(plain, kind, adamw(groups_of(plain)))
    assert fit(less, kind, adamw(groups_of(less))) == expected
    assert identical(states(less), states(plain))  # statistics of batch normalisation among them


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "text", "corpus"])
def test_recomputation_takes_less_memory(kind: str) -> None:
    sample, peaks = batch(kind, rows=64), {}
    for how in HOWS_AND_NONE:
        model = build(kind).train()
        apply_activation_checkpointing(model, how)
        loss_of(model, kind, sample).backward()  # gradients are there before
        peaks[how] = peak_of(lambda model=model: loss_of(model, kind, sample).backward())  # type: ignore[misc]
    assert peaks["full"] < 0.62 * peaks["none"]
    assert peaks["full"] < min(peaks[2], peaks["selective"])
    assert max(peaks[2], peaks["selective"]) < 0.82 * peaks["none"]


def test_the_blocks_of_a_model_are_its_repeated_ones() -> None:
    assert apply_activation_checkpointing(build("corpus"), "full") == 3
    assert apply_activation_checkpointing(build("text"), 2) == 2
    assert (
        apply_activation_checkpointing(build("image"), "full")
        == len([n for n, _ in build("image").named_modules() if n.endswith("bn1")]) - 1
    )
    assert apply_activation_checkpointing(build("mlp"), "full") == 4
    assert apply_activation_checkpointing(nn.Linear(2, 2), "full") == 0


def test_selective_recomputation_multiplies_no_matrices_again() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    flops = {}
    for how in ("none", "selective", "full"):
        model = build("corpus")
        apply_activation_checkpointing(model, how)  # type: ignore[arg-type]
        with FlopCounterMode(display=False) as counter:
            loss_of(model.train(), "corpus", batch("corpus")).backward()
        flops[how] = counter.get_total_flops()
    assert flops["none"] == flops["selective"] < flops["full"]


def test_a_copy_of_a_recomputing_model_is_its_own() -> None:
    model = build("corpus")
    apply_activation_checkpointing(model, "full")
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert float(loss_of(other.train(), "corpus", batch("corpus")).detach()) == pytest.approx(
        float(loss_of(build("corpus").train(), "corpus", batch("corpus")).detach()), rel=0.1
    )


# Activations on the host


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["none", "full"])
def test_offloaded_activations_change_no_bit(kind: str, how: Any) -> None:
    plain, less = build(kind), build(kind)
    apply_activation_checkpointing(less, how)
    expected = fit(plain, kind, adamw(groups_of(plain)))
    offload = ActivationOffload(less, min_bytes=0)
    assert fit(less, kind, adamw(groups_of(less)), computing=offload.offloading) == expected
    assert identical(states(less), states(plain))


def test_activations_are_copied_and_weights_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("corpus")
    offload = ActivationOffload(model, min_bytes=0)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    moved, kept = [], []
    original = offload._to_host

    def watched(values: Tensor) -> Any:
        packed = original(values)
        (kept if packed is values else moved).append(values.untyped_storage().data_ptr())
        return packed

    monkeypatch.setattr(offload, "_to_host", watched)
    with offload.offloading():
        loss_of(model.train(), "corpus", batch("corpus"))
    assert moved
    assert kept
    assert not weights & set(moved)
    assert set(kept) <= offload.resident_storages


# Optimizers that step copies


def as_bf16(model: nn.Module) -> nn.Module:
    for weight in model.parameters():
        weight.data = weight.data.to(torch.bfloat16)
    return model


def toy(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)).to(dtype)


def toy_steps(model: nn.Module, optimizer: Any, steps: range, dtype: torch.dtype = torch.float32) -> None:
    for step in steps:
        torch.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (1 + step) * group["lr_scale"]
        values = torch.randn(5, 8, dtype=dtype)
        (model(values).float() ** 2).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


MAKERS: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "adamw": adamw,
    "sgd": lambda groups: torch.optim.SGD(groups, lr=1e-2, momentum=0.9, nesterov=True),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, lr=1e-2),
    "adafactor": lambda groups: torch.optim.Adafactor(groups, lr=1e-2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_on_the_host_is_the_plain_one(kind: str) -> None:
    plain, less = build(kind), build(kind)
    expected = fit(plain, kind, adamw(groups_of(plain)))
    optimizer = ParamStorageOptimizer(groups_of(less), adamw, kind="host")
    assert fit(less, kind, optimizer) == expected
    assert identical(states(less), states(plain))
    own = {weight.data_ptr() for weight in less.parameters()}
    assert not any(
        slot.optim_param.data_ptr() in own for unit in optimizer.sub_optimizers for slot in unit.storages.values()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_in_the_backward_pass_is_the_plain_one(kind: str) -> None:
    plain, less = build(kind, tied=True), build(kind, tied=True)
    expected = fit(plain, kind, adamw(groups_of(plain)))
    optimizer = OptimizerInBackward(groups_of(less), adamw)
    assert fit(less, kind, optimizer) == expected
    assert identical(states(less), states(plain))


@pytest.mark.parametrize("name", MAKERS)
def test_state_dicts_are_torchs_own_whichever_way_weights_are_stepped(name: str) -> None:
    plain, hooked = toy(), toy()
    theirs, ours = MAKERS[name](groups_of(plain)), OptimizerInBackward(groups_of(hooked), MAKERS[name])
    toy_steps(plain, theirs, range(3))
    toy_steps(hooked, ours, range(3))
    wanted, found = theirs.state_dict(), ours.state_dict()
    assert found["param_groups"] == wanted["param_groups"]
    assert found["state"].keys() == wanted["state"].keys()
    for number, values in wanted["state"].items():
        assert found["state"][number].keys() == values.keys()
        assert all(
            torch.equal(torch.as_tensor(values[key]), torch.as_tensor(found["state"][number][key])) for key in values
        )


def test_gradients_are_freed_within_the_backward_pass() -> None:
    model = toy()
    alive: list[int] = []
    first = model[0].weight  # the last to get its gradient

    def count(weight: nn.Parameter) -> None:
        if weight is first:
            alive.append(sum(other.grad is not None for other in model.parameters()))

    OptimizerInBackward(groups_of(model), adamw, before_step=count)
    (model(torch.randn(5, 8)) ** 2).sum().backward()
    assert alive == [1]
    assert all(weight.grad is None for weight in model.parameters())


def test_gradients_are_never_in_memory_together() -> None:
    layers = nn.Sequential(*(nn.Linear(64, 64) for _ in range(10)))
    matrix, values = 64 * 64 * 4, torch.randn(4, 64)
    assert peak_of(lambda: layers(values).sum().backward()) > 10 * matrix
    layers.zero_grad()
    OptimizerInBackward(
        [{"params": list(layers.parameters()), "lr_scale": 1.0}], lambda some: torch.optim.SGD(some, lr=0.1)
    )
    assert peak_of(lambda: layers(values).sum().backward()) < 3 * matrix


def test_an_optimizer_removed_from_the_backward_pass_steps_no_more() -> None:
    model = toy()
    optimizer = OptimizerInBackward(groups_of(model), adamw)
    before = states(model)
    optimizer.remove()
    (model(torch.randn(5, 8)) ** 2).sum().backward()
    assert identical(states(model), before)
    assert all(weight.grad is not None for weight in model.parameters())


def test_gradients_and_weights_can_be_changed_around_a_step_in_the_backward_pass() -> None:
    plain, less = toy(), toy()

    def add_l2(weight: nn.Parameter) -> None:
        assert weight.grad is not None
        weight.grad.add_(weight.detach(), alpha=0.5)

    def limit(weight: nn.Parameter, stepped: Tensor) -> None:
        if weight.ndim > 1:
            stepped.copy_(torch.renorm(stepped, 2, 0, 0.5))

    theirs = adamw(groups_of(plain))
    OptimizerInBackward(groups_of(less), adamw, before_step=add_l2, after_step=limit)
    for step in range(3):
        torch.manual_seed(step)
        values = torch.randn(5, 8)
        for model in (plain, less):
            (model(values) ** 2).sum().backward()
        with torch.no_grad():
            for weight in plain.parameters():
                add_l2(weight)  # type: ignore[arg-type]
            theirs.step()
            for weight in plain.parameters():
                limit(weight, weight.detach())  # type: ignore[arg-type]
        theirs.zero_grad()
        assert identical(states(plain), states(less))


WAYS: dict[str, Callable[[nn.Module], Any]] = {
    "plain": lambda model: adamw(groups_of(model)),
    "in-backward": lambda model: OptimizerInBackward(groups_of(model), adamw),
    "host": lambda model: ParamStorageOptimizer(groups_of(model), adamw, kind="host"),
    "master": lambda model: ParamStorageOptimizer(groups_of(model), adamw, kind="master"),
    "stochastic": lambda model: ParamStorageOptimizer(groups_of(model), adamw, kind="stochastic", bucket_numel=100),
    "stochastic-in-backward": lambda model: OptimizerInBackward(groups_of(model), adamw, kind="stochastic"),
    "master-in-backward": lambda model: OptimizerInBackward(groups_of(model), adamw, kind="master"),
}


@pytest.mark.parametrize("way", WAYS)
def test_training_goes_on_bit_exactly_from_a_state_dict(way: str) -> None:
    dtype = torch.bfloat16
    whole, first, second = toy(dtype), toy(dtype), toy(dtype)
    toy_steps(whole, WAYS[way](whole), range(6), dtype)
    optimizer = WAYS[way](first)
    toy_steps(first, optimizer, range(3), dtype)
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    kept = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    second.load_state_dict(kept["model"])
    resumed = WAYS[way](second)
    resumed.load_state_dict(kept["optimizer"])
    toy_steps(second, resumed, range(3, 6), dtype)
    assert identical(states(second), states(whole))


def test_a_state_dict_of_other_groups_is_refused() -> None:
    optimizer = OptimizerInBackward(groups_of(toy()), adamw)
    with pytest.raises(ValueError, match="other groups"):
        OptimizerInBackward(groups_of(nn.Linear(2, 2)), adamw).load_state_dict(optimizer.state_dict())


def test_what_the_loop_writes_into_the_groups_reaches_every_weight() -> None:
    for way in WAYS.values():
        model = toy(torch.bfloat16)
        before = states(model)
        optimizer = way(model)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        (model(torch.randn(5, 8, dtype=torch.bfloat16)) ** 2).sum().backward()
        optimizer.step()
        assert identical(states(model), before)


def test_temporary_copies_take_no_memory_between_steps() -> None:
    model = toy(torch.bfloat16)
    optimizer = WAYS["stochastic"](model)
    toy_steps(model, optimizer, range(1), torch.bfloat16)
    assert len(optimizer.sub_optimizers) > 1  # a few weights at a time
    for unit in optimizer.sub_optimizers:
        for slot in unit.storages.values():
            assert slot.optim_param.grad is None
            assert slot.optim_param.untyped_storage().nbytes() == 4


# Cross-entropy in chunks


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize("biased", [True, False])
def test_chunked_loss_is_cross_entropy(chunk: int, smoothing: float, biased: bool) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(3, 11, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    bias = torch.randn(50, requires_grad=True) if biased else None
    target = torch.randint(0, 50, (3, 11))
    target[0, 3:6] = -100
    given = [hidden, weight, *([bias] if bias is not None else [])]
    logits = functional.linear(hidden, weight, bias).double().flatten(0, 1)
    wanted = functional.cross_entropy(
        logits, target.flatten(), reduction="sum", ignore_index=-100, label_smoothing=smoothing
    )
    found = deferred_cross_entropy(DeferredLogits(hidden, weight, bias, chunk), target, -100, smoothing)
    assert float(found.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
    for ours, theirs in zip(
        torch.autograd.grad(found * 0.1, given), torch.autograd.grad(wanted * 0.1, given), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        again = deferred_cross_entropy(DeferredLogits(hidden, weight, bias, chunk), target, -100, smoothing)
    assert float(again) == pytest.approx(float(wanted.detach()), rel=1e-6)


def test_chunked_loss_is_right_where_a_token_is_all_but_impossible() -> None:
    hidden = torch.tensor([[[200.0, 0.0]]], requires_grad=True)
    loss = deferred_cross_entropy(DeferredLogits(hidden, torch.eye(2), None, 4), torch.tensor([[1]]), -100, 0.0)
    assert float(loss.detach()) == 200.0
    loss.backward()
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[[1.0, -1.0]]]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("low", [True, False])
def test_a_language_model_learns_the_same_with_its_loss_in_chunks(tied: bool, low: bool) -> None:
    computing = partial(torch.autocast, "cpu", dtype=torch.bfloat16, enabled=low)
    plain, less = build("corpus", tied=tied), build("corpus", tied=tied)
    assert enable_chunked_loss(less, 13, tokens=128) == 13
    for model in (plain, less):
        torch.manual_seed(0)
        with computing():
            loss = loss_of(model.train(), "corpus", batch("corpus"), LossWeighting(smoothing=0.1))
        loss.backward()
    for (name, one), (_, other) in zip(plain.named_parameters(), less.named_parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        distance = float((one.grad - other.grad).norm() / one.grad.norm())
        assert distance < (0.02 if low else 1e-5), name


def test_logits_are_never_whole() -> None:
    tokens, vocabulary = 512, 1000
    whole = tokens * vocabulary * 4
    hidden, weight = torch.randn(8, tokens // 8, 4, requires_grad=True), torch.randn(vocabulary, 4, requires_grad=True)
    late = DeferredLogits(hidden, weight, None, 16)
    target = torch.randint(0, vocabulary, (8, tokens // 8))
    assert peak_of(lambda: token_loss(hidden @ weight.t(), target, LossWeighting())[0].backward()) > 2 * whole
    assert peak_of(lambda: token_loss(late, target, LossWeighting())[0].backward()) < 0.15 * whole
    with torch.no_grad():
        assert peak_of(lambda: token_loss(late, target, LossWeighting())) < 0.15 * whole
        assert peak_of(lambda: token_predict(late, target)) < 0.15 * whole


def test_answers_of_a_language_model_are_the_same_in_chunks() -> None:
    model, sample = build("corpus").eval(), batch("corpus")
    with torch.no_grad():
        whole = token_predict(model(**sample.inputs), sample.target)
        assert enable_chunked_loss(model, 5, tokens=128) == 5
        torch.testing.assert_close(token_predict(model(**sample.inputs), sample.target), whole)


def test_chunks_are_for_large_vocabularies_and_plain_last_layers() -> None:
    from danlu.data.specs import CorpusInputs
    from danlu.models.text.options import Transformer

    assert choose_chunk_size("auto", tokens=1024, vocabulary=4096) is None
    chunk = choose_chunk_size("auto", tokens=16384, vocabulary=128_000)
    assert chunk is not None
    assert 128 <= chunk < 16384
    assert choose_chunk_size("none", tokens=1 << 20, vocabulary=1 << 17) is None
    assert enable_chunked_loss(build("text"), 8, tokens=128) is None
    assert enable_chunked_loss(build("mlp"), 8, tokens=128) is None
    capped = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    capped |= {"num_key_value_heads": 1, "head_dim": 16, "final_logit_softcapping": 0.01}
    inputs = CorpusInputs(vocabulary=100, longest=16, end=0, packed=False)
    gemma = Transformer(name="hf:gemma2", config=capped).build(inputs, 100)
    assert enable_chunked_loss(gemma, 8, tokens=128) is None
    assert gemma(torch.ones(1, 4, dtype=torch.long)).shape == (1, 4, 100)


# Parts of a batch


@pytest.mark.parametrize("kind", ["text", "corpus"])
def test_the_parts_of_a_batch_give_its_gradient(kind: str) -> None:
    whole, parted = build(kind, dropout=0.0), build(kind, dropout=0.0)
    sample = batch(kind, rows=7)
    head = get_task("language-modelling" if kind == "corpus" else "classification").head(None)
    total, count = head.loss(whole(**sample.inputs), sample.target, LossWeighting())
    (total / count).backward()
    assert head.num_targets(sample.target) == count
    parts = split_batch(sample, 3)
    assert [len(part.rows) for part in parts] == [2, 2, 3]
    assert [row for part in parts for row in part.rows] == list(range(7))
    for part in parts:
        loss, _ = head.loss(parted(**part.inputs), part.target, LossWeighting())
        (loss / count).backward()
    for one, other in zip(whole.parameters(), parted.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_parts_of_a_batch_take_less_memory() -> None:
    model, sample = build("corpus").train(), batch("corpus", rows=64)
    loss_of(model, "corpus", sample).backward()
    whole = peak_of(lambda: loss_of(model, "corpus", sample).backward())
    parts = peak_of(lambda: [loss_of(model, "corpus", part).backward() for part in split_batch(sample, 4)])
    assert parts < 0.3 * whole


def test_no_part_is_smaller_than_a_network_can_take() -> None:
    assert min_microbatch_rows(build("mlp")) == 2
    assert min_microbatch_rows(build("text")) == 1
    assert [len(part.rows) for part in split_batch(batch("mlp", rows=5), 5, min_rows=2)] == [2, 3]
    assert [len(part.rows) for part in split_batch(batch("mlp", rows=3), 8)] == [1, 1, 1]


def test_running_out_of_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(1 << 60)
    assert is_out_of_memory(found.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert is_out_of_memory(MemoryError())
    wrapped = RuntimeError("backend failed")
    wrapped.__cause__ = found.value
    assert is_out_of_memory(wrapped)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


# Contradictions

IN_BACKWARD = {"optimizer_in_backward": True}


@pytest.mark.parametrize(
    ("training", "key", "words"),
    [
        ({"memory": IN_BACKWARD}, "training.memory.optimizer_in_backward", "clip_norm: null"),
        (
            {"memory": IN_BACKWARD, "clip_norm": None, "accumulate": 2},
            "training.memory.optimizer_in_backward",
            "accumulate: 1",
        ),
        (
            {"memory": IN_BACKWARD, "clip_norm": None, "precision": "fp16"},
            "training.memory.optimizer_in_backward",
            "bf16",
        ),
        (
            {"memory": IN_BACKWARD, "clip_norm": None, "batch_size": "auto"},
            "training.memory.optimizer_in_backward",
            "batch_size",
        ),
        (
            {"memory": {**IN_BACKWARD, "offload_optimizer": True}, "clip_norm": None},
            "training.memory.optimizer_in_backward",
            "one of",
        ),
        (
            {"memory": {"offload_activations": True}, "device": "cpu"},
            "training.memory.offload_activations",
            "device: cpu",
        ),
        ({"memory": {"offload_optimizer": True}, "device": "cpu"}, "training.memory.offload_optimizer", "device: cpu"),
        (
            {"memory": {"offload_optimizer": True}, "precision": "bf16-stochastic"},
            "training.memory.offload_optimizer",
            "bf16-master",
        ),
        ({"precision": "float8", "device": "cpu"}, "training.precision", "device: cpu"),
        ({"precision": "tf32", "device": "mps"}, "training.precision", "device: mps"),
        ({"batch_size": 4, "accumulate": 8}, "training.accumulate", "8 parts"),
    ],
)
def test_keys_that_contradict_one_another_are_refused(training: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(RecipeError) as found:
        check_recipe({"data": {"source": "a.csv", "task": "classification"}, "training": training})
    assert any(problem.key == key and words in problem.message for problem in found.value.problems)


def test_chunks_of_a_loss_are_refused_where_there_are_no_tokens() -> None:
    recipe = check_recipe({"data": {"source": "a.csv"}, "training": {"memory": {"loss_chunk": 128}}})
    check_task_options(recipe, get_task("language-modelling"))
    with pytest.raises(RecipeError, match=r"loss_chunk: applies only to language models.*classification"):
        check_task_options(recipe, get_task("classification"))


def test_memory_options_that_agree_are_accepted() -> None:
    memory = {"checkpointing": 2, "optimizer_in_backward": True, "offload_activations": True, "loss_chunk": 64}
    recipe = {
        "data": {"source": "a.txt", "task": "language-modelling"},
        "training": {"memory": memory, "clip_norm": None},
    }
    assert check_recipe(recipe).training.memory.checkpointing == 2
