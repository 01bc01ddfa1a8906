"""Checkpoints of a run: written atomically in the background while training continues, verified when read.

    checkpoints/step-000400/
      weights.safetensors     the network
      *.safetensors           what else training needs to resume: the optimizer's state, an average of the weights
      judged.safetensors      only of the best: the weights that were evaluated, if not the network's own
      state.json              the step, figures, all state that is no tensor, SHA-256 of the other files and of itself

Where processes hold shards of the weights, each writes its own: `weights.rank-0003.safetensors`. The newest few
checkpoints stay, and with each of them the best that was known at its step.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any

from danlu.artifacts.files import (
    atomic_folder,
    partial_folder,
    read_json,
    read_sealed,
    sha256,
    wait_for_file,
    write_json,
    write_sealed,
)
from danlu.artifacts.ownership import forget_replaced
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.state_dict_io import merge_states
from danlu.artifacts.tensors import StoredTensors, save_tensors
from danlu.core.distributed.env import DistEnv
from danlu.core.distributed.shards import ShardSpec, to_local
from danlu.errors import ArtifactError

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS, EVALUATED, STATE = "weights", "judged", "state.json"
STARTED = ".begun"  # in a folder that all processes may write to


def unique_state_dict(model: "nn.Module") -> "dict[str, Tensor]":
    """Return a state dict without duplicates: of weights that share memory, only the first.

    safetensors requires that. Names in the model's `frozen_params` are left out: they never change and are restored by
    building the model.
    """
    fixed: frozenset[str] = getattr(model, "frozen_params", frozenset())
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    kept: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if name in fixed:
            continue
        place = (to_local(value).data_ptr(), tuple(value.shape), tuple(value.stride()))
        if value.numel() and place in seen:
            continue
        seen.add(place)
        kept[name] = value
    return kept


def load_weights(model: "nn.Module", tensors: "Mapping[str, Tensor]") -> None:
    """Load weights into a model built alike; one of several that share memory is enough.

    Raises:
        RuntimeError: names or shapes differ.
    """
    expected = set(unique_state_dict(model))
    if expected != set(tensors):
        lacking, odd = sorted(expected - set(tensors)), sorted(set(tensors) - expected)
        raise RuntimeError(f"the weights do not match the model: missing {lacking[:3]}, unknown {odd[:3]}")
    model.load_state_dict(dict(tensors), strict=False)


@dataclass(frozen=True)
class Snapshot:
    """Hold the state of training at one moment, independent of later steps.

    Attributes:
        step: optimizer steps done.
        tensors: file name (without suffix) -> name -> host tensor that nothing else changes.
        metadata: everything else that training needs to resume, as plain JSON.
        best_step: the best step so far, perhaps this one; 0 if there is none.
        shards: file name -> name -> position of a tensor that is a shard.
    """

    step: int
    tensors: "dict[str, dict[str, Tensor]]"
    metadata: dict[str, Any]
    best_step: int
    shards: dict[str, dict[str, ShardSpec]] = field(default_factory=dict)

    @property
    def is_best(self) -> bool:
        return self.step == self.best_step


def cpu_copies(tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Copy local shards to host memory, detached from training."""
    return {name: to_local(value.detach()).to("cpu", copy=True) for name, value in tensors.items()}


