"""Trackers and the user's own callbacks: chosen by the recipe, and what they write read back."""

import importlib.util
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import nn

from danlu.artifacts.files import read_json
from danlu.artifacts.run import RunDirectory
from danlu.core.imports import load_dotted
from danlu.errors import ArgumentError, DanluError, MissingExtra
from danlu.recipe.sections.training import Track, Training
from danlu.training.monitoring.callbacks import Callback, CallbackContext
from danlu.training.monitoring.trackers import build_callbacks, check_trackers

RECIPE = """\
name: wine
training:
  epochs: 3
  optimizer: {name: adamw, lr: 1e-3}
  early_stopping:
data:
  source: wine.csv
  augment: []
  missing_values: [NA, "?"]
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    folder = tmp_path / "runs" / "wine-1"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    return RunDirectory(folder)


def record(callback: Callback, run: RunDirectory, first_step: int, steps: range) -> None:
    callback.on_start(CallbackContext(run, nn.Linear(1, 1), Training(), steps=10, first_step=first_step))
    for step in steps:
        callback.on_log({"step": step, "epoch": step / 2, "train/loss": 1 / step, "lr": 1e-3})
    callback.on_log({"step": steps[-1], "epoch": steps[-1] / 2, "validation/loss": 0.25})


# TensorBoard


def test_tensorboard_shows_every_figure_once_even_after_a_resume(run: RunDirectory) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first_step, steps in ((0, range(1, 5)), (2, range(3, 7))):
        (callback,) = build_callbacks(Training(track=Track(tensorboard=True)))
        record(callback, run, first_step, steps)
        callback.on_end()
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["epoch", "train/loss", "lr", "validation/loss"]
    losses = [(event.step, round(event.value, 4)) for event in events.Scalars("train/loss")]
    assert losses == [(step, round(1 / step, 4)) for step in range(1, 7)]
    assert [(event.step, event.value) for event in events.Scalars("validation/loss")] == [(6, 0.25)]


# MLflow


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Making the tables takes seconds, so it is done once."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.mark.slow
@pytest.mark.training
def test_mlflow_gets_recipe_metrics_and_places_and_goes_on_with_the_same_run(run: RunDirectory, database: str) -> None:
    from mlflow.tracking import MlflowClient

    (callback,) = build_callbacks(Training(track=Track(mlflow=database)))
    record(callback, run, 0, range(1, 4))
    callback.on_end()
    client = MlflowClient(tracking_uri=database)
    experiment = client.get_experiment_by_name("wine")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "wine-1"
    assert found.info.status == "FINISHED"
    assert found.data.params == {
        "name": "wine",
        "training.epochs": "3",
        "training.optimizer.name": "adamw",
        "training.optimizer.lr": "0.001",
        "data.source": "wine.csv",
        "data.missing_values": "['NA', '?']",
    }
    assert found.data.metrics == {"epoch": 1.5, "train/loss": pytest.approx(1 / 3), "lr": 1e-3, "validation/loss": 0.25}
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(step, pytest.approx(1 / step)) for step in (1, 2, 3)]
    places = {key: value for key, value in found.data.tags.items() if key.startswith("danlu.")}
    assert places == {
        "danlu.run": str(run.path),
        "danlu.report": str(run.path / "report.html"),
        "danlu.bundle": str(run.path / "model"),
    }

    (again,) = build_callbacks(Training(track=Track(mlflow=database)))
    record(again, run, 3, range(4, 6))
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        again.on_end()
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FAILED"
    assert len(client.get_metric_history(found.info.run_id, "train/loss")) == 5


# Weights & Biases, SwanLab


class StandIn(ModuleType):
    """A module that stands in for wandb or swanlab: its `init` is noted and gives a run that notes all calls."""

    def __init__(self, name: str, fails: Exception | None = None) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)  # find_spec asks for it
        self.opened: list[dict[str, Any]] = []
        self.calls: list[tuple[str, Any]] = []
        self.id = "abc123"
        self.fails = fails

    def Settings(self, **options: Any) -> dict[str, Any]:
        return options

    def init(self, **options: Any) -> "StandIn":
        if self.fails is not None:
            raise self.fails
        self.opened.append(options)
        return self

    def log(self, figures: dict[str, float], step: int) -> None:
        self.calls.append(("log", (step, figures)))

    def finish(self, **how: Any) -> None:
        self.calls.append(("finish", how))


FACTS = {
    "name": "wine",
    "training.epochs": 3,
    "training.optimizer.name": "adamw",
    "training.optimizer.lr": 1e-3,
    "data.source": "wine.csv",
    "data.missing_values": ["NA", "?"],
}


@pytest.mark.parametrize(
    ("name", "track", "folder", "success", "failure", "resumed"),
    [
        ("wandb", Track(wandb="online"), "", {"exit_code": 0}, {"exit_code": 1}, "abc123"),
        ("wandb", Track(wandb="offline"), "", {"exit_code": 0}, {"exit_code": 1}, "abc123"),
        *(
            (
                "swanlab",
                Track(swanlab=mode),
                "swanlab",
                {"state": "success"},
                {"state": "crashed", "error": "no memory"},
                "abc123" if mode == "online" else None,
            )
            for mode in ("online", "offline", "local")
        ),
    ],
)
def test_services_get_recipe_places_and_figures_and_go_on_with_the_same_run(
    run: RunDirectory,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    track: Track,
    folder: str,
    success: dict[str, Any],
    failure: dict[str, Any],
    resumed: str | None,
) -> None:
    """With a small module in place of wandb and swanlab, which notes how it is called."""
    service = StandIn(name)
    monkeypatch.setitem(sys.modules, name, service)
    (callback,) = build_callbacks(Training(track=track))
    record(callback, run, 0, range(1, 3))
    callback.on_end()
    (opened,) = service.opened
    assert (opened["mode"], opened["project"], opened["name"]) == (getattr(track, name), "wine", "wine-1")
    assert (opened["id"], opened["resume"]) == (None, None)
    assert opened["dir" if name == "wandb" else "log_dir"] == str(run.path / folder)
    places = {
        "danlu.run": str(run.path),
        "danlu.report": str(run.path / "report.html"),
        "danlu.bundle": str(run.path / "model"),
    }
    assert opened["config"] == FACTS | places
    assert service.calls == [
        ("log", (1, {"epoch": 0.5, "train/loss": 1.0, "lr": 1e-3})),
        ("log", (2, {"epoch": 1.0, "train/loss": 0.5, "lr": 1e-3})),
        ("log", (2, {"epoch": 1.0, "validation/loss": 0.25})),
        ("finish", success),
    ]

    (again,) = build_callbacks(Training(track=track))
    record(again, run, 2, range(3, 4))
    assert (service.opened[1]["id"], service.opened[1]["resume"]) == (resumed, resumed and "allow")
    try:
        raise MemoryError("no memory")
    except MemoryError:
        again.on_end()
    assert service.calls[-1] == ("finish", failure)


@pytest.mark.parametrize(("name", "track"), [("wandb", Track(wandb="online")), ("swanlab", Track(swanlab="online"))])
def test_a_service_that_does_not_answer_is_named_with_the_way_out(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, name: str, track: Track
) -> None:
    """With a small module in place of wandb and swanlab, whose `init` fails."""
    monkeypatch.setitem(sys.modules, name, StandIn(name, ConnectionError("no route to host\nmore")))
    (callback,) = build_callbacks(Training(track=track))
    told = rf"training\.track\.{name}: cannot start a run: no route to host; run `{name} login`.*track\.{name}: offline"
    with pytest.raises(DanluError, match=told):
        record(callback, run, 0, range(1, 2))
    callback.on_end()


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize(("name", "track"), [("wandb", Track(wandb="offline")), ("swanlab", Track(swanlab="offline"))])
def test_the_real_services_write_offline_below_the_run(run: RunDirectory, name: str, track: Track) -> None:
    """With the real wandb and swanlab where they are installed; swanlab needs an older protobuf than the tests."""
    pytest.importorskip(name)
    (callback,) = build_callbacks(Training(track=track))
    record(callback, run, 0, range(1, 4))
    callback.on_end()
    known = read_json(run.path / f"{name}.json")
    assert known["mode"] == "offline"
    (file,) = {found.resolve() for found in (run.path / name).glob(f"*/run-{known['id']}.{name}")}  # wandb links it too
    wanted = [b"train/loss", b"validation/loss", b"training.optimizer.lr", str(run.path).encode()]
    written = b""
    ends = time.monotonic() + 30
    while not all(words in written for words in wanted) and time.monotonic() < ends:  # wandb's own process writes on
        time.sleep(0.1)
        written = b"".join(found.read_bytes() for found in (file, *file.parent.rglob("*.yaml")))
    assert [words for words in wanted if words not in written] == []


def test_a_database_that_cannot_be_written_is_named(run: RunDirectory, tmp_path: Path) -> None:
    (callback,) = build_callbacks(Training(track=Track(mlflow="nonsense://x")))
    with pytest.raises(DanluError, match=r"training\.track\.mlflow: cannot write to nonsense://x"):
        record(callback, run, 0, range(1, 2))
    callback.on_end()


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "mlruns"])
def test_a_folder_of_mlflow_is_refused_before_any_work(uri: str) -> None:
    with pytest.raises(ArgumentError, match="is a folder, which MLflow no longer writes to; use a database"):
        check_trackers(Training(track=Track(mlflow=uri)))


@pytest.mark.parametrize(
    ("track", "hidden", "told"),
    [
        (Track(tensorboard=True), "tensorboard", r"training.track.tensorboard needs tensorboard, .*danlu\[tensorboard"),
        (Track(wandb="offline"), "wandb", r"training.track.wandb needs wandb, .*danlu\[wandb\]"),
        (Track(swanlab="offline"), "swanlab", r"training.track.swanlab needs swanlab, .*danlu\[swanlab\]"),
        (Track(mlflow="sqlite:///x.db"), "alembic", r"training.track.mlflow needs alembic, .*danlu\[mlflow\]"),
    ],
)
def test_a_missing_package_is_named_before_any_work(
    monkeypatch: pytest.MonkeyPatch, track: Track, hidden: str, told: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == hidden else found(name))
    with pytest.raises(MissingExtra, match=told):
        check_trackers(Training(track=track))


# Callbacks of the user's own

OWN = """
from danlu.training.monitoring.callbacks import Callback


