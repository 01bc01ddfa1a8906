"""Tokens of each sequence split among processes train as whole sequences do."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from danlu.errors import ArgumentError
from danlu.models.text.hf_wrapper import HFModelWrapper
from danlu.tasks.table import get_task
from danlu.training.distributed.context_parallel import apply_cp, check_cp_supported, context_head, shard_sequence
from danlu.training.distributed.tensor_parallel import apply_tp
from tests.support.parallel_models import TOLERANCE, classifier, corpus_batches, deviation, language_model, train
from tests.support.processes import together

STEPS = 6
KEYS = {"num_key_value_heads": 2}
GPT2 = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def work(parts: list[dict[str, Any]]) -> list[Any]:
    """Several pieces of work in one launch."""
    return [globals()[part.pop("does")](**part) for part in parts]


def trained(
    name: str,
    optimizer: str,
    packed: bool,
    length: int = 32,
    tensor: int = 1,
    chunk: int | None = None,
    **config: Any,
) -> dict[str, float]:
    """How far training by all processes is off from training by one."""
    model = language_model(name, **config)
    assert isinstance(model, HFModelWrapper)
    model.loss_chunk = chunk
    head, batches = "language-modelling", corpus_batches(STEPS, packed, length=length)
    smoothing = 0.1 if optimizer == "sgd" else 0.0
    wanted = train(copy.deepcopy(model), batches, optimizer, head, smoothing)
    ways = distributed.get_world_size() // tensor
    mesh = init_device_mesh("cpu", (ways, tensor), mesh_dim_names=("context", "tensor"))
    apply_cp(model, mesh["context"])
    if tensor > 1:
        apply_tp(model, mesh["tensor"], sequence=True)
    group = mesh.get_group("context")

    def total(value: Tensor) -> Tensor:
        value = value.clone()
        distributed.all_reduce(value, group=group)
        return value

    def gradients(model: nn.Module) -> None:
        for weight in model.parameters():
            gradient = weight.grad.to_local() if isinstance(weight.grad, DTensor) else weight.grad
            distributed.all_reduce(gradient, group=group)

    def part(batch: Any) -> Any:
        return shard_sequence(batch, mesh["context"])

    return deviation(train(model, batches, optimizer, head, smoothing, part, total, gradients), wanted)


def all_processes() -> DeviceMesh:
    return init_device_mesh("cpu", (distributed.get_world_size(),), mesh_dim_names=("context",))


def answered(packed: bool) -> float:
    """How far the answers in evaluation are off."""
    model = language_model("llama", **KEYS).eval()
    (batch,) = corpus_batches(1, packed, length=30)
    mesh = all_processes()
    head = get_task("language-modelling").head(None)
    with torch.no_grad():
        wanted = head.predict(model(**batch.inputs), batch.target)
        apply_cp(model, mesh)
        part = shard_sequence(batch, mesh)
        found = context_head(head, mesh).predict(model(**part.inputs), part.target)
    return float(((found - wanted).abs() / wanted.abs().clamp(min=1)).max())


def refused() -> str:
    """What is said of a model that sees the token before in other ways than by attention."""
    model = language_model("llama", **KEYS)
    embedding = model.get_submodule("network.model.embed_tokens")
    embedding.register_forward_hook(lambda _, args, found: found + found.roll(1, dims=1))
    with pytest.raises(ArgumentError) as caught:
        apply_cp(model, all_processes())
    return str(caught.value)


TRAINED: list[dict[str, Any]] = [
    {"does": "trained", "name": "llama", "optimizer": "sgd", "packed": False, **KEYS},
    {"does": "trained", "name": "llama", "optimizer": "adamw", "packed": True, "chunk": 16, **KEYS},
    {"does": "trained", "name": "qwen2", "optimizer": "adamw", "packed": False, "length": 30, **KEYS},
    {"does": "trained", "name": "gpt2", "optimizer": "sgd", "packed": True, "length": 30, **GPT2},
]
OTHERS: list[dict[str, Any]] = [
    {"does": "answered", "packed": False},
    {"does": "answered", "packed": True},
    {"does": "refused"},
]


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What two processes found; a launch takes longer than all of its work."""
    folder = tmp_path_factory.mktemp("two")
    return together(2, "tests.training.distributed.test_context_parallel:work", folder, parts=[*TRAINED, *OTHERS])[0]


def assert_alike(found: list[dict[str, float]], parts: list[dict[str, Any]]) -> None:
    for off, part in zip(found, parts, strict=True):
        assert max(off.values()) < TOLERANCE, (part, off)


@pytest.mark.slow
@pytest.mark.training
def test_training_by_tokens_is_training_by_sequences(by_two: list[Any]) -> None:
    assert_alike(by_two[: len(TRAINED)], TRAINED)


@pytest.mark.slow
def test_answers_in_evaluation_are_of_whole_blocks(by_two: list[Any]) -> None:
    assert max(by_two[-3:-1]) < 1e-6


@pytest.mark.slow
def test_a_model_that_sees_other_tokens_otherwise_is_refused(by_two: list[Any]) -> None:
    assert by_two[-1].startswith("training.parallel.context: llama mixes tokens outside attention too")


@pytest.mark.slow
def test_four_processes_share_tokens_or_matrices_too(tmp_path: Path) -> None:
    parts = [
        {"does": "trained", "name": "llama", "optimizer": "adamw", "packed": True, **KEYS},
        {"does": "trained", "name": "llama", "optimizer": "sgd", "packed": False, "tensor": 2, "length": 27, **KEYS},
    ]
    assert_alike(together(4, "tests.training.distributed.test_context_parallel:work", tmp_path, parts=parts)[0], parts)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 4)), "this is Sequential"),
        (lambda: classifier("bert"), "bert is not used as a causal language model here"),
        (lambda: language_model("mistral", num_key_value_heads=2), "uses windowed attention"),
        (lambda: language_model("gemma2", num_key_value_heads=2), "uses windowed attention"),
        (lambda: language_model("bloom"), "the attention of bloom cannot be replaced"),
        (lambda: language_model("mamba"), "the attention of mamba cannot be replaced"),
    ],
)
def test_what_cannot_be_split_is_refused(model: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        check_cp_supported(model())
