"""The formulae for many GPUs agree with what can be counted exactly: weights, saved activations, operations, shards."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from danlu.errors import ArgumentError
from danlu.training.distributed.communication import bubble_fraction, comm_volume, estimate_step_time, flops_per_token
from danlu.training.distributed.layout import Layout
from danlu.training.distributed.layout_plan import estimate_layouts
from danlu.training.distributed.layout_search import (
    DECODERS,
    GPUS,
    USABLE_MEMORY,
    candidate_layouts,
    enumerate_estimates,
    find_fastest_layout,
)
from danlu.training.distributed.memory_estimate import (
    PRECISION_BYTES,
    DecoderShape,
    StepBatch,
    estimate_memory,
    layer_bytes,
    logit_bytes,
    stage_layers,
    stage_parameters,
)
from tests.conftest import Command
from tests.support.processes import REPOSITORY

SMALL = DecoderShape(layers=2, hidden=64, heads=4, kv_heads=2, intermediate=96, vocabulary=128, sequence=32)
BF16, FP32 = PRECISION_BYTES["bf16"], PRECISION_BYTES["fp32"]
ALONE, ONE = Layout(), StepBatch(1)


def network(shape: DecoderShape, device: str, **more: Any) -> Any:
    """transformers' Llama of a shape."""
    import torch

    from danlu.core.imports import patch_torchvision

    patch_torchvision()
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocabulary,
        max_position_embeddings=shape.sequence,
        tie_word_embeddings=shape.tied,
        use_cache=False,
        **more,
    )
    with torch.device(device):
        return LlamaForCausalLM(config)


@pytest.mark.parametrize("shape", [*DECODERS.values(), SMALL, replace(SMALL, tied=True)])
def test_weights_are_those_of_a_model_built_so(shape: DecoderShape) -> None:
    built = network(shape, "meta")
    assert shape.parameters == sum(weight.numel() for weight in built.parameters())
    assert stage_parameters(shape, ALONE, 0) == shape.parameters


def test_llama_2_is_as_large_as_it_is_said_to_be() -> None:
    assert DECODERS["7b"].parameters == 6_738_415_616
    assert DECODERS["70b"].parameters == 68_976_648_192


