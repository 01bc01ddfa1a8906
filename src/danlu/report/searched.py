"""The report's section on a hyperparameter search, as values for the template.

In: a run's trials and the recipe of the search. Out: sentences, rows and figures; empty for other runs.
"""

import math
import statistics
from collections.abc import Sequence

from danlu.artifacts.run import RunDirectory
from danlu.artifacts.trials import SEARCH, Trial, best_of, is_search, kept_trials
from danlu.evaluation.metrics import grows
from danlu.recipe.load import load_recipe
from danlu.recipe.searching import LogRange, Searched, StepRange, is_range
from danlu.report.readings import Json
from danlu.report.search_figures import by_key, progress, shown_value
from danlu.report.tongue import Tongue
from danlu.report.writing import number, short

MOST_TRIALS = 10
MOST_FAILURES = 10
AT_THE_END = 0.02  # of a range: closer to its end counts as at the end


def searched(t: Tongue, run: RunDirectory) -> Json:
    """Build the section on a search."""
    trials = kept_trials(run.path) if is_search(run.path) else []
    higher = bool(trials) and grows(trials[0].metric)
    best = best_of(trials, higher)
    if best is None:
        return {}
    tuning = load_recipe(run.path / SEARCH).tuning
    assert tuning is not None, "only a recipe that says what to search begins one"
    done = [trial for trial in trials if trial.value is not None]
    ranked = sorted(done, key=lambda trial: trial.value or 0.0, reverse=higher)
    failed = [trial for trial in trials if trial.value is None]
    return {
        "told": t.told(
            [
                t(
                    "search.told",
                    trials=t.counted(len(trials), "trial"),
                    keys=t.counted(len(tuning.space), "key"),
                    sampler=tuning.sampler.name,
                    metric=best.metric,
                    direction=t("higher" if higher else "lower"),
                    best=best.number + 1,
                    value=number(best.value),
                    median=number(statistics.median(trial.value or 0.0 for trial in done)),
                ),
                *([t("search.failed", trials=t.counted(len(failed), "trial"))] if failed else []),
                t("search.caution"),
            ]
        ),
        "edges": [
            t("search.edge", name=key) for key, among in tuning.space.items() if _at_an_end(best.values[key], among)
        ],
        "figure": progress(t, trials, _best_so_far(trials, higher), higher),
        "keys": list(tuning.space),
        "metric": best.metric,
        "count": len(done),
        "most": MOST_TRIALS,
        "rows": [
            (
                trial.number + 1,
                trial.value,
                [short(shown_value(value), 60) for value in trial.values.values()],
                trial.seconds,
            )
            for trial in ranked[:MOST_TRIALS]
        ],
        "figures": [(key, by_key(t, key, among, done, best, higher)) for key, among in tuning.space.items()],
        "failures": [
            (
                trial.number + 1,
                ", ".join(f"{key} {short(shown_value(value), 30)}" for key, value in trial.values.items()),
                trial.why,
            )
            for trial in failed[:MOST_FAILURES]
        ],
        "failed": len(failed),
        "most_failures": MOST_FAILURES,
    }


def _best_so_far(trials: Sequence[Trial], higher: bool) -> list[float | None]:
    found: list[float | None] = []
    for count in range(1, len(trials) + 1):
        best = best_of(list(trials[:count]), higher)
        found.append(None if best is None else best.value)
    return found


def _at_an_end(value: object, among: Searched) -> bool:
    """Return whether a number lies at an end of its search range."""
    if isinstance(among, LogRange):
        assert isinstance(value, float | int)
        low, high = (math.log(end) for end in among.log)
        return _near_an_end(math.log(value), low, high)
    if isinstance(among, StepRange) or (isinstance(among, tuple) and is_range(among)):
        assert isinstance(value, float | int)
        return _near_an_end(value, *(among.range if isinstance(among, StepRange) else among))
    return False


def _near_an_end(value: float, low: float, high: float) -> bool:
    room = AT_THE_END * (high - low)
    return value <= low + room or value >= high - room
