"""The trials of a search as a run keeps them: a line each in trials.jsonl, and the recipe that was asked for.

search.yaml        the recipe of the search        best.yaml          the best trial's recipe so far
trials.jsonl       one line a finished trial       trials/            a run for each
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
    """One training of a search.

    Attributes:
        number: from 0 on.
        values: what the recipe had, by key.
        metric: that decides, as `validation/loss`.
        value: of that metric; None where the trial failed.
        seconds: that it took.
        state: how it ended.
        why: more about that; empty where there is nothing to say.
    """

    number: int
    values: dict[str, Any]
    metric: str
    value: float | None
    seconds: float
    state: State
    why: str = ""


def is_search(run: Path) -> bool:
    """Whether a run is a search, finished or not."""
    return (run / SEARCH).is_file()


def keep_trial(run: Path, trial: Trial) -> None:
    """Write one more line.

    Raises:
        ArtifactError: it cannot be written.
    """
    append_line(run / TRIALS, asdict(trial))


def kept_trials(run: Path) -> list[Trial]:
    """The trials of a run, in their order; none of a run that is no search."""
    return [Trial(**line) for line in read_lines(run / TRIALS)]


def best_of(trials: list[Trial], higher_is_better: bool) -> Trial | None:
    """The best finished trial, the first of several; None where there is none."""
    done = [trial for trial in trials if trial.state == "done" and trial.value is not None]
    return min(done, key=lambda trial: cost_of(trial, higher_is_better) or 0.0, default=None)


def cost_of(trial: Trial, higher_is_better: bool) -> float | None:
    """What a search makes small; None where the trial has no figure."""
    if trial.value is None or not math.isfinite(trial.value):
        return None
    return -trial.value if higher_is_better else trial.value


def folder_of(run: Path, number: int) -> Path:
    """A trial's own run."""
    return run / FOLDER / f"trial-{number:03}"
