"""Which checkpoints stay, which one is gone on from, and what is kept of the best."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from danlu.artifacts.checkpoints import (
    Checkpoint,
    CheckpointManager,
    Snapshot,
    load_weights,
    open_checkpoint,
    unique_state_dict,
    valid_checkpoints,
)
from danlu.artifacts.run import RunDirectory
from danlu.errors import ArtifactError


def snapshot(step: int, best: int, judged: bool = False) -> Snapshot:
    tensors = {"weights": {"w": torch.tensor([float(step)])}}
    if judged:
        tensors["judged"] = {"w": torch.tensor([float(-step)])}
    return Snapshot(step, tensors, {"note": step}, best)


def written(folder: Path, steps: list[tuple[int, int]], keep: int = 2) -> RunDirectory:
    """A run with checkpoints of (step, best step by then), written one after the other."""
    (folder / "checkpoints").mkdir()
    run = RunDirectory(folder)
    with CheckpointManager(run, keep) as checkpoints:
        for step, best in steps:
            checkpoints.save_now(snapshot(step, best))
    return run


def kept(run: RunDirectory) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in run.checkpoints()]


@pytest.mark.parametrize(
    ("steps", "keep", "expected"),
    [
        ([(1, 1), (2, 2), (3, 3), (4, 4)], 2, [3, 4]),
        ([(1, 1), (2, 1), (3, 1), (4, 1)], 2, [1, 3, 4]),
        ([(1, 1), (2, 2), (3, 2), (4, 2)], 1, [2, 4]),
        ([(1, 1), (2, 1), (3, 3), (4, 3)], 2, [3, 4]),
        ([(1, 1), (2, 1), (3, 1), (4, 4)], 2, [1, 3, 4]),  # the third still knows the first as its best
        ([(1, 0), (2, 0), (3, 0)], 2, [2, 3]),  # nothing was best
        ([(1, 1), (2, 2), (3, 3)], 9, [1, 2, 3]),
        ([(5, 5), (10, 5), (100, 5), (1000, 5)], 2, [5, 100, 1000]),  # ordered as numbers
    ],
)
def test_the_newest_stay_and_the_best_that_each_knew(
    steps: list[tuple[int, int]], keep: int, expected: list[int], tmp_path: Path
) -> None:
    assert kept(written(tmp_path, steps, keep)) == expected


def steps_of(run: RunDirectory) -> list[int | str]:
    return [found.step if isinstance(found, Checkpoint) else "damaged" for found in valid_checkpoints(run)]


def test_the_newest_sound_one_comes_first(tmp_path: Path) -> None:
    run = written(tmp_path, [(1, 1), (2, 2), (3, 3)], keep=3)
    assert steps_of(run) == [3, 2, 1]
    (run.path / "checkpoints" / "step-000003" / "weights.safetensors").write_bytes(b"cut off")
    assert steps_of(run) == ["damaged", 2, 1]
    (run.path / "checkpoints" / "step-000002" / "weights.safetensors").unlink()
    assert steps_of(run) == ["damaged", "damaged", 1]


def test_a_checkpoint_whose_best_is_damaged_is_not_sound(tmp_path: Path) -> None:
    run = written(tmp_path, [(1, 1), (2, 1), (3, 3)], keep=3)
    (run.path / "checkpoints" / "step-000001" / "weights.safetensors").write_bytes(b"cut off")
    assert steps_of(run) == [3, "damaged", "damaged"]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    run = written(tmp_path, [(1, 1)])
    folder = run.path / "checkpoints" / "step-000001"
    (folder / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="SHA-256"):
        open_checkpoint(run, 1)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"weights\.safetensors is missing"):
        open_checkpoint(run, 1)
    (folder / "state.json").write_text(json.dumps({"step": 1}))
    with pytest.raises(ArtifactError, match="damaged"):
        open_checkpoint(run, 1)


def test_the_weights_that_were_judged_come_before_the_networks_own(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    run = RunDirectory(tmp_path)
    with CheckpointManager(run, 3) as checkpoints:
        checkpoints.save_now(snapshot(1, 1, judged=True))
        checkpoints.save_now(snapshot(2, 1))
    assert open_checkpoint(run, 1).evaluated_weights["w"].tolist() == [-1.0]
    assert open_checkpoint(run, 1).tensors("weights")["w"].tolist() == [1.0]
    assert open_checkpoint(run, 2).evaluated_weights["w"].tolist() == [2.0]
    assert (open_checkpoint(run, 2).step, open_checkpoint(run, 2).best_step) == (2, 1)


def test_a_best_one_that_waits_does_not_give_way(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    checkpoints = CheckpointManager(run, 3)  # no thread writes yet
    checkpoints.save(snapshot(1, 0))
    checkpoints.save(snapshot(2, 2))  # takes the place of the first
    assert checkpoints._pending is not None and checkpoints._pending.step == 2
    checkpoints.save(snapshot(3, 2))  # not better: left out
    assert checkpoints._pending.step == 2
    checkpoints.save(snapshot(4, 4))
    assert checkpoints._pending.step == 4


def test_runs_are_rewound_to_a_step(tmp_path: Path) -> None:
    run = written(tmp_path, [(1, 1), (2, 2), (3, 3)], keep=3)
    for step in (1, 2, 3):
        run.log({"step": step})
    run.rollback(2)
    assert kept(run) == [1, 2] and [line["step"] for line in run.metrics()] == [1, 2]


class Tied(nn.Module):
    """Two layers of one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight


def test_of_shared_weights_the_first_is_kept() -> None:
    model = Tied()
    assert list(unique_state_dict(model)) == ["first.weight"]
    load_weights(model, {"first.weight": torch.ones(2, 2)})
    assert model.second.weight.tolist() == [[1, 1], [1, 1]]
    with pytest.raises(RuntimeError, match="missing"):
        load_weights(model, {"second.weight": torch.ones(2, 2)})
