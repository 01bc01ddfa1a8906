"""Preferences are compared with a reference as it computed: without dropout, in the same precision, log 2 at first."""

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import danlu as package
from tests.support.chatting import write_lines
from tests.support.tiny_models import CHATML, CHATML_TOKENS, SENTENCES, folder, tokenizer

DROPPING = {"resid_pdrop": 0.3, "attn_pdrop": 0.3, "embd_pdrop": 0.3}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {"prompt": one, "chosen": SENTENCES[at - 1], "rejected": f"{SENTENCES[at - 2]} {again}"}
        for again in range(3)
        for at, one in enumerate(SENTENCES)
    ]
    return write_lines(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", rows)


def first_losses(
    source: Path, weights: Path, output: Path, model: dict[str, Any], **training: Any
) -> tuple[float, float]:
    """Train so little that nothing is learned; return the losses of training and validation."""
    run = package.train(
        {
            "data": {"source": str(source)},
            "model": {"name": f"hf:{weights}", **model},
            "training": {"max_steps": 1, "batch_size": 8, "optimizer": {"lr": 1e-9}, **training},
        },
        output=output,
        name="run",
    )
    found = {name: value for record in run.metrics() for name, value in record.items()}
    return found["train/loss"], found["validation/loss"]


@pytest.mark.training
@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-master"])
@pytest.mark.parametrize("model", [{}, {"finetune": {"mode": "lora"}}])
def test_a_model_that_has_learned_nothing_costs_log_2(
    tmp_path: Path, source: Path, model: dict[str, Any], precision: str
) -> None:
    weights = folder(tmp_path / "weights", tokenizer(CHATML, CHATML_TOKENS), "gpt2", **DROPPING)
    losses = first_losses(source, weights, tmp_path, model, precision=precision, memory={"checkpointing": "full"})
    assert losses == pytest.approx([math.log(2)] * 2, abs=2e-6)


@pytest.mark.training
def test_weights_of_4_bits_are_their_own_reference(tmp_path: Path, source: Path) -> None:
    weights = folder(tmp_path / "weights", tokenizer(CHATML, CHATML_TOKENS))
    losses = first_losses(source, weights, tmp_path, {"finetune": {"mode": "qlora"}})
    assert losses == pytest.approx([math.log(2)] * 2, abs=2e-6)


@pytest.mark.training
def test_dropout_that_the_recipe_asks_for_is_used(tmp_path: Path, source: Path) -> None:
    weights = folder(tmp_path / "weights", tokenizer(CHATML, CHATML_TOKENS), "gpt2", **DROPPING)
    trained, validated = first_losses(source, weights, tmp_path, {"dropout": 0.2})
    assert abs(trained - math.log(2)) > 1e-3
    assert validated == pytest.approx(math.log(2), abs=2e-6)


@pytest.mark.parametrize(
    ("mode", "asked", "dropping"),
    [
        ({}, {}, set()),
        ({"dropout": 0.1}, {}, {"network"}),
        ({}, {"mode": "lora"}, set()),
        ({}, {"mode": "lora", "dropout": 0.1}, {"adapters"}),
        ({}, {"mode": "dora", "dropout": 0.1}, {"adapters"}),
        ({"config": {"attn_pdrop": 0.1}}, {}, {"network"}),
    ],
)
def test_only_what_the_recipe_drops_is_random(mode: dict[str, Any], asked: dict[str, Any], dropping: set[str]) -> None:
    import torch

    from danlu.data.specs import PreferenceInputs
    from danlu.models.text.options import Transformer
    from danlu.recipe.sections.training import Finetune
    from danlu.training.finetuning import apply_finetuning

    small = {"n_embd": 32, "n_layer": 2, "n_head": 2, **mode.pop("config", {})}
    inputs = PreferenceInputs(vocabulary=60, longest=16, end=0, pad=0)
    model = Transformer(name="hf:gpt2", config=small, **mode).build(inputs, 60)
    apply_finetuning(model, Finetune(**asked))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    model.train()
    ids, answers = torch.randint(1, 60, (3, 2, 12)), torch.randint(1, 60, (3, 2, 12))
    same = torch.equal(model(ids, answers), model(ids, answers))
    assert same is not bool(dropping)
    rates = {
        ("adapters" if "lora" in name else "network"): module.p
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Dropout) and module.training and module.p > 0
    }
    assert set(rates) <= dropping


@pytest.mark.training
def test_figures_are_in_fp32_whatever_training_computed_in(tmp_path: Path, source: Path) -> None:
    weights = folder(tmp_path / "weights", tokenizer(CHATML, CHATML_TOKENS))
    kept = {}
    for precision in ("fp32", "bf16"):
        first_losses(source, weights, tmp_path / precision, {}, precision=precision)
        kept[precision] = pl.read_parquet(tmp_path / precision / "run" / "data" / "reference.parquet")
    assert kept["bf16"].equals(kept["fp32"])
