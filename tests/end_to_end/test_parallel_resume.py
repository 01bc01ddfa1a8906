"""A run of several processes that was stopped goes on in any other layout, and comes to the same end."""

import os
import re
import signal
import time
from dataclasses import dataclass
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


def train_until_stopped(recipe: dict[str, Any], output: str, name: str) -> str:
    try:
        danlu.train(recipe, output=output, name=name)
    except DanluError as error:
        return str(error)
    return "was not stopped"


def go_on_and_train(runs: list[str], layouts: dict[str, dict[str, Any]], output: str) -> dict[str, str]:
    """In one of several processes: end runs that were stopped, then train others until they are; what is said then."""
    for run in runs:
        danlu.resume(run)
    recipes = {
        name: with_training(RECIPE, parallel=layout, callbacks=["tests.end_to_end.test_parallel_resume:Stop"])
        for name, layout in layouts.items()
    }
    return {name: train_until_stopped(recipe, output, name) for name, recipe in recipes.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return danlu.train(RECIPE, output=tmp_path_factory.mktemp("whole"), name="run")


# Run -> its layout, and how many processes begin it and go on with it.
STOPPED: dict[str, tuple[dict[str, Any], int, int]] = {
    "4-2": ({"shard": 4}, 4, 2),
    "2-1": ({"shard": 2}, 2, 1),
    "2-3": ({}, 2, 3),
}


@dataclass(frozen=True)
class GoneOn:
    """Each run that was stopped, by name: what every process said then, the pieces of its weights, and its end."""

    folder: Path
    said: dict[str, list[str]]
    pieces: dict[str, list[str]]

    def end(self, name: str) -> RunDirectory:
        return RunDirectory(self.folder / name)


@pytest.fixture(scope="module")
def gone_on(tmp_path_factory: pytest.TempPathFactory) -> GoneOn:
    """Launches of four, two and three processes, each of which first ends what those before began."""
    found = GoneOn(tmp_path_factory.mktemp("stopped"), {}, {})
    for processes in (4, 2, 3, 1):
        ended = [name for name, (_, _, after) in STOPPED.items() if after == processes]
        begun = {name: layout for name, (layout, before, _) in STOPPED.items() if before == processes}
        runs = [str(found.folder / name) for name in ended]
        if processes == 1:
            go_on_and_train(runs, {}, "")
            continue
        answers = together(
            processes,
            "tests.end_to_end.test_parallel_resume:go_on_and_train",
            found.folder / f"words-{processes}",
            runs=runs,
            layouts=begun,
            output=str(found.folder),
        )
        for name in begun:
            found.said[name] = [answer[name] for answer in answers]
            kept = found.folder / name / "checkpoints" / f"step-{STOPPED_AT:06d}"
            found.pieces[name] = sorted(file.name for file in kept.glob("weights*"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", STOPPED)
def test_a_stopped_run_goes_on_with_more_processes_or_fewer(gone_on: GoneOn, whole: RunDirectory, name: str) -> None:
    layout, before, _ = STOPPED[name]
    assert len(gone_on.said[name]) == before
    assert all(text.startswith(f"stopped at step {STOPPED_AT} of ") for text in gone_on.said[name]), gone_on.said
    assert gone_on.pieces[name] == (
        [f"weights.rank-{rank:04}.safetensors" for rank in range(layout["shard"])]
        if layout
        else ["weights.safetensors"]
    )
    alike(gone_on.end(name), whole)


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
