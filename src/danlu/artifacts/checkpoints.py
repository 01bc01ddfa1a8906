"""Checkpoints of a run: complete or not there, verified when read, written beside the training that goes on.

    checkpoints/step-000400/
      weights.safetensors     the network
      *.safetensors           what else training needs to go on: the optimizer's state, an average of the weights
      judged.safetensors      only of the best: the weights that were judged, where they are not the network's own
      state.json              the step, figures, everything that is no tensor, SHA-256 of the other files

The newest few stay, and with each of them the best that was known at its step.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any

from danlu.artifacts.files import read_json, sha256, whole_folder, write_json
from danlu.artifacts.run import RunDirectory
from danlu.core.errors import ArtifactError

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS, JUDGED, STATE = "weights", "judged", "state.json"


def unique_tensors(model: "nn.Module") -> "dict[str, Tensor]":
    """A model's state by name; of weights that share memory the first alone, as safetensors wants it."""
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    kept: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        place = (value.data_ptr(), tuple(value.shape), tuple(value.stride()))
        if value.numel() and place in seen:
            continue
        seen.add(place)
        kept[name] = value
    return kept


def save_tensors(tensors: "dict[str, Tensor]", path: Path) -> None:
    """Write tensors as safetensors."""
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in tensors.items()}, str(path))
    path.chmod(0o644)  # safetensors makes files that nobody else may read


def load_tensors(path: Path) -> "dict[str, Tensor]":
    """Read tensors onto the host."""
    from safetensors.torch import load_file

    return load_file(path)


def load_weights(model: "nn.Module", path: Path) -> None:
    """Read weights into a model built alike.

    Raises:
        RuntimeError: names or shapes differ.
    """
    from safetensors.torch import load_model

    load_model(model, str(path), strict=True)


@dataclass(frozen=True)
class Snapshot:
    """A moment of training, apart from what goes on.

    Attributes:
        step: optimizer steps done.
        tensors: file name (without suffix) -> name -> tensor on the host that nothing else changes.
        facts: everything else that training needs to go on, as plain JSON.
        best_step: the step that was best by then, 0 when there was none; this one when it is itself.
    """

    step: int
    tensors: "dict[str, dict[str, Tensor]]"
    facts: dict[str, Any]
    best_step: int

    @property
    def is_best(self) -> bool:
        return self.step == self.best_step


def copied(tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Copies on the host, which training does not change any more."""
    return {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}


class Checkpoints:
    """Writes a run's checkpoints in a thread of its own, and forgets those that are no longer wanted.

    At most one is being written and one waits. One that waits gives way to a newer one, unless it is the best so far;
    then the newer one is left out, since another soon follows. Use as a context.
    """

    def __init__(self, run: RunDirectory, keep: int) -> None:
        self.run, self.keep = run, keep
        self._waiting: Snapshot | None = None
        self._writing = self._closed = False
        self._failure: Exception | None = None
        self._change = Condition()
        self._thread: Thread | None = None

    def __enter__(self) -> "Checkpoints":
        self._thread = Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()

    def save(self, snapshot: Snapshot) -> None:
        """Have a snapshot written soon.

        Raises:
            ArtifactError: an earlier one could not be written.
        """
        with self._change:
            self._raise_failure()
            if self._waiting is not None and self._waiting.is_best and not snapshot.is_best:
                return
            self._waiting = snapshot
            self._change.notify_all()

    def flush(self) -> None:
        """Wait until everything is written.

        Raises:
            ArtifactError: it could not be.
        """
        with self._change:
            self._change.wait_for(lambda: self._failure or not (self._waiting or self._writing))
            self._raise_failure()

    def save_now(self, snapshot: Snapshot) -> Path:
        """Write a snapshot after all others, and return its folder."""
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
            except Exception as error:  # is raised where training can say so
                self._failure = error
            with self._change:
                self._writing = False
                self._change.notify_all()

    def _write(self, snapshot: Snapshot) -> None:
        path = checkpoint_folder(self.run, snapshot.step)
        if path.exists():  # stopped right after a validation: this step is kept already
            return
        with whole_folder(path) as folder:
            for name, tensors in snapshot.tensors.items():
                save_tensors(tensors, folder / f"{name}.safetensors")
            files = {file.name: sha256(file) for file in sorted(folder.glob("*.safetensors"))}
            known = {"step": snapshot.step, "best_step": snapshot.best_step, "files": files}
            write_json(folder / STATE, {**known, **snapshot.facts})
        self._forget()

    def _forget(self) -> None:
        """Remove what is neither among the newest nor the best that one of these knew."""
        written = self.run.checkpoints()
        newest = written[-self.keep :]
        wanted = {checkpoint_folder(self.run, read_json(path / STATE)["best_step"]) for path in newest}
        for path in written:
            if path not in newest and path not in wanted:
                shutil.rmtree(path)


def checkpoint_folder(run: RunDirectory, step: int) -> Path:
    """Where the checkpoint of a step is kept."""
    return run.path / "checkpoints" / f"step-{step:06d}"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint, verified."""

    folder: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        return int(self.state["step"])

    @property
    def best_step(self) -> int:
        return int(self.state["best_step"])

    def tensors(self, name: str) -> "dict[str, Tensor]":
        """The tensors of one file; none where the checkpoint has no such file."""
        file = self.folder / f"{name}.safetensors"
        return load_tensors(file) if file.is_file() else {}

    @property
    def judged(self) -> Path:
        """The weights that were judged at this step."""
        own = self.folder / f"{JUDGED}.safetensors"
        return own if own.is_file() else self.folder / f"{WEIGHTS}.safetensors"


def open_checkpoint(run: RunDirectory, step: int) -> Checkpoint:
    """A checkpoint whose files are as they were written.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    folder = checkpoint_folder(run, step)
    state = read_json(folder / STATE)
    try:
        files = dict(state["files"])
    except (TypeError, KeyError, ValueError):
        raise ArtifactError(f"{folder / STATE}: is not a checkpoint's; it was damaged") from None
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise ArtifactError(f"{folder}: {name} is missing")
        if sha256(file) != expected:
            raise ArtifactError(f"{file}: differs from what was written (SHA-256)")
    return Checkpoint(folder, state)


def sound_checkpoints(run: RunDirectory) -> "Iterable[Checkpoint | ArtifactError]":
    """The run's checkpoints, newest first, or what is wrong with one; the best that each knew is looked at as well."""
    for folder in reversed(run.checkpoints()):
        try:
            found = open_checkpoint(run, int(folder.name.removeprefix("step-")))
            if found.best_step not in (0, found.step):
                open_checkpoint(run, found.best_step)
        except ArtifactError as error:
            yield error
            continue
        yield found