class Counter(Callback):
    def __init__(self):
        self.seen = []

    def on_log(self, record):
        self.seen.append(record["step"])


class Picky(Callback):
    def __init__(self, path):
        pass


class Unfinished:
    def on_start(self, setting):
        pass


def function():
    pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module beside which the command is run; returns its name, another for each test."""
    name = f"own_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    return name


def test_a_class_of_ones_own_is_told_of_training(own: str, run: RunDirectory) -> None:
    (callback,) = build_callbacks(Training(callbacks=(f"{own}:Counter",)))
    record(callback, run, 0, range(1, 4))
    callback.on_end()
    assert callback.seen == [1, 2, 3, 3]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Countr", r"training\.callbacks: own_\d+ has no 'Countr'; the nearest is \"Counter\""),
        ("Picky", r"must take no arguments \(missing a required argument: 'path'\)"),
        ("Unfinished", r"lacks on_step, on_log, on_end; inherit from danlu\.Callback"),
        ("function", r"lacks|is not a class"),
    ],
)
def test_what_is_no_callback_is_refused_before_any_work(own: str, name: str, told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        check_trackers(Training(callbacks=(f"{own}:{name}",)))


def test_a_dotted_name_leads_to_anything(own: str) -> None:
    assert load_dotted("json.decoder:JSONDecoder.decode", "training.loss").__name__ == "decode"
    assert load_dotted(f"{own}:function", "training.loss").__module__ == own


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("json.loads", r"training\.loss: 'json\.loads' must be written as package\.module:name"),
        ("nowhere_at_all:f", r"cannot import nowhere_at_all \(ModuleNotFoundError.*run danlu in the folder that holds"),
        ("json:lods", r"json has no 'lods'; the nearest is \"loads\""),
        ("broken_module:f", r"cannot import broken_module \(ZeroDivisionError: division by zero\); fix that first"),
    ],
)
def test_a_dotted_name_that_leads_nowhere_is_explained(own: str, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    with pytest.raises(ArgumentError, match=told):
        load_dotted(text, "training.loss")
