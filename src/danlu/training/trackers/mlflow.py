"""MLflow: a run of the tracking server or database with the recipe as parameters, the metrics, and the paths of files.

Uses only its client, which sets no current experiment or run for the whole process.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from danlu.artifacts.files import read_json, write_json
from danlu.artifacts.run import RECIPE, REPORT, RunDirectory
from danlu.core.errors import DanluError
from danlu.training.callbacks import Callback, CallbackContext

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

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
                f"training.track.mlflow: cannot write to {self.uri}: {str(error).splitlines()[0]}"
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

    recipe = _recipe(run)
    name = str(recipe["name"])
    experiment = client.get_experiment_by_name(name)
    made = experiment.experiment_id if experiment is not None else client.create_experiment(name)
    run_id = str(client.create_run(made, run_name=run.path.name).info.run_id)
    folder = run.path.resolve()
    places = {"danlu.run": folder, "danlu.report": folder / REPORT, "danlu.bundle": run.model.resolve()}
    client.log_batch(run_id, tags=[RunTag(key, str(path)) for key, path in places.items()])
    parameters = [Param(key, str(value)[:MAX_PARAMETER_LENGTH]) for key, value in flatten(recipe)]
    for some in _chunks(parameters, MAX_PARAMETERS):
        client.log_batch(run_id, params=some)
    write_json(run.path / LINK_FILE, {"uri": client.tracking_uri, "run_id": run_id})
    return run_id


def _recipe(run: RunDirectory) -> Mapping[str, Any]:
    """Return the resolved recipe as plain values."""
    from ruamel.yaml import YAML

    values: Mapping[str, Any] = YAML(typ="safe", pure=True).load((run.path / RECIPE).read_text(encoding="utf-8"))
    return values


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values, as `training.optimizer.lr`; skip None and empty lists."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        elif value is not None and value != []:
            yield f"{prefix}{key}", value


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
