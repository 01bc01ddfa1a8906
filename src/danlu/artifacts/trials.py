"""The files of a search in its run: finished trials and the requested recipe.

search.yaml        the recipe of the search        best.yaml          the best trial's recipe so far
trials.jsonl       one line per finished trial     trials/            one run per trial
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from danlu.artifacts.files import append_jsonl, read_jsonl

SEARCH_FILE, TRIALS_FILE, BEST_FILE, TRIALS_FOLDER = "search.yaml", "trials.jsonl", "best.yaml", "trials"
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
    return (run / SEARCH_FILE).is_file()


def append_trial(run: Path, trial: Trial) -> None:
    """Append a trial to trials.jsonl.

    Raises:
        ArtifactError: it cannot be written.
    """
    append_jsonl(run / TRIALS_FILE, asdict(trial))


def read_trials(run: Path) -> list[Trial]:
    """Read the trials of a run in order; empty if it is not a search."""
    return [Trial(**line) for line in read_jsonl(run / TRIALS_FILE)]


def best_trial(trials: list[Trial], higher_is_better: bool) -> Trial | None:
    """Return the best finished trial, the first one on ties; None if there is none."""
    done = [trial for trial in trials if trial.state == "done" and trial.value is not None]
    return min(done, key=lambda trial: trial_cost(trial, higher_is_better) or 0.0, default=None)


def trial_cost(trial: Trial, higher_is_better: bool) -> float | None:
    """Return the cost that a search minimizes; None if the trial has no finite value."""
    if trial.value is None or not math.isfinite(trial.value):
        return None
    return -trial.value if higher_is_better else trial.value


def trial_folder(run: Path, number: int) -> Path:
    """Return the folder of a trial's run."""
    return run / TRIALS_FOLDER / f"trial-{number:03}"
