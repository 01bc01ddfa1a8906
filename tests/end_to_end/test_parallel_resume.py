"""A run of several processes that was stopped goes on in any other layout, and comes to the same end."""

import os
import re
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu.artifacts.run import RunDirectory
from danlu.errors import ArgumentError, DanluError
from danlu.recipe.sections.training import Parallel
from danlu.training.distributed.layout import Layout, choose_layout, nearest_layout
from danlu.training.monitoring.callbacks import Callback, CallbackContext
from tests.end_to_end.test_data_parallel import TABLE, alike, with_training
from tests.support.processes import together

STOPPED_AT = 17
RECIPE = with_training(
    {**TABLE, "model": {**TABLE["model"], "hidden": [33, 17]}},  # sizes that no number of processes divides evenly
    optimizer={"name": "adamw", "lr": 1e-2},
    average={"ema": {"decay": 0.9}},
    checkpoint={"every_steps": 5},
)


class Stop(Callback):
    """Asks the run to stop, as a terminal or a cluster does, unless it goes on from a stop."""

    def on_start(self, setting: CallbackContext) -> None:
        self.goes_on = setting.first_step > 0

    def on_step(self, step: int, loss: object) -> None:
        if step == STOPPED_AT and not self.goes_on:
            os.kill(os.getpid(), signal.SIGTERM)


def train_until_stopped(recipe: dict[str, Any], output: str) -> str:
    try:
        danlu.train(recipe, output=output, name="run")
    except DanluError as error:
        return str(error)
    return "was not stopped"


def go_on(run: str) -> str:
    return str(danlu.resume(run).path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return danlu.train(RECIPE, output=tmp_path_factory.mktemp("whole"), name="run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "processes"),
    [
        pytest.param({"shard": 4}, (4, 2), marks=pytest.mark.slow),
        ({"shard": 2}, (2, 1)),
        pytest.param({}, (2, 3), marks=pytest.mark.slow),
    ],
    ids=["4-2", "2-1", "2-3"],
)
def test_a_stopped_run_goes_on_with_more_processes_or_fewer(
    tmp_path: Path, whole: RunDirectory, layout: dict[str, Any], processes: tuple[int, int]
) -> None:
    recipe = with_training(RECIPE, parallel=layout, callbacks=["tests.end_to_end.test_parallel_resume:Stop"])
    said = together(
        processes[0],
        "tests.end_to_end.test_parallel_resume:train_until_stopped",
        tmp_path / "first",
        recipe=recipe,
        output=str(tmp_path),
    )
    assert all(text.startswith(f"stopped at step {STOPPED_AT} of ") for text in said), said
    run = tmp_path / "run"
    pieces = sorted(file.name for file in (run / "checkpoints" / f"step-{STOPPED_AT:06d}").glob("weights*"))
    assert pieces == (
        [f"weights.rank-{rank:04}.safetensors" for rank in range(layout["shard"])]
        if layout
        else ["weights.safetensors"]
    )
    if processes[1] == 1:
        go_on(str(run))
    else:
        together(processes[1], "tests.end_to_end.test_parallel_resume:go_on", tmp_path / "second", run=str(run))
    alike(RunDirectory(run), whole)


def test_ways_must_multiply_to_the_processes() -> None:
    assert choose_layout(Parallel(shard=2), 8) == Layout(data=4, shard=2)
    with pytest.raises(ArgumentError, match=r"shard 2 x tensor 3 takes 6 processes, and there are 4"):
        choose_layout(Parallel(shard=2, tensor=3), 4)


def test_a_run_that_goes_on_adapts_its_ways_of_samples() -> None:
    assert nearest_layout(Parallel(shard=4), 3) == Layout(shard=3)
    assert nearest_layout(Parallel(shard=4, tensor=2), 16) == Layout(data=2, shard=4, tensor=2)
    assert nearest_layout(Parallel(shard=4, tensor=2), 1) == Layout()
    with pytest.raises(ArgumentError, match="tensor 2"):
        nearest_layout(Parallel(tensor=2), 3)


def wait_in_vain(recipe: dict[str, Any], output: str) -> str:
    """The process of rank 1 is late for the seventh step, by more than the others wait."""
    from danlu.training.distributed import parallel_context as group
    from danlu.training.step import TrainStep

    group.COLLECTIVE_TIMEOUT = timedelta(seconds=3)
    make, late = TrainStep.__call__, os.environ["RANK"] == "1"

    def made(self: TrainStep, *arguments: Any) -> Any:
        made.steps += 1  # type: ignore[attr-defined]
        if late and made.steps == 7:  # type: ignore[attr-defined]
            time.sleep(8)
        return make(self, *arguments)

    made.steps = 0  # type: ignore[attr-defined]
    TrainStep.__call__ = made  # type: ignore[method-assign]
    try:
        danlu.train(recipe, output=output, name="run")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nobody waited"


@pytest.mark.slow
def test_a_wait_in_vain_names_who_did_not_come_and_to_what(tmp_path: Path) -> None:
    said = together(
        2,
        "tests.end_to_end.test_parallel_resume:wait_in_vain",
        tmp_path / "first",
        recipe=with_training(RECIPE, parallel={}),
        output=str(tmp_path),
    )
    pattern = r"DanluError: rank 0 timed out in all_reduce at step 7: rank 1 was last at step \d, \d+ s ago"
    assert re.fullmatch(pattern, said[0]), said