class CheckpointManager:
    """Write a run's checkpoints in a background thread and delete old ones.

    At most one is being written and one waits. A waiting one gives way to a newer one, unless it is the best so far;
    then the newer one is skipped, since another soon follows. Use as a context.

    Args:
        run: where they are written.
        keep: how many of the newest are kept.
        env: the processes, if each writes its own shards; then no checkpoint is skipped, since all must write the
            same ones. Otherwise None, and the main process alone writes.
        find_lost_rank: describes a process that has exited, or returns None.
    """

    def __init__(
        self,
        run: RunDirectory,
        keep: int,
        env: DistEnv | None = None,
        find_lost_rank: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.run, self.keep, self.env, self._find_lost_rank = run, keep, env, find_lost_rank
        self._training_failed = False
        self._last_step = 0
        self._pending: Snapshot | None = None
        self._writing = self._closed = False
        self._failure: Exception | None = None
        self._condition = Condition()
        self._thread: Thread | None = None

    def __enter__(self) -> "CheckpointManager":
        self._thread = Thread(target=self._write_loop, name="checkpoints", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._condition:
            self._closed, self._training_failed = True, kind is not None
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()

    def save(self, snapshot: Snapshot) -> None:
        """Queue a snapshot for writing.

        Raises:
            ArtifactError: an earlier one could not be written.
        """
        with self._condition:
            if self.env is not None:
                if snapshot.step == self._last_step:  # stopped right after a validation: this step is saved already
                    return
                self._condition.wait_for(lambda: self._failure or self._pending is None)
            self._raise_failure()
            if self._pending is not None and self._pending.is_best and not snapshot.is_best:
                return
            self._pending, self._last_step = snapshot, snapshot.step
            self._condition.notify_all()

    def has(self, step: int) -> bool:
        """Return whether a step has a checkpoint."""
        return checkpoint_folder(self.run, step).exists()

    def flush(self) -> None:
        """Wait until everything is written.

        Raises:
            ArtifactError: it could not be.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._failure or not (self._pending or self._writing))
            self._raise_failure()

    def save_now(self, snapshot: Snapshot) -> Path:
        """Write a snapshot after all queued ones and return its folder."""
        self.flush()
        self.save(snapshot)
        self.flush()
        return checkpoint_folder(self.run, snapshot.step)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _write_loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._pending or self._closed)
                snapshot, self._pending = self._pending, None
                if snapshot is None or self._failure:
                    return
                self._writing = True
            try:
                self._write(snapshot)
            except Exception as error:  # raised later, in the training thread
                self._failure = error
            with self._condition:
                self._writing = False
                self._condition.notify_all()

    def _write(self, snapshot: Snapshot) -> None:
        path = checkpoint_folder(self.run, snapshot.step)
        if self.env is not None and not self.env.is_main:
            self._write_shards(snapshot, path)
            return
        if path.exists():  # stopped right after a validation: this step is kept already
            return
        with atomic_folder(path) as folder:
            if self.env is not None:
                (folder / STARTED).touch()
            metadata = {**snapshot.metadata, "files": _save_tensors(snapshot, folder, self.env)}
            if self.env is not None:
                metadata = _merge_ranks(metadata, folder, self.env, self._abort_reason)
            write_sealed(folder / STATE, {"step": snapshot.step, "best_step": snapshot.best_step, **metadata})
        self._prune()
        forget_replaced(self.run.path)

    def _abort_reason(self) -> str | None:
        """Return why another process will not write its shards any more, or None."""
        return "training failed in this process" if self._training_failed else self._find_lost_rank()

    def _write_shards(self, snapshot: Snapshot, path: Path) -> None:
        """Write this rank's shards and manifest into the folder that the main process creates."""
        assert self.env is not None
        folder = partial_folder(path)
        wait_for_file(folder / STARTED, self._abort_reason)
        metadata = {**snapshot.metadata, "files": _save_tensors(snapshot, folder, self.env)}
        write_json(folder / _rank_manifest(self.env.rank), metadata)
        wait_for_file(path / STATE, self._abort_reason)

    def _prune(self) -> None:
        """Delete checkpoints except the newest few and the best that each of these knew."""
        written = self.run.checkpoints()
        newest = written[-self.keep :]
        wanted = {checkpoint_folder(self.run, read_sealed(path / STATE)["best_step"]) for path in newest}
        for path in written:
            if path not in newest and path not in wanted:
                shutil.rmtree(path)


def _save_tensors(snapshot: Snapshot, folder: Path, env: DistEnv | None) -> dict[str, str]:
    """Write this process's tensors and return the SHA-256 of each file."""
    files: dict[str, str] = {}
    for name, tensors in snapshot.tensors.items():
        file = folder / (f"{name}.safetensors" if env is None else f"{name}.rank-{env.rank:04}.safetensors")
        save_tensors(tensors, file, snapshot.shards.get(name))
        files[file.name] = sha256(file)
    return files


def _merge_ranks(
    metadata: dict[str, Any], folder: Path, env: DistEnv, abort_reason: Callable[[], str | None]
) -> dict[str, Any]:
    """Merge the files and non-tensor state of all ranks into the main process's metadata."""
    for rank in range(1, env.world_size):
        manifest = folder / _rank_manifest(rank)
        wait_for_file(manifest, abort_reason)
        theirs = read_json(manifest)
        metadata["files"] |= theirs["files"]
        for name, rest in theirs["rest"].items():
            metadata["rest"][name] = merge_states(metadata["rest"][name], rest)
        manifest.unlink()
    (folder / STARTED).unlink()
    return metadata


def _rank_manifest(rank: int) -> str:
    return f".rank-{rank:04}.json"


def checkpoint_folder(run: RunDirectory, step: int) -> Path:
    """Return the folder of a step's checkpoint."""
    return run.path / "checkpoints" / f"step-{step:06d}"


@dataclass(frozen=True)
class Checkpoint:
    """Hold a complete, verified checkpoint."""

    folder: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.state["step"])

    @property
    def best_step(self) -> int:
        return int(self.state["best_step"])

    def tensors(self, name: str) -> StoredTensors:
        """Return the tensors of one file name, read on demand; empty if absent."""
        return StoredTensors(self.folder, name)

    @property
    def evaluated_weights(self) -> StoredTensors:
        """The weights that were evaluated at this step."""
        return self.tensors(EVALUATED) or self.tensors(WEIGHTS)


def open_checkpoint(run: RunDirectory, step: int) -> Checkpoint:
    """Open a checkpoint and verify its files.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    folder = checkpoint_folder(run, step)
    state = read_sealed(folder / STATE)
    try:
        files = dict(state["files"])
    except (TypeError, KeyError, ValueError):
        raise ArtifactError(
            f"{folder / STATE}: is not a checkpoint's state; the file is damaged", code="DL303"
        ) from None
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise ArtifactError(f"{folder}: {name} is missing", code="DL303")
        if sha256(file) != expected:
            raise ArtifactError(f"{file}: differs from what was written (SHA-256)", code="DL305")
    return Checkpoint(folder, state)


def open_checkpoint_unchecked(run: RunDirectory, step: int) -> Checkpoint:
    """Open a checkpoint that another process has verified already."""
    folder = checkpoint_folder(run, step)
    return Checkpoint(folder, read_sealed(folder / STATE))


def valid_checkpoints(run: RunDirectory) -> "Iterable[Checkpoint | ArtifactError]":
    """Yield the run's checkpoints, newest first, or the error of a damaged one.

    The best checkpoint that each knew is verified too.
    """
    for folder in reversed(run.checkpoints()):
        try:
            found = open_checkpoint(run, int(folder.name.removeprefix("step-")))
            if found.best_step not in (0, found.step):
                open_checkpoint(run, found.best_step)
        except ArtifactError as error:
            yield error
            continue
        yield found
