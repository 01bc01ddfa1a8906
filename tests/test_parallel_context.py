"""Tokens of each sequence split among processes train as whole sequences do."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from danlu.core.errors import ArgumentError
from danlu.models.heads import HEADS
from danlu.training.parallel.context import context_head, parallelize_context, require_context, split_tokens
from danlu.training.parallel.tensor import parallelize_tensor
from tests.parallel_models import classifier, corpus_batches, deviation, language_model, train
from tests.processes import together

STEPS = 6
TOLERANCE = 1e-5  # relative, fp32
KEYS = {"num_key_value_heads": 2}


def work(parts: list[dict[str, Any]]) -> list[Any]:
    """Several pieces of work in one launch."""
    return [globals()[part.pop("does")](**part) for part in parts]


def trained(
    name: str, optimizer: str, packed: bool, length: int = 32, tensor: int = 1, **config: Any
) -> dict[str, float]:
    """How far training by all processes is off from training by one."""
    model = language_model(name, **config)
    head, batches = "language-modelling", corpus_batches(STEPS, packed, length=length)
    smoothing = 0.1 if optimizer == "sgd" else 0.0
    wanted = train(copy.deepcopy(model), batches, optimizer, head, smoothing)
    ways = distributed.get_world_size() // tensor
    mesh = init_device_mesh("cpu", (ways, tensor), mesh_dim_names=("context", "tensor"))
    parallelize_context(model, mesh["context"])
    if tensor > 1:
        parallelize_tensor(model, mesh["tensor"], sequence=True)
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
        return split_tokens(batch, mesh["context"])

    return deviation(train(model, batches, optimizer, head, smoothing, part, total, gradients), wanted)


def answered(packed: bool) -> float:
    """How far the answers in evaluation are off."""
    model = language_model("llama", **KEYS).eval()
    (batch,) = corpus_batches(1, packed, length=30)
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),), mesh_dim_names=("context",))
    head = HEADS["language-modelling"]
    with torch.no_grad():
        wanted = head.answer(model(**batch.inputs), batch.target)
        parallelize_context(model, mesh)
        part = split_tokens(batch, mesh)
        found = context_head(head, mesh).answer(model(**part.inputs), part.target)
    return float(((found - wanted).abs() / wanted.abs().clamp(min=1)).max())


def refused(name: str) -> str:
    """What is said of a model that sees other tokens in other ways."""
    model = language_model(name, **({"attn_layer_indices": [1]} if name == "bamba" else {}))
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),), mesh_dim_names=("context",))
    with pytest.raises(ArgumentError) as caught:
        parallelize_context(model, mesh)
    return str(caught.value)


def test_training_by_tokens_is_training_by_sequences(tmp_path: Path) -> None:
    parts = [
        {"does": "trained", "name": "llama", "optimizer": "sgd", "packed": False, **KEYS},
        {"does": "trained", "name": "llama", "optimizer": "adamw", "packed": True, **KEYS},
        {"does": "trained", "name": "qwen2", "optimizer": "adamw", "packed": False, "length": 30, **KEYS},
        {"does": "trained", "name": "qwen2", "optimizer": "sgd", "packed": True, "length": 30, **KEYS},
        {
            "does": "trained",
            "name": "gpt2",
            "optimizer": "sgd",
            "packed": True,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        },
    ]
    others = [{"does": "answered", "packed": packed} for packed in (False, True)]
    found = together(2, "tests.test_parallel_context:work", tmp_path, parts=parts + others)[0]
    for off, part in zip(found, parts, strict=False):
        assert max(off.values()) < TOLERANCE, (part, off)
    assert max(found[len(parts) :]) < 1e-6


def test_four_processes_share_tokens_or_matrices_too(tmp_path: Path) -> None:
    parts = [
        {"does": "trained", "name": "llama", "optimizer": "sgd", "packed": True, **KEYS},
        {"does": "trained", "name": "llama", "optimizer": "adamw", "packed": False, "tensor": 2, **KEYS},
        {"does": "trained", "name": "llama", "optimizer": "sgd", "packed": True, "tensor": 2, "length": 27, **KEYS},
    ]
    found = together(4, "tests.test_parallel_context:work", tmp_path, parts=parts)[0]
    for off, part in zip(found, parts, strict=True):
        assert max(off.values()) < TOLERANCE, (part, off)
