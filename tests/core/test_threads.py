"""Threads: as many as there are cores to use, and no batch depends on how many."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from danlu.core.threads import num_concurrent_batches, plan_threads, use_threads
from danlu.experiment.data_context import fit_preprocessing, load_data
from danlu.experiment.loaders import build_prepared_dataset, build_train_loader
from danlu.recipe.load import as_recipe
from danlu.recipe.sections.training import Threads


def test_left_to_itself_a_recipe_takes_the_cores_that_it_may_use() -> None:
    assert plan_threads(Threads(), cores=6, environment={}).compute == 6
    assert plan_threads(Threads(), cores=6, environment={}).data == 6


def test_omp_num_threads_is_obeyed_but_not_beyond_the_cores() -> None:
    compute = [
        plan_threads(Threads(), cores=6, environment={"OMP_NUM_THREADS": said}).compute
        for said in ("2", "2,1", "64", "many", "0")
    ]
    assert compute == [2, 2, 6, 6, 6]
    assert plan_threads(Threads(), cores=6, environment={"OMP_NUM_THREADS": "2"}).data == 6


def test_a_recipe_goes_before_everything() -> None:
    plan = plan_threads(Threads(compute=3, data=9), cores=2, environment={"OMP_NUM_THREADS": "1"})
    assert (plan.compute, plan.data) == (3, 9)


def test_torch_is_given_the_threads_of_the_plan() -> None:
    usual = torch.get_num_threads()
    try:
        use_threads(plan_threads(Threads(compute=3)))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(usual)


def test_two_batches_are_made_at_once_and_more_where_there_are_very_many_threads() -> None:
    assert [num_concurrent_batches(threads) for threads in (1, 2, 8, 16, 64)] == [1, 2, 2, 3, 6]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches_are_the_same_whatever_the_number_of_threads(
    image_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    steps = [{"rotate": 20}, "flip", {"color": {"brightness": 0.3}}, {"noise": 0.02}]
    opened = load_data(as_recipe({**image_recipe, "data": {**image_recipe["data"], "augment": steps}}))
    prepared, cpu = fit_preprocessing(opened), torch.device("cpu")
    usual, some = (build_train_loader(opened, prepared, cpu, given).loader for given in (None, threads))
    assert some.dataset.threads == threads
    assert some.dataset.columns[0].threads._max_workers == threads  # type: ignore[attr-defined]
    for _, one, other in zip(range(20), usual.batches(16, cpu), some.batches(16, cpu), strict=False):
        assert np.array_equal(one.rows, other.rows)
        assert torch.equal(one.target, other.target)
        assert torch.equal(one.inputs["image"], other.inputs["image"])
    validation = build_prepared_dataset(opened, prepared, opened.splits.validation).cache(cpu, threads)
    everything = torch.cat([inputs["image"] for _, inputs, _ in validation.iter_batches(16, cpu)])
    whole = build_prepared_dataset(opened, prepared, opened.splits.validation)
    assert torch.equal(everything, whole.take(np.arange(len(whole)), cpu)[0]["image"])


def test_decoding_takes_the_threads_that_it_is_given(image_recipe: dict[str, Any]) -> None:
    from danlu.data.images import store

    opened = load_data(as_recipe(image_recipe))
    examples = build_prepared_dataset(opened, fit_preprocessing(opened), opened.splits.train)
    pixels = []
    with pytest.MonkeyPatch.context() as patch:
        from danlu.data.images import column as feature

        patch.setattr(feature, "cache_pixels", lambda decoded: pixels.append(decoded) or store.cache_pixels(decoded))
        examples.cache(torch.device("cpu"), threads=3)
    assert pixels[0].threads._max_workers == 3
