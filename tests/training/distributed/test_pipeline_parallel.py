"""Pipelines of processes: the mathematics is that of one process, whatever the schedule."""

from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.data.specs import TabularInputs
from danlu.errors import ArgumentError
from danlu.models.tabular.options import MLP
from danlu.training.distributed.microbatches import split_into_microbatches
from danlu.training.distributed.pipeline_parallel import check_microbatches, local_stage_indices
from danlu.training.distributed.pipeline_stages import build_stage, merge_stages, split_into_stages
from tests.support.parallel_models import TOLERANCE
from tests.support.pipelined import build, samples
from tests.support.processes import together


def apart(compared: list[dict[str, Any]]) -> dict[str, Any]:
    """What deviates on any process by more than rounding."""
    assert compared[0]
    return {
        f"{case}, process {rank}": deviations
        for rank, answers in enumerate(compared)
        for case, deviations in answers.items()
        if not max(deviations.values()) <= TOLERANCE
    }


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found in one launch."""
    return together(2, "tests.support.pipelined:on_two", tmp_path_factory.mktemp("two"))


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one_does_with_every_schedule(of_two: list[dict[str, Any]]) -> None:
    assert apart([answer["compared"] for answer in of_two]) == {}
    for answer in of_two:
        facts = answer["facts"]
        first, again, other = facts["dropped"]
        assert first == again != other
        assert facts["scaled"] <= TOLERANCE
        assert facts["twice"] <= TOLERANCE
        assert facts["bf16"] <= 0.02
        assert facts["bf16 is not fp32"] > 1e-4
        assert "selective" in facts["refused"]
        assert "use full" in facts["refused"]


@pytest.mark.slow
def test_four_processes_train_as_one_does_with_copies_and_shares_of_stages(tmp_path: Path) -> None:
    answers = together(4, "tests.support.pipelined:on_four", tmp_path)
    assert apart([answer["compared"] for answer in answers]) == {}
    assert all("zero-bubble does not work with data" in answer["refused"] for answer in answers)


@pytest.mark.slow
def test_every_schedule_goes_with_options_of_memory_and_frozen_weights(of_two: list[dict[str, Any]]) -> None:
    assert apart([answer["with options"] for answer in of_two]) == {}


@pytest.mark.parametrize("name", ["llama", "bert", "roberta"])
def test_stages_hold_every_weight_once_under_its_name(name: str) -> None:
    model = build(name, blocks=5)
    stages = [build_stage(model, index, 3) for index in range(3)]
    names = [key for stage in stages for key, _ in stage.named_parameters()]
    assert sorted(names) == sorted(key for key, _ in model.named_parameters())
    assert all(weight is model.get_parameter(key) for stage in stages for key, weight in stage.named_parameters())


def test_blocks_are_divided_evenly_with_the_spare_ones_away_from_the_head() -> None:
    assert [len(blocks) for blocks in split_into_stages(build("llama", blocks=5), 2)] == [3, 2]
    assert [len(blocks) for blocks in split_into_stages(build("llama", blocks=8), 3)] == [3, 3, 2]
    assert [len(blocks) for blocks in split_into_stages(build("llama", blocks=5), 4)] == [1, 2, 1, 1]


def test_two_stages_of_a_process_are_one_module_with_the_names_of_the_model() -> None:
    model = build("bert", blocks=4)
    stages = [build_stage(model, index, 4) for index in (0, 2)]
    together_ = merge_stages([*stages])
    kept = {key for stage in stages for key, _ in stage.named_parameters()}
    assert {key for key, _ in together_.named_parameters()} == kept
    state = model.state_dict()
    assert together_.state_dict().keys() == kept
    together_.load_state_dict({key: torch.zeros_like(state[key]) for key in kept})
    assert not any(weight.any() for stage in stages for weight in stage.parameters())
    together_.eval()
    assert not any(module.training for stage in stages for module in stage.modules())


def test_a_batch_that_does_not_divide_is_filled_up_with_copies() -> None:
    batch = samples("bert", 5, 6, 0)
    parts = split_into_microbatches(batch.inputs, batch.target, 4)
    assert [part.num_real for part in parts] == [2, 2, 1, 0]
    assert {len(part.inputs["input_ids"]) for part in parts} == {2}
    ids = torch.cat([part.inputs["input_ids"][: part.num_real] for part in parts])
    assert torch.equal(ids, batch.inputs["input_ids"])
    assert torch.equal(torch.cat([part.target for part in parts if part.target is not None]), batch.target)


def test_what_cannot_be_cut_is_refused_with_the_reason_and_what_would_work() -> None:
    with pytest.raises(ArgumentError, match=r"4 blocks do not make 8 stages .*at most 4 stages"):
        split_into_stages(build("llama"), 8)
    with pytest.raises(ArgumentError, match=r"share the weights .*tie_word_embeddings: false in model\.config"):
        split_into_stages(build("llama", tie_word_embeddings=True), 2)
    with pytest.raises(ArgumentError, match=r"hf:gpt2 cannot be cut .*not where they are known .*llama, mistral"):
        split_into_stages(build("gpt2", n_embd=32, n_head=2, n_layer=4), 2)
    with pytest.raises(ArgumentError, match=r"hf:granite cannot be cut .*it does more with hidden states"):
        split_into_stages(build("granite", embedding_multiplier=3.0), 2)
    with pytest.raises(ArgumentError, match=r"hf:phi cannot be cut .*more than one stage needs .*final_layernorm"):
        split_into_stages(build("phi"), 2)
    with pytest.raises(ArgumentError, match=r"only text and language models .*training\.parallel\.data or \.shard"):
        split_into_stages(MLP(hidden=(8,)).build(TabularInputs(numeric=3, cardinalities=()), 2), 2)


def test_numbers_of_parts_that_a_schedule_cannot_take_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"microbatches: 3 with schedule 1f1b .*take at least 4, or schedule gpipe"):
        check_microbatches("1f1b", 3, 4)
    with pytest.raises(ArgumentError, match=r"microbatches: 5 with schedule interleaved .*take a multiple of 2"):
        check_microbatches("interleaved", 5, 2)
    check_microbatches("gpipe", 1, 4)
    check_microbatches("zero-bubble", 6, 2)


def test_a_process_holds_one_stage_or_two() -> None:
    assert [local_stage_indices("1f1b", place, 2) for place in range(2)] == [[0], [1]]
    assert [local_stage_indices("zero-bubble", place, 2) for place in range(2)] == [[0, 2], [1, 3]]
