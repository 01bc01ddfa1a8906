"""The run directory: everything that one run produced, each file complete or absent.

recipe.yaml        the resolved recipe            metrics.jsonl      one line per logged step
environment.json   versions, device, command      evaluation.json    split -> metric -> value
data/              split, profile, findings       predictions/       the model's answers, split by split
checkpoints/       step-000400/ …                 report.html        self-contained
model/             the bundle
"""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from danlu.artifacts.files import StrPath, append_jsonl, read_json, read_jsonl, translate_write_errors, truncate_jsonl
from danlu.core.arguments import checked
from danlu.core.display import render_html
from danlu.errors import ArgumentError, ArtifactError

RECIPE, METRICS, EVALUATION, REPORT, ENVIRONMENT, TEST_EVALUATIONS, CARD, WORST, THROUGHPUT, ALARMS = (
    "recipe.yaml",
    "metrics.jsonl",
    "evaluation.json",
    "report.html",
    "environment.json",
    "looks.jsonl",
    "MODEL_CARD.md",
    "worst.json",
    "throughput.jsonl",
    "alarms.jsonl",
)


LONGEST_NAME = 200  # characters of a run's name; its files and copies add to it


@dataclass(frozen=True)
class RunDirectory:
    """Represent a run's folder.

    As a context: a run that fails before its first checkpoint leaves no folder behind.

    Example:
        >>> import danlu
        >>> run = danlu.RunDirectory.open("runs/wine")
        >>> run.path.name, run.metrics()[-1]["step"]
        ('wine', 480)
    """

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    @classmethod
    def create(cls, parent: Path, *, name: str, folder: str | None, overwrite: bool, needed_bytes: int) -> Self:
        """Create an empty run directory.

        Args:
            parent: the folder that holds runs.
            name: the recipe's name; the folder is named after it and the time, unless `folder` is given.
            folder: the run's folder below `parent`, for a name chosen by the user.
            overwrite: replace an existing folder of that name.
            needed_bytes: the least the run will write; too little free space is refused now rather than hours later.

        Raises:
            ArgumentError: the folder exists already, or `folder` is more than the name of one.
            ArtifactError: it cannot be created, the disk has too little space, or another process trains into the
                run that is to be replaced.
        """
        refuse_existing(parent, folder, overwrite)
        path = parent / (folder or name)
        with translate_write_errors(path):
            parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(parent).free
            if free < needed_bytes:
                raise ArtifactError(
                    f"{path}: the disk has {free / 1e6:.1f} MB free and the run needs about "
                    f"{needed_bytes / 1e6:.1f} MB; free some space, or choose another folder with --output",
                    code="DL306",
                )
            path = _create_unique(parent, name) if folder is None else _recreate(path, overwrite)
            for part in ("data", "checkpoints", "predictions"):
                (path / part).mkdir()
        return cls(path)

    @classmethod
    @checked
    def open(cls, path: StrPath) -> Self:
        """Open an existing run.

        Raises:
            ArgumentError: there is none.
        """
        if not (Path(path) / RECIPE).is_file():
            raise ArgumentError(
                f"{path}: is not a run directory (it has no {RECIPE}); `danlu runs` lists them", code="DL406"
            )
        return cls(Path(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and not self.checkpoints():
            shutil.rmtree(self.path, ignore_errors=True)

    def _repr_html_(self) -> str | None:
        """Draw the run for a notebook."""
        return render_html("run", self)

    @property
    def model(self) -> Path:
        return self.path / "model"

    def checkpoints(self) -> list[Path]:
        """Return the complete checkpoints, oldest first."""
        found = (self.path / "checkpoints").glob("step-*")
        return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        append_jsonl(self.path / METRICS, record)

    def metrics(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl; a last line cut off by a crash is ignored."""
        return read_jsonl(self.path / METRICS)

    def rollback(self, step: int) -> None:
        """Delete log lines and checkpoints after a step, and half-written ones."""
        truncate_jsonl(self.path / METRICS, step)
        for folder in self.checkpoints():
            if int(folder.name.removeprefix("step-")) > step:
                shutil.rmtree(folder)
        for partial in (self.path / "checkpoints").glob(".*.partial"):
            shutil.rmtree(partial)

    def evaluation(self) -> dict[str, Any]:
        """Read evaluation.json; an empty dict if the run was not evaluated."""
        file = self.path / EVALUATION
        return dict(read_json(file)) if file.is_file() else {}


def refuse_existing(parent: Path, folder: str | None, overwrite: bool) -> None:
    """Raise ArgumentError if the run may not use this folder; check it before any work."""
    if folder is None:
        return
    _require_folder_name(folder)
    path = parent / folder
    if not path.exists():
        return
    if not overwrite:
        raise _exists_already(path)
    if not (path / RECIPE).is_file():
        raise ArgumentError(
            f"{path}: is not a run of danlu and will not be overwritten; choose another --name", code="DL404"
        )


def _exists_already(path: Path) -> ArgumentError:
    return ArgumentError(f"{path}: exists already; choose another --name, or replace it with --overwrite", code="DL404")


def _require_folder_name(name: str) -> None:
    """Raise ArgumentError unless a run's name is that of one folder."""
    if not name.strip() or name in (".", "..") or any(sign in name for sign in "/\\\0") or len(name) > LONGEST_NAME:
        raise ArgumentError(
            f"--name {name!r}: names one folder below the folder of runs; leave out / and \\, and choose another "
            "place with --output",
            code="DL402",
        )


def unused_name(parent: Path, name: str) -> str:
    """Return an unused run name: recipe, time and, if needed, a number."""
    return next(free for free in _candidate_names(name) if not (parent / free).exists())


def _candidate_names(name: str) -> Iterator[str]:
    """Yield candidate names for a run started now, the best first."""
    stamp = f"{name}-{datetime.now():%Y%m%d-%H%M}"
    yield stamp
    yield from (f"{stamp}-{counter}" for counter in itertools.count(2))


def _create_unique(parent: Path, name: str) -> Path:
    """Create a folder under the first name that no other run has."""
    for free in _candidate_names(name):
        try:
            (parent / free).mkdir()
        except FileExistsError:
            continue
        return parent / free
    raise AssertionError("numbers do not end")


def _recreate(path: Path, overwrite: bool) -> Path:
    """Create an empty folder, with `overwrite` in place of a run that nobody trains into."""
    if overwrite and path.exists():
        with lock_run(RunDirectory(path)):
            shutil.rmtree(path)
    try:
        path.mkdir()
    except FileExistsError:  # another process was faster
        raise _exists_already(path) from None
    return path


def best_record(log: list[dict[str, Any]], metric: str, higher_is_better: bool) -> dict[str, Any] | None:
    """Return the first record of metrics.jsonl with the best value of a metric.

    This is how training selects the weights that it keeps. None if the metric was never logged.
    """
    records = [record for record in log if metric in record]
    best = max if higher_is_better else min
    return best(records, key=lambda record: float(record[metric]), default=None)


def find_runs(parent: Path) -> list[RunDirectory]:
    """Return the runs below a folder, newest first."""
    if not parent.is_dir():
        return []
    found = [RunDirectory(path) for path in parent.iterdir() if (path / RECIPE).is_file()]
    return sorted(found, key=lambda run: (run.path / RECIPE).stat().st_mtime, reverse=True)


@contextmanager
def lock_run(run: RunDirectory) -> Iterator[None]:
    """Lock a run while training writes into it.

    Raises:
        ArtifactError: another process does.
    """
    try:
        import fcntl
    except ImportError:  # not a Unix; there is no lock that ends with its process in the same way
        yield
        return
    path = run.path / ".lock"
    with translate_write_errors(path):
        file = path.open("w", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(
                f"{run.path}: another process trains into this run; wait for it, or end it", code="DL307"
            ) from None
        yield