@pytest.mark.parametrize(
    ("precision", "a_weight"), [("fp32", 16), ("bf16", 16), ("bf16-master", 16), ("bf16-stochastic", 12)]
)
def test_state_is_so_many_bytes_a_weight(precision: str, a_weight: int) -> None:
    needed = estimate_memory(SMALL, ALONE, ONE, PRECISION_BYTES[precision])
    assert needed.state == a_weight * SMALL.parameters


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-master"])
def test_a_layer_keeps_for_its_backward_pass_what_autograd_saves(precision: str) -> None:
    import torch

    def saved(layers: int) -> int:
        """Bytes that autograd saves of a forward pass, weights left out, each storage once."""
        model = network(replace(SMALL, layers=layers), "cpu")
        if precision == "bf16-master":
            model.to(torch.bfloat16)
        own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        kept: dict[int, Any] = {}

        def keep(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage
            return tensor

        ids = torch.randint(SMALL.vocabulary, (2, SMALL.sequence))
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
            answer = model.model(input_ids=ids)
        total = sum(storage.nbytes() for storage in kept.values())
        del answer
        return total

    kind = PRECISION_BYTES[precision]
    tokens = 2 * SMALL.sequence
    expected = layer_bytes(SMALL, 1, kind, "none") * tokens + kind.cast * SMALL.layer_matrices
    assert saved(3) - saved(2) == expected


def test_operations_are_those_that_torch_counts() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = network(SMALL, "cpu", attn_implementation="eager")
    ids = torch.zeros(3, SMALL.sequence, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids).logits.sum().backward()
    tokens = 3 * SMALL.sequence
    # Counted is attention of every token to every other one; causal, half of the scores are needed.
    other_half = 6 * SMALL.layers * SMALL.sequence * SMALL.hidden
    assert counter.get_total_flops() == tokens * (flops_per_token(SMALL) + other_half)


WAYS = st.sampled_from([1, 2, 4])
SHAPES = st.builds(
    DecoderShape,
    layers=st.sampled_from([4, 8]),
    hidden=st.sampled_from([64, 128]),
    heads=st.sampled_from([4, 8]),
    kv_heads=st.just(4),
    intermediate=st.sampled_from([64, 96]),
    vocabulary=st.sampled_from([128, 1 << 16]),
    sequence=st.sampled_from([64, 128]),
)
LAYOUTS = st.builds(Layout, data=WAYS, shard=WAYS, tensor=WAYS, pipeline=WAYS, context=WAYS)


@given(SHAPES, LAYOUTS)
def test_the_parts_of_all_make_the_whole(model: DecoderShape, layout: Layout) -> None:
    stages = range(layout.pipeline)
    assert sum(stage_layers(model, layout, stage) for stage in stages) == model.layers
    norms = [stage_layers(model, layout, stage) * 2 * model.hidden for stage in stages]
    norms[-1] += model.hidden
    matrices = [stage_parameters(model, layout, stage) - norm for stage, norm in zip(stages, norms, strict=True)]
    assert layout.tensor * sum(matrices) + sum(norms) == model.parameters


@settings(deadline=None)
@given(
    SHAPES,
    LAYOUTS,
    st.sampled_from(["shard", "tensor", "context", "pipeline"]),
    st.sampled_from(sorted(PRECISION_BYTES)),
    st.sampled_from(["none", "selective", "full"]),
    st.booleans(),
)
def test_splitting_further_never_takes_more_memory(
    model: DecoderShape, layout: Layout, direction: str, precision: str, recompute: Any, sequence: bool
) -> None:
    # Stages of shards are gathered whole, where one stage is gathered by the layer.
    assume(getattr(layout, direction) < 4 and not (direction == "pipeline" and layout.shard > 1))
    further = replace(layout, **{direction: 2 * getattr(layout, direction)})
    batch = StepBatch(1, microbatches=8)
    before, after = (
        estimate_memory(model, found, batch, PRECISION_BYTES[precision], recompute, sequence)
        for found in (layout, further)
    )
    assert after.total <= before.total


@given(SHAPES, st.sampled_from(sorted(PRECISION_BYTES)), st.booleans(), WAYS)
def test_what_is_computed_again_is_not_kept(model: DecoderShape, precision: str, sequence: bool, tensor: int) -> None:
    full, selective, none = (
        layer_bytes(model, tensor, PRECISION_BYTES[precision], how, sequence) for how in ("full", "selective", "none")
    )
    assert full < selective < none


def test_logits_of_a_large_vocabulary_are_computed_in_chunks() -> None:
    model = DECODERS["7b"]
    assert logit_bytes(model, 1, 100) == 8 * 100 * 32000
    assert logit_bytes(model, 1, 4096) == 8 * ((1 << 24) // 32000) * 32000


def test_one_gpu_sends_nothing() -> None:
    assert comm_volume(SMALL, ALONE, StepBatch(2, 4), BF16).total == 0


def test_copies_send_their_gradients_round_a_ring() -> None:
    sent = comm_volume(SMALL, Layout(data=4), ONE, BF16)
    assert sent.total == sent.data == 2 * 3 / 4 * SMALL.parameters * 4


def test_shards_gather_twice_and_scatter_once() -> None:
    sent = comm_volume(SMALL, Layout(shard=4), ONE, BF16)
    gathered_once = (
        2 * SMALL.embedding_parameters + SMALL.hidden
    )  # embedding, last matrix and last norm wait for the backward pass
    assert sent.total == sent.shard == 3 / 4 * (SMALL.parameters * (2 * 2 + 4) - gathered_once * 2)
    hybrid = comm_volume(SMALL, Layout(data=2, shard=4), ONE, BF16)
    assert hybrid.data == 2 * 1 / 2 * SMALL.parameters / 4 * 4


def test_split_matrices_send_the_stream_four_times_a_layer() -> None:
    """Shoeybi et al. 2019: two all-reduces forward and two backward, of batch x sequence x hidden; and embedding and
    last matrix have one forward and one backward between them."""
    stream = 3 * SMALL.sequence * SMALL.hidden * 2
    sent = comm_volume(SMALL, Layout(tensor=2), StepBatch(3), BF16)
    assert sent.total == sent.tensor == (4 * SMALL.layers + 2) * 2 * 1 / 2 * stream
    assert comm_volume(SMALL, Layout(tensor=2), StepBatch(3), BF16, "full").tensor == 1.5 * sent.tensor


def test_stages_send_the_stream_and_its_gradient_for_each_micro_batch() -> None:
    stream = SMALL.sequence * SMALL.hidden * 4
    sent = comm_volume(SMALL, Layout(pipeline=2), StepBatch(1, 8), FP32)
    assert sent.total == sent.pipeline == 2 * 8 * stream


def test_a_pipeline_waits_for_its_share_of_the_step() -> None:
    layout, batch = Layout(pipeline=4), StepBatch(1, 12)
    sent = replace(comm_volume(replace(SMALL, layers=4), layout, batch, BF16), pipeline=0.0)
    taken = estimate_step_time(replace(SMALL, layers=4), layout, batch, sent, GPUS["h100"], 1e12)
    assert bubble_fraction(layout, batch) == 3 / 15
    assert taken.bubble / taken.step == pytest.approx(3 / 15)


def test_messages_are_hidden_while_there_is_arithmetic() -> None:
    layout = Layout(data=2)
    sent = comm_volume(SMALL, layout, ONE, BF16)
    slow = estimate_step_time(SMALL, layout, ONE, sent, GPUS["h100"], flops_s=1e6)
    fast = estimate_step_time(SMALL, layout, ONE, sent, GPUS["h100"], flops_s=1e30)
    assert slow.waiting == 0
    assert fast.waiting == pytest.approx(sent.data / GPUS["h100"].intra_node_bytes_s)


@pytest.mark.parametrize(("name", "gpus"), [("7b", 8), ("7b", 64), ("70b", 64), ("70b", 1024)])
def test_what_is_chosen_fits_and_nothing_that_fits_is_faster(name: str, gpus: int) -> None:
    model, card, sequences = DECODERS[name], GPUS["h100"], 1024
    chosen = find_fastest_layout(model, gpus, card, "bf16", sequences)
    assert chosen is not None
    assert chosen.layout.world_size == gpus
    assert chosen.memory.total <= USABLE_MEMORY * card.memory_bytes
    assert chosen.layout.dp_size * chosen.batch.sequences * chosen.batch.microbatches == sequences
    fitting = [
        row for row in enumerate_estimates(model, gpus, card, "bf16", sequences, 0.5) if row.memory.total <= 72e9
    ]
    assert chosen.tokens_s == pytest.approx(max(row.tokens_s for row in fitting), rel=1e-4)


def test_seventy_billion_weights_do_not_fit_eight_cards() -> None:
    assert find_fastest_layout(DECODERS["70b"], 8, GPUS["h100"], "bf16", 1024) is None


def test_layouts_stay_within_what_the_model_and_a_node_allow() -> None:
    found = list(candidate_layouts(DECODERS["70b"], 64, GPUS["h100"]))
    assert all(layout.world_size == 64 and layout.tensor <= 8 and 80 % layout.pipeline == 0 for layout in found)
    assert Layout(data=1, shard=1, tensor=8, pipeline=8) in found


@pytest.mark.parametrize(
    ("layout", "reason"),
    [(Layout(tensor=3), "heads 4"), (Layout(pipeline=3), "there are only 2"), (Layout(context=64), "tokens")],
)
def test_what_cannot_be_split_is_refused(layout: Layout, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        estimate_memory(SMALL, layout, ONE, BF16)


def test_the_table_is_printed(danlu: Command) -> None:
    done = danlu("plan", "--estimate", "8,64", "--model", "7b")
    assert done.returncode == 0, done.stderr
    head, first, second = (line.split() for line in done.stdout.splitlines())
    assert head[:3] == ["model", "GPUs", "layout"]
    assert (first[:2], second[:2]) == (["7b", "8"], ["7b", "64"])
    assert "50% of the GPU's peak" in done.stderr


@pytest.mark.training
def test_a_recipe_of_ones_own_is_planned_by_its_shape(
    corpus_recipe: dict[str, Any], tmp_path: Any, danlu: Command
) -> None:
    from danlu.recipe.load import check_recipe, dump_recipe

    recipe = check_recipe(corpus_recipe)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    done = danlu("plan", tmp_path / "recipe.yaml", "--estimate", "4", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = json.loads(done.stdout)
    assert (line["model"], line["gpus"]) == ("speeches", 4)
    (again,) = estimate_layouts([4], recipe=recipe)
    assert json.loads(json.dumps(asdict(again))) == line
    # 16 sequences a step of 64 tokens: as the recipe has them.
    assert line["row"]["batch"]["sequences"] * line["row"]["batch"]["microbatches"] <= 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--estimate", "eight"], "give numbers of GPUs"),
        (["--estimate", "8", "--model", "8b"], "no such model: 8b (allowed: 7b, 13b, 70b)"),
        (["--estimate", "8", "--precision", "int3"], "no such precision"),
        (["wine", "--estimate", "8"], "is for language models"),
        ([], "give a recipe"),
    ],
)
def test_what_is_not_known_is_refused(arguments: list[str], message: str, danlu: Command) -> None:
    done = danlu("plan", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_table_of_the_chapter_is_what_is_printed(danlu: Command) -> None:
    chapter = (REPOSITORY / "docs" / "parallel.md").read_text(encoding="utf-8")
    command, _, shown = chapter.partition("$ danlu plan --estimate")[2].partition("\n")
    done = danlu("plan", "--estimate", *command.split())
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    assert printed == shown.partition("```")[0].splitlines()
