"""Checkpoints of a run: complete or not there, the best and the last kept."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.files import read_json, whole_folder, write_json
from danlu.artifacts.run import RunDirectory

if TYPE_CHECKING:
    from torch import nn


def save_weights(model: "nn.Module", path: Path) -> None:
    """Write weights as safetensors; weights that share memory are stored once."""
    from safetensors.torch import save_model

    save_model(model, str(path))
    path.chmod(0o644)  # safetensors makes files that nobody else may read


def load_weights(model: "nn.Module", path: Path) -> None:
    """Read weights into a model built alike.

    Raises:
        RuntimeError: names or shapes differ.
    """
    from safetensors.torch import load_model

    load_model(model, str(path), strict=True)


class Checkpoints:
    """Writes a run's checkpoints and forgets those that are neither the best nor the last."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.best: Path | None = None

    def write(self, model: "nn.Module", step: int, state: dict[str, Any], best: bool) -> Path:
        """Write a checkpoint of this step and return its folder.

        Args:
            state: what is known at this step, kept beside the weights as JSON.
            best: whether it is the best so far.
        """
        path = self.run.path / "checkpoints" / f"step-{step:06d}"
        if path.exists() and not best:  # stopped right after a validation: this step is kept already
            return path
        with whole_folder(path) as folder:
            save_weights(model, folder / "weights.safetensors")
            write_json(folder / "state.json", {**state, "step": step, "best": best})
        if best:
            self.best = path
        for old in self.run.checkpoints():
            if old not in (path, self.best):
                shutil.rmtree(old)
        return path

    def load_best(self, model: "nn.Module") -> dict[str, Any]:
        """Read the best weights back and return what was known then."""
        assert self.best is not None, "training wrote no checkpoint"
        load_weights(model, self.best / "weights.safetensors")
        return dict(read_json(self.best / "state.json"))
