"""Trackers with a service of their own, Weights & Biases and SwanLab: each one callback.

Offline, both write below the run's folder and need no network; `wandb sync` and `swanlab sync` upload it later. A JSON
file in the run's folder holds the id there, so that a resumed training goes on with the same run.
"""

import sys
from typing import Any, Literal

from danlu.artifacts.files import read_json, write_json
from danlu.artifacts.run import RunDirectory
from danlu.errors import DanluError
from danlu.training.monitoring.callbacks import Callback, CallbackContext
from danlu.training.monitoring.tracked_run import flatten, read_resolved_recipe, run_places

WANDB_LINK, SWANLAB_LINK = "wandb.json", "swanlab.json"


class WandB(Callback):
    """Copy a run to Weights & Biases, in a project of the recipe's name."""

    def __init__(self, mode: Literal["online", "offline"]) -> None:
        self.mode = mode
        self.run: Any = None

    def on_start(self, context: CallbackContext) -> None:
        import wandb

        folder, known = context.run.path, _known_id(context, WANDB_LINK)
        try:
            self.run = wandb.init(
                mode=self.mode,
                project=_project(context.run),
                name=folder.name,
                dir=str(folder),
                id=known,
                resume=None if known is None else "allow",
                reinit="create_new",  # a run that the user has open in this process is another one
                config=_facts(context.run),
                settings=wandb.Settings(console="off", silent=True),
            )
        except Exception as error:  # its errors have no common base: network, login, usage
            raise _cannot_start("wandb", "wandb login", error) from error
        write_json(folder / WANDB_LINK, {"id": self.run.id, "mode": self.mode})

    def on_log(self, record: dict[str, float]) -> None:
        self.run.log(_figures(record), step=int(record["step"]))

    def on_end(self) -> None:
        if self.run is not None:
            self.run.finish(exit_code=int(_fails()))


class SwanLab(Callback):
    """Copy a run to SwanLab, in a project of the recipe's name."""

    def __init__(self, mode: Literal["online", "offline", "local"]) -> None:
        self.mode = mode
        self.run: Any = None

    def on_start(self, context: CallbackContext) -> None:
        import swanlab

        folder = context.run.path
        known = _known_id(context, SWANLAB_LINK) if self.mode == "online" else None  # elsewhere, it takes no id
        try:
            self.run = swanlab.init(
                mode=self.mode,
                project=_project(context.run),
                name=folder.name,
                log_dir=str(folder / "swanlab"),
                id=known,
                resume=None if known is None else "allow",
                config=_facts(context.run),
            )
        except Exception as error:  # its errors have no common base: network, login, usage
            raise _cannot_start("swanlab", "swanlab login", error) from error
        write_json(folder / SWANLAB_LINK, {"id": self.run.id, "mode": self.mode})

    def on_log(self, record: dict[str, float]) -> None:
        self.run.log(_figures(record), step=int(record["step"]))

    def on_end(self) -> None:
        if self.run is None:
            return
        if _fails():
            self.run.finish(state="crashed", error=str(sys.exc_info()[1]) or "stopped")
        else:
            self.run.finish(state="success")


def _known_id(context: CallbackContext, link: str) -> str | None:
    """Return the tracker's id of a run that is resumed."""
    file = context.run.path / link
    return str(read_json(file)["id"]) if context.first_step and file.is_file() else None


def _project(run: RunDirectory) -> str:
    return str(read_resolved_recipe(run)["name"])


def _facts(run: RunDirectory) -> dict[str, Any]:
    return {**dict(flatten(read_resolved_recipe(run))), **run_places(run)}


def _figures(record: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in record.items() if name != "step"}


def _fails() -> bool:
    """Return whether an error propagates: the loop ends its callbacks while it does."""
    return sys.exc_info()[0] is not None


def _cannot_start(tracker: str, login: str, error: Exception) -> DanluError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DanluError(
        f"training.track.{tracker}: cannot start a run: {reason}; run `{login}` and check the network, "
        f"or set training.track.{tracker}: offline",
        code="DL508",
    )
