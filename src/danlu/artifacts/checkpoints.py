"""Checkpoints of a run: written atomically in the background while training continues, verified when read.

    checkpoints/step-000400/
      weights.safetensors     the network
      *.safetensors           what else training needs to resume: the optimizer's state, an average of the weights
      judged.safetensors      only of the best: the weights that were evaluated, if not the network's own
      state.json              the step, figures, all state that is no tensor, SHA-256 of the other files

Where processes hold shards of the weights, each writes its own: `weights.rank-0003.safetensors`. The newest few
checkpoints stay, and with each of them the best that was known at its step.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any

from danlu.artifacts.files import partial_folder, read_json, sha256, wait_for_file, whole_folder, write_json
from danlu.artifacts.run import RunDirectory
from danlu.artifacts.tensors import StoredTensors, save_tensors
from danlu.artifacts.trees import merged_trees
from danlu.core.errors import ArtifactError
from danlu.core.pieces import Piece, held
from danlu.core.world import World

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS, JUDGED, STATE = "weights", "judged", "state.json"
BEGUN = ".begun"  # in a folder that all processes may write to


def unique_tensors(model: "nn.Module") -> "dict[str, Tensor]":
    """Return a state dict without duplicates: of weights that share memory, only the first.

    safetensors requires that. Names in the model's `fixed` are left out: they never change and are restored by building
    the model.
    """
    fixed: frozenset[str] = getattr(model, "fixed", frozenset())
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    kept: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if name in fixed:
            continue
        place = (held(value).data_ptr(), tuple(value.shape), tuple(value.stride()))
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
    expected = set(unique_tensors(model))
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
    facts: dict[str, Any]
    best_step: int
    pieces: dict[str, dict[str, Piece]] = field(default_factory=dict)

    @property
    def is_best(self) -> bool:
        return self.step == self.best_step


def copied(tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Copy local shards to host memory, detached from training."""
    return {name: held(value.detach()).to("cpu", copy=True) for name, value in tensors.items()}


class Checkpoints:
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
        together: World | None = None,
        lost: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.run, self.keep, self.together, self._lost = run, keep, together, lost
        self._abandoned = False
        self._last = 0
        self._waiting: Snapshot | None = None
        self._writing = self._closed = False
        self._failure: Exception | None = None
        self._change = Condition()
        self._thread: Thread | None = None

    def __enter__(self) -> "Checkpoints":
        self._thread = Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._change:
            self._closed, self._abandoned = True, kind is not None
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()

    def save(self, snapshot: Snapshot) -> None:
        """Queue a snapshot for writing.

        Raises:
            ArtifactError: an earlier one could not be written.
        """
        with self._change:
            if self.together is not None:
                if snapshot.step == self._last:  # stopped right after a validation: this step is saved already
                    return
                self._change.wait_for(lambda: self._failure or self._waiting is None)
            self._raise_failure()
            if self._waiting is not None and self._waiting.is_best and not snapshot.is_best:
                return
            self._waiting, self._last = snapshot, snapshot.step
            self._change.notify_all()

    def has(self, step: int) -> bool:
        """Return whether a step has a checkpoint."""
        return checkpoint_folder(self.run, step).exists()

    def flush(self) -> None:
        """Wait until everything is written.

        Raises:
            ArtifactError: it could not be.
        """
        with self._change:
            self._change.wait_for(lambda: self._failure or not (self._waiting or self._writing))
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

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._closed)
                snapshot, self._waiting = self._waiting, None
                if snapshot is None or self._failure:
                    return
                self._writing = True
            try:
                self._write(snapshot)
            except Exception as error:  # raised later, in the training thread
                self._failure = error
            with self._change:
                self._writing = False
                self._change.notify_all()

    def _write(self, snapshot: Snapshot) -> None:
        path = checkpoint_folder(self.run, snapshot.step)
        if self.together is not None and not self.together.is_main:
            self._write_beside(snapshot, path)
            return
        if path.exists():  # stopped right after a validation: this step is kept already
            return
        with whole_folder(path) as folder:
            if self.together is not None:
                (folder / BEGUN).touch()
            facts = {**snapshot.facts, "files": _save(snapshot, folder, self.together)}
            if self.together is not None:
                facts = _joined(facts, folder, self.together, self._gone)
            write_json(folder / STATE, {"step": snapshot.step, "best_step": snapshot.best_step, **facts})
        self._forget()

    def _gone(self) -> str | None:
        """Return why another process will not write its shards any more, or None."""
        return "training failed in this process" if self._abandoned else self._lost()

    def _write_beside(self, snapshot: Snapshot, path: Path) -> None:
        """Write this rank's shards and manifest into the folder that the main process creates."""
        assert self.together is not None
        folder = partial_folder(path)
        wait_for_file(folder / BEGUN, self._gone)
        facts = {**snapshot.facts, "files": _save(snapshot, folder, self.together)}
        write_json(folder / _word(self.together.rank), facts)
        wait_for_file(path / STATE, self._gone)

    def _forget(self) -> None:
        """Delete checkpoints except the newest few and the best that each of these knew."""
        written = self.run.checkpoints()
        newest = written[-self.keep :]
        wanted = {checkpoint_folder(self.run, read_json(path / STATE)["best_step"]) for path in newest}
        for path in written:
            if path not in newest and path not in wanted:
                shutil.rmtree(path)


def _save(snapshot: Snapshot, folder: Path, together: World | None) -> dict[str, str]:
    """Write this process's tensors and return the SHA-256 of each file."""
    files: dict[str, str] = {}
    for name, tensors in snapshot.tensors.items():
        file = folder / (f"{name}.safetensors" if together is None else f"{name}.rank-{together.rank:04}.safetensors")
        save_tensors(tensors, file, snapshot.pieces.get(name))
        files[file.name] = sha256(file)
    return files


def _joined(facts: dict[str, Any], folder: Path, together: World, gone: Callable[[], str | None]) -> dict[str, Any]:
    """Merge the files and non-tensor state of all ranks into the main process's metadata."""
    for rank in range(1, together.size):
        word = folder / _word(rank)
        wait_for_file(word, gone)
        theirs = read_json(word)
        facts["files"] |= theirs["files"]
        for name, rest in theirs["rest"].items():
            facts["rest"][name] = merged_trees(facts["rest"][name], rest)
        word.unlink()
    (folder / BEGUN).unlink()
    return facts


def _word(rank: int) -> str:
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
    def judged(self) -> StoredTensors:
        """The weights that were evaluated at this step."""
        return self.tensors(JUDGED) or self.tensors(WEIGHTS)


def open_checkpoint(run: RunDirectory, step: int) -> Checkpoint:
    """Open a checkpoint and verify its files.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    folder = checkpoint_folder(run, step)
    state = read_json(folder / STATE)
    try:
        files = dict(state["files"])
    except (TypeError, KeyError, ValueError):
        raise ArtifactError(f"{folder / STATE}: is not a checkpoint's state; the file is damaged") from None
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise ArtifactError(f"{folder}: {name} is missing")
        if sha256(file) != expected:
            raise ArtifactError(f"{file}: differs from what was written (SHA-256)")
    return Checkpoint(folder, state)


def trusted_checkpoint(run: RunDirectory, step: int) -> Checkpoint:
    """Open a checkpoint that another process has verified already."""
    folder = checkpoint_folder(run, step)
    return Checkpoint(folder, read_json(folder / STATE))


def sound_checkpoints(run: RunDirectory) -> "Iterable[Checkpoint | ArtifactError]":
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
