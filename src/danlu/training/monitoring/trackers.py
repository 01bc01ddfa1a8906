"""Trackers: callbacks that copy metrics to tools where people compare runs; and the choice of a run's callbacks.

In: the recipe's `training.track` and `training.callbacks`. Out: callbacks for the loop, in the order in which they are
called. A tracker writes a copy: reports and comparisons are made from metrics.jsonl.
"""

import inspect
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from danlu.artifacts.files import read_json, write_json
from danlu.artifacts.run import RunDirectory
from danlu.core.imports import load_dotted, require_extra
from danlu.errors import ArgumentError, DanluError
from danlu.recipe.sections.training import Training
from danlu.training.monitoring.callbacks import Callback, CallbackContext
from danlu.training.monitoring.hosted_trackers import SwanLab, WandB
from danlu.training.monitoring.tracked_run import flatten, read_resolved_recipe, run_places

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient
    from torch.utils.tensorboard import SummaryWriter

TENSORBOARD_FOLDER = "tensorboard"


class TensorBoard(Callback):
    """Write each figure of metrics.jsonl as a scalar under its own name.

    The event files lie in the run's folder `tensorboard`.
    """

    def __init__(self) -> None:
        self.writer: SummaryWriter | None = None

    def on_start(self, context: CallbackContext) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Hide records of steps that are now repeated.
        again = context.first_step + 1 if context.first_step else None
        self.writer = SummaryWriter(str(context.run.path / TENSORBOARD_FOLDER), purge_step=again)

    def on_log(self, record: dict[str, float]) -> None:
        assert self.writer is not None
        for name, value in record.items():
            if name != "step":
                self.writer.add_scalar(name, value, int(record["step"]))

    def on_end(self) -> None:
        if self.writer is not None:
            self.writer.close()


LINK_FILE = "mlflow.json"  # in the run's folder: the id of its MLflow run
FLUSH_EVERY_S = 5.0  # writing to a database takes tens of milliseconds, whether one figure or hundreds
MAX_PARAMETERS, MAX_METRICS = 100, 1000  # of one request
MAX_PARAMETER_LENGTH = 6000  # characters of a parameter


class MLflow(Callback):
    """Copy a run to MLflow as it progresses."""

    def __init__(self, uri: str) -> None:
        """Remember the tracking server.

        Args:
            uri: of a database or a server, e.g. `sqlite:///mlflow.db`.
        """
        self.uri = uri
        self.client: MlflowClient | None = None
        self.run_id = ""
        self.pending: list[Metric] = []
        self.next_flush = 0.0

    def on_start(self, context: CallbackContext) -> None:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        try:
            self.client = MlflowClient(tracking_uri=self.uri)
            self.run_id = _open_run(self.client, context.run, resumes=context.first_step > 0)
        except (MlflowException, OSError) as error:
            raise DanluError(
                f"training.track.mlflow: cannot write to {self.uri}: {str(error).splitlines()[0]}", code="DL508"
            ) from error

    def on_log(self, record: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now, step = int(time.time() * 1000), int(record["step"])
        self.pending += [Metric(name, value, now, step) for name, value in record.items() if name != "step"]
        if time.monotonic() >= self.next_flush:
            self._flush()

    def on_end(self) -> None:
        if self.client is None or not self.run_id:
            return
        self._flush()
        # The loop ends its callbacks while the error that stopped it propagates.
        self.client.set_terminated(self.run_id, "FINISHED" if sys.exc_info()[0] is None else "FAILED")

    def _flush(self) -> None:
        assert self.client is not None
        for metrics in _chunks(self.pending, MAX_METRICS):
            self.client.log_batch(self.run_id, metrics=metrics)
        self.pending, self.next_flush = [], time.monotonic() + FLUSH_EVERY_S


def _open_run(client: "MlflowClient", run: RunDirectory, resumes: bool) -> str:
    """Return MLflow's run of a run's folder; a new one unless training is resumed."""
    if resumes and (run.path / LINK_FILE).is_file():
        known = str(read_json(run.path / LINK_FILE)["run_id"])
        client.update_run(known, status="RUNNING")
        return known
    from mlflow.entities import Param, RunTag

    recipe = read_resolved_recipe(run)
    name = str(recipe["name"])
    experiment = client.get_experiment_by_name(name)
    made = experiment.experiment_id if experiment is not None else client.create_experiment(name)
    run_id = str(client.create_run(made, run_name=run.path.name).info.run_id)
    client.log_batch(run_id, tags=[RunTag(key, path) for key, path in run_places(run).items()])
    parameters = [Param(key, str(value)[:MAX_PARAMETER_LENGTH]) for key, value in flatten(recipe)]
    for some in _chunks(parameters, MAX_PARAMETERS):
        client.log_batch(run_id, params=some)
    write_json(run.path / LINK_FILE, {"uri": client.tracking_uri, "run_id": run_id})
    return run_id


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


CALLBACKS_KEY = "training.callbacks"
CALLBACK_METHODS = ("on_start", "on_step", "on_log", "on_end")


def build_callbacks(options: Training) -> tuple[Callback, ...]:
    """Build the trackers and the user's own callbacks.

    Raises:
        MissingExtra: a tracker's package is not installed.
        ArgumentError: a dotted name cannot be imported, or is not a callback.
    """
    check_trackers(options)
    chosen: list[Callback] = []
    if options.track.tensorboard:
        chosen.append(TensorBoard())
    if options.track.mlflow is not None:
        chosen.append(MLflow(options.track.mlflow))
    if options.track.wandb is not None:
        chosen.append(WandB(options.track.wandb))
    if options.track.swanlab is not None:
        chosen.append(SwanLab(options.track.swanlab))
    return (*chosen, *(_make_callback(text) for text in options.callbacks))


def check_trackers(options: Training) -> None:
    """Check everything that `build_callbacks` needs, before any work; imports no tracker.

    Raises:
        MissingExtra, ArgumentError: as there.
    """
    if options.track.tensorboard:
        require_extra("tensorboard", "training.track.tensorboard")
    if options.track.mlflow is not None:
        require_extra("mlflow", "training.track.mlflow")
        _check_mlflow_uri(options.track.mlflow)
    if options.track.wandb is not None:
        require_extra("wandb", "training.track.wandb")
    if options.track.swanlab is not None:
        require_extra("swanlab", "training.track.swanlab")
    for text in options.callbacks:
        _load_callback_class(text)


def _check_mlflow_uri(uri: str) -> None:
    """Reject folders: MLflow no longer writes to them, but reports it late."""
    if uri.startswith("file:") or "://" not in uri:
        raise ArgumentError(
            f"training.track.mlflow: {uri!r} is a folder, which MLflow no longer writes to; "
            "use a database such as sqlite:///mlflow.db, or a server as http://HOST:5000",
            code="DL508",
        )


def _make_callback(text: str) -> Callback:
    made: Callback = _load_callback_class(text)()
    return made


def _load_callback_class(text: str) -> type[Callback]:
    found: Any = load_dotted(text, CALLBACKS_KEY)
    lacking = [name for name in CALLBACK_METHODS if not callable(getattr(found, name, None))]
    if not inspect.isclass(found) or lacking:
        what = f"lacks {', '.join(lacking)}" if inspect.isclass(found) else "is not a class"
        raise ArgumentError(
            f"{CALLBACKS_KEY}: {text} {what}; inherit from danlu.Callback, which has all methods of a callback",
            code="DL412",
        )
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ArgumentError(f"{CALLBACKS_KEY}: {text} must take no arguments ({error})", code="DL412") from None
    return cast("type[Callback]", found)


__all__ = ["build_callbacks", "check_trackers"]
