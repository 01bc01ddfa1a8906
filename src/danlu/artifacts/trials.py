"""The files of a search in its run: finished trials and the requested recipe.

search.yaml        the recipe of the search        best.yaml          the best trial's recipe so far
trials.jsonl       one line per finished trial     trials/            one run per trial
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from danlu.artifacts.lines import append_line, read_lines

SEARCH, TRIALS, BEST, FOLDER = "search.yaml", "trials.jsonl", "best.yaml", "trials"
State = Literal["done", "failed"]


@dataclass(frozen=True)
class Trial:
    """Record one training of a search.

    Attributes:
        number: from 0.
        values: the sampled recipe values by key.
        metric: the deciding metric, such as `validation/loss`.
        value: of that metric; None if the trial failed.
        seconds: duration.
        state: done or failed.
        why: reason of the state; empty if there is none.
    """

    number: int
    values: dict[str, Any]
    metric: str
    value: float | None
    seconds: float
    state: State
    why: str = ""


def is_search(run: Path) -> bool:
    """Return whether a run is a search, finished or not."""
    return (run / SEARCH).is_file()


def keep_trial(run: Path, trial: Trial) -> None:
    """Append a trial to trials.jsonl.

    Raises:
        ArtifactError: it cannot be written.
    """
    append_line(run / TRIALS, asdict(trial))


def kept_trials(run: Path) -> list[Trial]:
    """Read the trials of a run in order; empty if it is not a search."""
    return [Trial(**line) for line in read_lines(run / TRIALS)]


def best_of(trials: list[Trial], higher_is_better: bool) -> Trial | None:
    """Return the best finished trial, the first one on ties; None if there is none."""
    done = [trial for trial in trials if trial.state == "done" and trial.value is not None]
    return min(done, key=lambda trial: cost_of(trial, higher_is_better) or 0.0, default=None)


def cost_of(trial: Trial, higher_is_better: bool) -> float | None:
    """Return the cost that a search minimizes; None if the trial has no finite value."""
    if trial.value is None or not math.isfinite(trial.value):
        return None
    return -trial.value if higher_is_better else trial.value


def folder_of(run: Path, number: int) -> Path:
    """Return the folder of a trial's run."""
    return run / FOLDER / f"trial-{number:03}"
