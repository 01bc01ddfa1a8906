"""The run directory: everything that one run produced, each file complete or absent.

recipe.yaml        the resolved recipe            metrics.jsonl      one line per logged step
environment.json   versions, device, command      evaluation.json    split -> metric -> value
data/              split, profile, findings       predictions/       the model's answers, split by split
checkpoints/       step-000400/ …                 report.html        self-contained
model/             the bundle
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from danlu.artifacts.files import (
    FILES,
    StrPath,
    append_jsonl,
    read_jsonl,
    read_sealed,
    require_companion,
    translate_write_errors,
    truncate_jsonl,
)
from danlu.artifacts.ownership import (
    RECIPE,
    discard,
    forget_replaced,
    lock_run,
    make_or_take,
    make_unique,
    refuse_existing,
    set_aside,
)
from danlu.core.arguments import checked
from danlu.core.display import render_html
from danlu.errors import ArgumentError, ArtifactError

METRICS, EVALUATION, REPORT, ENVIRONMENT, TEST_EVALUATIONS, CARD, WORST, THROUGHPUT, ALARMS = (
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


@dataclass(frozen=True)
class RunDirectory:
    """Represent a run's folder.

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
    @contextmanager
    def create(
        cls, parent: Path, *, name: str, folder: str | None, overwrite: bool, needed_bytes: int
    ) -> Iterator[Self]:
        """Create an empty run directory and hold its lock within the context.

        A run that fails before it has a checkpoint, a finished fold or a trial leaves no folder behind. An earlier run
        that is replaced stays in `.replaced` until then, and comes back where the new one fails before.

        Args:
            parent: the folder that holds runs.
            name: the recipe's name; the folder is named after it and the time, unless `folder` is given.
            folder: the run's folder below `parent`, for a name chosen by the user.
            overwrite: replace an existing folder of that name.
            needed_bytes: the least the run will write; too little free space is refused now rather than hours later.

        Raises:
            ArgumentError: the folder exists already, or `folder` is more than the name of one.
            ArtifactError: it cannot be created, the disk has too little space, or another process writes into the
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
            path = make_unique(parent, name) if folder is None else make_or_take(path, overwrite)
        run = cls(path)
        with lock_run(run):  # a run that another process holds is left as it is
            with translate_write_errors(path):
                set_aside(path, run.has_progress())
            try:
                with translate_write_errors(path):
                    for part in ("data", "checkpoints", "predictions"):
                        (path / part).mkdir()
                yield run
            except BaseException:
                if not run.has_progress():
                    with suppress(OSError):
                        discard(path)
                raise
            forget_replaced(path)

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

    def has_progress(self) -> bool:
        """Return whether it has something that a killed run goes on from."""
        kept = ("checkpoints/step-*", "model/bundle.json", "trials.jsonl", "trials/*/checkpoints/step-*")
        return any(any(self.path.glob(pattern)) for pattern in (*kept, "folds/*/model/bundle.json"))

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        append_jsonl(self.path / METRICS, record)

    def metrics(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl; a last line cut off by a crash is ignored."""
        return read_jsonl(self.path / METRICS)

    def rollback(self, step: int) -> None:
        """Delete log lines and checkpoints after a step."""
        truncate_jsonl(self.path / METRICS, step)
        for folder in self.checkpoints():
            if int(folder.name.removeprefix("step-")) > step:
                shutil.rmtree(folder)

    def evaluation(self) -> dict[str, Any]:
        """Read evaluation.json; an empty dict if the run was not evaluated."""
        file = self.path / EVALUATION
        figures = read_sealed(file) if file.is_file() else {}
        return {key: value for key, value in figures.items() if key != FILES}

    def predictions(self, name: str) -> Path:
        """Return a file of predictions, as evaluation.json says that it was written.

        Raises:
            ArtifactError: it was changed.
        """
        sealed = self.path / EVALUATION
        known = read_sealed(sealed) if sealed.is_file() else {}
        return require_companion(sealed, known, self.path / "predictions" / name)

    def environment(self) -> dict[str, Any]:
        """Read environment.json."""
        return read_sealed(self.path / ENVIRONMENT)


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
    found: list[tuple[float, RunDirectory]] = []
    for path in parent.iterdir():
        with suppress(OSError):  # no run, or another process removes it just now
            found.append(((path / RECIPE).stat().st_mtime, RunDirectory(path)))
    return [run for _, run in sorted(found, key=lambda each: each[0], reverse=True)]
