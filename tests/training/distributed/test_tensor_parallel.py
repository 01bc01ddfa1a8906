"""Matrices split among processes train as whole ones do: losses, gradient norms and weights."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate

from danlu.data.loader import Batch
from danlu.errors import ArgumentError
from danlu.models.text.vocab_parallel import VocabParallelLogits
from danlu.tasks.loss_weighting import LossWeighting
from danlu.tasks.table import get_task
from danlu.tasks.token_losses import token_predict
from danlu.training.distributed.tensor_parallel import apply_tp, check_tp_supported
from danlu.training.distributed.tp_plans import TP_PLANS
from danlu.training.memory.activation_checkpointing import apply_activation_checkpointing
from tests.support.parallel_models import (
    TOLERANCE,
    VOCABULARY,
    classifier,
    corpus_batches,
    deviation,
    language_model,
    text_batches,
    train,
)
from tests.support.processes import together

STEPS = 6
BERT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DROPPING = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3}
ENCODERS = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert")
# What a tiny model of an architecture needs beside tests.support.parallel_models.SIZES.
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen3": {"head_dim": 16, "num_key_value_heads": 2},
    "smollm3": {"num_key_value_heads": 2, "pad_token_id": 0},
    "gemma": {"head_dim": 8, "num_key_value_heads": 2},
    "gemma2": {"head_dim": 8, "num_key_value_heads": 2},
    "helium": {"head_dim": 8, "num_key_value_heads": 2},
    "starcoder2": {"num_key_value_heads": 2, "residual_dropout": 0.0},
    "phi": {"qk_layernorm": True},
    "distilbert": {
        "dim": 32,
        "hidden_dim": 48,
        "n_layers": 2,
        "n_heads": 4,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "seq_classif_dropout": 0.0,
    },
}
# Which differ in more than their names: norms of heads, caps, a fused matrix, biases.
QUICK = ("qwen3", "gemma2", "gpt_neox", "phi", "distilbert")


def work(parts: list[dict[str, Any]]) -> list[Any]:
    """Several pieces of work in one launch."""
    return [globals()[part.pop("does")](**part) for part in parts]


def build(name: str, texts: bool = False, **config: Any) -> nn.Module:
    kind = classifier if texts or name in ENCODERS else language_model
    own = CONFIGS.get(name, BERT if name in ENCODERS else {})
    return kind(name, **{**own, **config})


def all_processes() -> DeviceMesh:
    return init_device_mesh("cpu", (distributed.get_world_size(),), mesh_dim_names=("tensor",))


def trained(
    name: str,
    optimizer: str,
    sequence: bool,
    shard: int = 1,
    steps: int = STEPS,
    texts: bool = False,
    **config: Any,
) -> dict[str, float]:
    """How far training by all processes is off from training by one."""
    model = build(name, texts, **config)
    texts = texts or name in ENCODERS
    head = "classification" if texts else "language-modelling"
    batches = text_batches(steps) if texts else corpus_batches(steps, packed=False)
    smoothing = 0.1 if optimizer == "sgd" else 0.0
    wanted = train(copy.deepcopy(model), batches, optimizer, head, smoothing)
    if shard == 1:
        apply_tp(model, all_processes(), sequence)
        return deviation(train(model, batches, optimizer, head, smoothing), wanted)
    mesh = init_device_mesh("cpu", (shard, distributed.get_world_size() // shard), mesh_dim_names=("shard", "tensor"))
    apply_tp(model, mesh["tensor"], sequence)
    for module in [*(block for block in model.modules() if type(block).__name__.endswith("DecoderLayer")), model]:
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
    apply_tp(model, all_processes(), sequence=True)
    seen: dict[str, list[int]] = {}
    for name, module in model.named_modules():
        if name.endswith(("0.input_layernorm", "0.self_attn.q_proj", "lm_head")):
            module.register_forward_hook(
                lambda _, args, found, name=name: seen.update({name.split(".")[-1]: list(found.shape)})
            )
    model(input_ids=torch.ones(1, 6, dtype=torch.long))
    weights = {name: weight for name, weight in model.named_parameters() if isinstance(weight, DTensor)}
    return {
        "all": len(weights) == len(list(model.parameters())),
        "whole": sorted({name.split(".")[-2] for name, weight in weights.items() if is_whole(weight)}),
        "seen": seen,
    }


def is_whole(weight: DTensor) -> bool:
    return tuple(weight.placements) == (Replicate(),)


def dropped(sequence: bool) -> dict[str, Any]:
    """With dropout: how far weights that all hold are apart, and where all drop the same."""
    model = build("bert", **DROPPING)
    apply_tp(model, all_processes(), sequence)
    masks: dict[str, Tensor] = {}
    for place, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda _, args, found, place=place: masks.update({place: found == 0}))
    curve = train(model, text_batches(3), "sgd", "classification")
    kept = [weight.to_local() for weight in model.parameters() if isinstance(weight, DTensor) and is_whole(weight)]
    return {
        "losses": curve.losses,
        "apart": max(spread(weight) for weight in kept),
        "same": [place.split("bert.")[-1] for place, mask in masks.items() if not spread(mask.float())],
        "masks": len({mask.sum().item() for place, mask in masks.items() if place.endswith("output.dropout")}),
    }


def spread(values: Tensor) -> float:
    """How far the processes are apart."""
    largest, smallest = values.detach().clone(), values.detach().clone()
    distributed.all_reduce(largest, distributed.ReduceOp.MAX)
    distributed.all_reduce(smallest, distributed.ReduceOp.MIN)
    return float((largest - smallest).abs().max())


def recomputed(sequence: bool) -> bool:
    """Whether blocks that are computed again in the backward pass drop what they dropped before."""
    curves = []
    for how in ("none", "full"):
        model = build("bert", **DROPPING)
        apply_activation_checkpointing(model, how)
        apply_tp(model, all_processes(), sequence)
        curves.append(train(model, text_batches(2), "sgd", "classification"))
    return curves[0].losses == curves[1].losses and curves[0].norms == curves[1].norms


def judged(vocabulary: int) -> dict[str, float]:
    """The head's loss and answer of logits in parts, off from those of whole ones; some words are equally likely."""
    draw = torch.Generator().manual_seed(1)
    logits = (torch.randn(2, 7, vocabulary, generator=draw) * 3).round()
    target = torch.randint(vocabulary, (2, 7), generator=draw)
    target[0, 2:5] = -100
    target[1, :4] = logits[1, :4].argmax(dim=1)
    loss = get_task("language-modelling").head(None).loss
    whole = logits.clone().requires_grad_()
    wanted, count = loss(whole, target, LossWeighting(smoothing=0.2))
    (wanted / count).backward()
    rank, ways = distributed.get_rank(), distributed.get_world_size()
    start, world = -(-vocabulary // ways) * rank, distributed.group.WORLD
    part = logits.chunk(ways, dim=2)[rank].clone().requires_grad_()
    assert world is not None
    split = VocabParallelLogits(part, start, vocabulary, world)
    found, _ = loss(split, target, LossWeighting(smoothing=0.2))
    (found / count).backward()
    assert whole.grad is not None
    assert part.grad is not None
    return {
        "loss": abs((found / wanted).item() - 1),
        "gradient": float((part.grad - whole.grad[..., start : start + part.shape[2]]).abs().max()),
        "answer": float((token_predict(split, target) - token_predict(logits, target)).abs().max()),
    }


@torch.no_grad()
def answered(length: int) -> float:
    """How far a split model's answer in evaluation is off from a whole one's."""
    model = build("llama").eval()
    ids = torch.arange(2 * length).view(2, length) % VOCABULARY
    wanted = token_predict(model(input_ids=ids), ids)
    apply_tp(model, all_processes(), sequence=True)
    found = token_predict(model(input_ids=ids), ids)
    return float(((found - wanted).abs() / wanted.abs().clamp(min=1)).max())


def lowered() -> float:
    """How far the loss and its gradient's norm are off where products are computed in bf16."""
    model, (batch,) = build("llama"), corpus_batches(1, packed=False)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = train(copy.deepcopy(model), [batch], "sgd", "language-modelling")
        apply_tp(model, all_processes(), sequence=True)
        found = train(model, [batch], "sgd", "language-modelling")
    off = deviation(found, wanted)
    return max(off["loss"], off["norm"])


def assert_alike(found: list[dict[str, float]], parts: list[dict[str, Any]]) -> None:
    for off, part in zip(found, parts, strict=True):
        assert max(off.values()) < TOLERANCE, (part, off)


def does_train(name: str, optimizer: str, sequence: bool, **others: Any) -> dict[str, Any]:
    return {"does": "trained", "name": name, "optimizer": optimizer, "sequence": sequence, **others}


TRAINED = [
    does_train("llama", "sgd", True),
    does_train("llama", "sgd", False),
    does_train("llama", "adamw", True),
    does_train("qwen2", "adamw", False),
    does_train("bert", "sgd", True),
    does_train("bert", "adamw", False),
    does_train("llama", "sgd", True, steps=2, texts=True),
    *(does_train(name, "sgd", True, steps=2) for name in QUICK),
]
OTHERS: dict[str, dict[str, Any]] = {
    "even parts": {"does": "judged", "vocabulary": 10},
    "uneven parts": {"does": "judged", "vocabulary": 11},
    "evaluation": {"does": "answered", "length": 9},
    "bf16": {"does": "lowered"},
    "places": {"does": "placed"},
    "dropped by tokens": {"does": "dropped", "sequence": True},
    "dropped by heads": {"does": "dropped", "sequence": False},
    "recomputed by tokens": {"does": "recomputed", "sequence": True},
    "recomputed by heads": {"does": "recomputed", "sequence": False},
}


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What each of two processes found; a launch takes longer than all of its work."""
    parts = [*TRAINED, *OTHERS.values()]
    return together(
        2, "tests.training.distributed.test_tensor_parallel:work", tmp_path_factory.mktemp("two"), parts=parts
    )


@pytest.fixture
def found(by_two: list[list[Any]]) -> dict[str, list[Any]]:
    """By the name of a piece of work what each process found."""
    return {name: [one[len(TRAINED) + number] for one in by_two] for number, name in enumerate(OTHERS)}


@pytest.mark.slow
def test_training_by_two_is_training_by_one(by_two: list[list[Any]]) -> None:
    assert_alike(by_two[0][: len(TRAINED)], TRAINED)


@pytest.mark.slow
def test_logits_in_parts_are_judged_as_whole_ones(found: dict[str, list[Any]]) -> None:
    assert max(*found["even parts"][0].values(), *found["uneven parts"][0].values()) < 1e-6
    assert found["evaluation"][0] < 1e-6


@pytest.mark.slow
def test_products_in_bf16_are_those_of_one_to_its_three_digits(found: dict[str, list[Any]]) -> None:
    assert found["bf16"][0] < 1e-2


@pytest.mark.slow
def test_all_weights_are_dtensors_and_norms_are_whole(found: dict[str, list[Any]]) -> None:
    assert found["places"][0] == {
        "all": True,
        "whole": ["input_layernorm", "norm", "post_attention_layernorm"],
        "seen": {"input_layernorm": [1, 3, 32], "q_proj": [1, 6, 16], "lm_head": [1, 6, VOCABULARY // 2]},
    }


@pytest.mark.slow
@pytest.mark.parametrize("how", ["by tokens", "by heads"])
def test_dropout_keeps_whole_weights_equal(found: dict[str, list[Any]], how: str) -> None:
    """Where all have the same activations they drop the same, where each has tokens of its own they do not."""
    mine, other = found[f"dropped {how}"]
    assert mine["apart"] == 0.0
    assert mine["losses"] == other["losses"]
    assert mine["masks"] > 1  # not one for all layers
    within = ["attention.output.dropout", "output.dropout"] if how == "by heads" else []
    blocks = [f"encoder.layer.{number}.{place}" for number in (0, 1) for place in within]
    assert sorted(mine["same"]) == sorted(["embeddings.dropout", "network.dropout", *blocks])
    assert found[f"recomputed {how}"] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("sequence", [False, True])
def test_every_architecture_of_the_table_trains_alike(tmp_path: Path, sequence: bool) -> None:
    parts = [does_train(name, "sgd", sequence, steps=2) for name in TP_PLANS]
    assert_alike(together(2, "tests.training.distributed.test_tensor_parallel:work", tmp_path, parts=parts)[0], parts)


@pytest.mark.slow
def test_split_matrices_are_sharded_further(tmp_path: Path) -> None:
    parts = [
        does_train("llama", "sgd", True, shard=2),
        does_train("qwen2", "adamw", False, shard=2, vocab_size=301),
        does_train("bert", "sgd", True, steps=3),  # four ways
    ]
    assert_alike(together(4, "tests.training.distributed.test_tensor_parallel:work", tmp_path, parts=parts)[0], parts)


@pytest.mark.parametrize(
    ("name", "config", "ways", "words"),
    [
        (
            "llama",
            {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 6},
            4,
            ("6 heads", "4 ways", "use 2, 3 or 6"),
        ),
        ("llama", {"num_key_value_heads": 2}, 4, ("2 heads of keys and values", "use 2")),
        ("llama", {"intermediate_size": 50, "num_key_value_heads": 4}, 4, ("50 hidden units", "use 2")),
        ("llama", {"num_key_value_heads": 1}, 2, ("1 heads of keys", "training.parallel.shard")),
        ("gpt2", {}, 2, ("fused into one (c_attn)", "training.parallel.shard", "llama")),
        ("olmo2", {}, 2, ("matrices of olmo2", "training.parallel.shard")),
        ("cohere", {"use_qk_norm": True}, 2, ("weights between its matrices (q_norm)",)),
    ],
)
def test_what_cannot_be_split_is_refused(name: str, config: dict[str, Any], ways: int, words: tuple[str, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"training\.parallel\.tensor") as caught:
        check_tp_supported(build(name, **config), ways)
    for word in words:
        assert word in str(caught.value)


def test_other_models_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"this is Sequential; use training\.parallel\.shard"):
        check_tp_supported(nn.Sequential(nn.Linear(4, 4)), 2)
