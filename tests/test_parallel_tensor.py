"""Matrices split among processes train as whole ones do: losses, gradient norms and weights."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.nn import functional

from danlu.core.errors import ArgumentError
from danlu.data.balance.emphasis import Emphasis
from danlu.data.feed import Batch
from danlu.models.heads import HEADS, token_answer
from danlu.models.split_logits import SplitLogits
from danlu.training.parallel.architectures import ARCHITECTURES
from danlu.training.parallel.tensor import parallelize_tensor, require_tensor
from tests.parallel_models import (
    VOCABULARY,
    classifier,
    corpus_batches,
    deviation,
    language_model,
    text_batches,
    train,
    whole,
)
from tests.processes import together

STEPS = 6
TOLERANCE = 1e-5  # relative, fp32
BERT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ENCODERS = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert")
# What a tiny model of an architecture needs beside tests.parallel_models.SIZES.
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen3": {"head_dim": 16, "num_key_value_heads": 2},
    "smollm3": {"num_key_value_heads": 2, "pad_token_id": 0},
    "gemma": {"head_dim": 8, "num_key_value_heads": 2},
    "gemma2": {"head_dim": 8, "num_key_value_heads": 2},
    "helium": {"head_dim": 8, "num_key_value_heads": 2},
    "starcoder2": {"num_key_value_heads": 4, "residual_dropout": 0.0},
    "phi": {"qk_layernorm": True},
    "distilbert": {
        **{"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
        **{"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0},
    },
}
QUICK = ("qwen3", "gemma2", "gpt_neox", "phi", "roberta", "distilbert")


def work(parts: list[dict[str, Any]]) -> list[Any]:
    """Several pieces of work in one launch."""
    return [globals()[part.pop("does")](**part) for part in parts]


def build(name: str, **config: Any) -> nn.Module:
    model = classifier if name in ENCODERS else language_model
    own = CONFIGS.get(name, BERT if name in ENCODERS else {})
    return model(name, **own, **config)


def trained(name: str, optimizer: str, sequence: bool, shard: int = 1, steps: int = STEPS, **config: Any) -> Any:
    """How far training by all processes is off from training by one."""
    model = build(name, **config)
    head = "classification" if name in ENCODERS else "language-modelling"
    batches = text_batches(steps) if name in ENCODERS else corpus_batches(steps, packed=False)
    smoothing = 0.1 if optimizer == "sgd" else 0.0
    wanted = train(copy.deepcopy(model), batches, optimizer, head, smoothing)
    ways = distributed.get_world_size() // shard
    mesh = init_device_mesh("cpu", (shard, ways), mesh_dim_names=("shard", "tensor"))
    parallelize_tensor(model, mesh["tensor"], sequence)
    if shard == 1:
        return deviation(train(model, batches, optimizer, head, smoothing), wanted)
    blocks = [module for module in model.modules() if type(module).__name__ == "LlamaDecoderLayer"]
    for module in (*blocks, model):
        fully_shard(module, mesh=mesh["shard"])

    def part(batch: Batch) -> Batch:
        rows = slice(mesh.get_local_rank("shard"), None, shard)
        inputs = {name: values[rows] for name, values in batch.inputs.items()}
        return Batch(inputs, batch.target[rows], batch.rows[rows], batch.epoch)

    def total(value: Tensor) -> Tensor:
        value = value.clone()
        distributed.all_reduce(value, group=mesh.get_group("shard"))
        return value

    return deviation(train(model, batches, optimizer, head, smoothing, part, total, averaged=shard), wanted)


def placed() -> dict[str, Any]:
    """Where weights and activations of a language model are."""
    model = build("llama")
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),), mesh_dim_names=("tensor",))
    parallelize_tensor(model, mesh, sequence=True)
    seen: dict[str, list[int]] = {}
    for name, module in model.named_modules():
        if name.endswith(("input_layernorm", "q_proj", "lm_head")):
            module.register_forward_hook(lambda _, args, found, name=name: seen.update({name: list(found.shape)}))
    model(input_ids=torch.ones(1, 6, dtype=torch.long))
    weights = dict(model.named_parameters())
    return {
        "all DTensors": all(isinstance(weight, DTensor) for weight in weights.values()),
        "replicated": sorted(
            {
                name.split(".")[-2]
                for name, weight in weights.items()
                if isinstance(weight, DTensor) and weight.placements == (Replicate(),)
            }
        ),
        "seen": {name.removeprefix("network.model."): shape for name, shape in seen.items()},
    }


def dropped(name: str, sequence: bool) -> dict[str, Any]:
    """With dropout: whether weights that all hold stay equal, and masks differ where work is split."""
    rates = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3}
    model = classifier(name, **rates)
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),), mesh_dim_names=("tensor",))
    parallelize_tensor(model, mesh, sequence)
    masks: dict[str, Tensor] = {}
    for place, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(
                lambda _, args, found, place=place: masks.update({place: (found == 0).float()})
            )
    curve = train(model, text_batches(3), "sgd", "classification")
    kept = [weight.to_local() for weight in model.parameters() if weight.placements == (Replicate(),)]
    return {
        "losses": curve.losses,
        "weights": float(sum(weight.double().sum() for weight in kept)),
        "spread": max(float(_spread(weight)) for weight in kept),
        "equal masks": sorted(place for place, mask in masks.items() if not _spread(mask)),
        "other masks": len({mask.sum().item() for place, mask in masks.items() if "output" in place}),
    }


def _spread(values: Tensor) -> float:
    """How far the processes are apart."""
    values = values.detach().contiguous()
    largest, smallest = values.clone(), values.clone()
    distributed.all_reduce(largest, distributed.ReduceOp.MAX)
    distributed.all_reduce(smallest, distributed.ReduceOp.MIN)
    return float((largest - smallest).abs().max())


def judged(vocabulary: int) -> dict[str, float]:
    """The head's loss and answer of logits in parts, off from those of whole ones; some words are equally likely."""
    draw = torch.Generator().manual_seed(1)
    logits = (torch.randn(2, 7, vocabulary, generator=draw) * 3).round()
    target = torch.randint(vocabulary, (2, 7), generator=draw)
    target[0, 2:5] = -100
    target[1, :4] = logits[1, :4].argmax(dim=1)
    whole_logits = logits.clone().requires_grad_()
    wanted, count = HEADS["language-modelling"].loss(whole_logits, target, Emphasis(smoothing=0.2))
    (wanted / count).backward()
    rank, ways = distributed.get_rank(), distributed.get_world_size()
    start = -(-vocabulary // ways) * rank
    part = logits.chunk(ways, dim=2)[rank].clone().requires_grad_()
    split = SplitLogits(part, start, vocabulary, distributed.group.WORLD)
    found, _ = HEADS["language-modelling"].loss(split, target, Emphasis(smoothing=0.2))
    (found / count).backward()
    slope = whole_logits.grad[..., start : start + part.shape[2]]
    off = (token_answer(split, target) - token_answer(logits, target)).abs().max()
    return {
        "loss": abs((found / wanted).item() - 1),
        "gradient": float((part.grad - slope).abs().max()),
        "answer": float(off),
    }


def answered(name: str, length: int) -> float:
    """How far a split model's answer in evaluation is off from a whole one's."""
    model = build(name).eval()
    ids = torch.arange(2 * length).view(2, length) % VOCABULARY
    with torch.no_grad():
        wanted = token_answer(model(input_ids=ids), ids)
        mesh = init_device_mesh("cpu", (distributed.get_world_size(),), mesh_dim_names=("tensor",))
        parallelize_tensor(model, mesh, sequence=True)
        found = token_answer(model(input_ids=ids), ids)
    return float(((found - wanted).abs() / wanted.abs().clamp(min=1)).max())


def assert_alike(found: list[dict[str, float]], parts: list[dict[str, Any]]) -> None:
    for off, part in zip(found, parts, strict=True):
        assert max(off.values()) < TOLERANCE, (part, off)


def test_training_by_two_is_training_by_one(tmp_path: Path) -> None:
    parts = [
        {"does": "trained", "name": name, "optimizer": optimizer, "sequence": sequence}
        for name, optimizer, sequence in (
            *(("llama", optimizer, sequence) for optimizer in ("sgd", "adamw") for sequence in (False, True)),
            *(("qwen2", "sgd", True), ("qwen2", "adamw", False)),
            *(("bert", "sgd", True), ("bert", "sgd", False), ("bert", "adamw", True)),
        )
    ]
    parts += [{"does": "trained", "name": name, "optimizer": "sgd", "sequence": True, "steps": 2} for name in QUICK]
    others = [
        *({"does": "judged", "vocabulary": vocabulary} for vocabulary in (10, 11)),
        {"does": "answered", "name": "llama", "length": 9},
        {"does": "dropped", "name": "bert", "sequence": True},
        {"does": "dropped", "name": "bert", "sequence": False},
        {"does": "placed"},
    ]
    first, second = together(2, "tests.test_parallel_tensor:work", tmp_path, parts=parts + others)
    assert_alike(first[: len(parts)], parts)
    even, odd, answer, tokens_apart, together_, places = first[len(parts) :]
    for off in (even, odd):
        assert max(off.values()) < 1e-6, off
    assert answer < 1e-6
    for mine, other in zip(first[len(parts) + 3 : -1], second[len(parts) + 3 : -1], strict=True):
        assert mine["spread"] == 0.0
        assert mine["weights"] == other["weights"]
        assert mine["losses"] == other["losses"]
        assert mine["other masks"] > 1  # of layer after layer
    # Between matrices all have equal activations or other tokens; outside of the blocks they are always equal.
    assert together_["equal masks"] == ["attention", "attention", "bert", "layer", "layer", "network"] or places
    assert places == {}


@pytest.mark.slow
@pytest.mark.parametrize("sequence", [False, True])
def test_every_architecture_of_the_table_trains_alike(tmp_path: Path, sequence: bool) -> None:
    parts = [
        {"does": "trained", "name": name, "optimizer": "sgd", "sequence": sequence, "steps": 2}
        for name in ARCHITECTURES
    ]
    assert_alike(together(2, "tests.test_parallel_tensor:work", tmp_path, parts=parts)[0], parts)


def test_split_matrices_are_sharded_further(tmp_path: Path) -> None:
    parts = [
        {"does": "trained", "name": "llama", "optimizer": "sgd", "sequence": True, "shard": 2},
        {"does": "trained", "name": "llama", "optimizer": "adamw", "sequence": True, "shard": 2},
        {"does": "trained", "name": "llama", "optimizer": "sgd", "sequence": False, "shard": 2, "vocab_size": 301},
        {"does": "trained", "name": "bert", "optimizer": "sgd", "sequence": True},
        {"does": "trained", "name": "starcoder2", "optimizer": "adamw", "sequence": True, "vocab_size": 301},
    ]
    assert_alike(together(4, "tests.test_parallel_tensor:work", tmp_path, parts=parts)[0], parts)
