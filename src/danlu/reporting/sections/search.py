"""The report's section on a hyperparameter search, as values for the template.

In: a run's trials and the recipe of the search. Out: sentences, rows and figures; empty for other runs.
"""

import math
import statistics
from collections.abc import Sequence

from danlu.artifacts.run import RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.artifacts.trials import SEARCH_FILE, Trial, best_trial, is_search, read_trials
from danlu.recipe.sections.tuning import LogRange, SearchSpec, StepRange, Tuning, is_range
from danlu.reporting.figures.search import metric_by_key, search_progress, value_text
from danlu.reporting.format import format_number, shorten
from danlu.reporting.i18n import Translator
from danlu.reporting.run_reader import Json
from danlu.tasks.metric_table import is_higher_better

MAX_TRIALS = 10
MAX_FAILURES = 10
EDGE_SHARE = 0.02  # of a range: closer to its end counts as at the end


def search_section(t: Translator, run: RunDirectory) -> Json:
    """Build the section on a search."""
    trials = read_trials(run.path) if is_search(run.path) else []
    higher = bool(trials) and is_higher_better(trials[0].metric)
    best = best_trial(trials, higher)
    if best is None:
        return {}
    tuning = load_run_recipe(run.path / SEARCH_FILE).tuning
    assert tuning is not None, "only a recipe that says what to search begins one"
    done = [trial for trial in trials if trial.value is not None]
    failed = [trial for trial in trials if trial.value is None]
    space = tuning.space
    return {
        "told": _search_sentences(t, tuning, trials, best, higher),
        "edges": [t("search.edge", name=key) for key, among in space.items() if _is_at_edge(best.values[key], among)],
        "figure": search_progress(t, trials, _best_so_far(trials, higher), higher),
        "keys": list(space),
        "metric": best.metric,
        "count": len(done),
        "most": MAX_TRIALS,
        "rows": _best_rows(done, higher),
        "figures": [(key, metric_by_key(t, key, among, done, best, higher)) for key, among in space.items()],
        "failures": _failure_rows(failed),
        "failed": len(failed),
        "most_failures": MAX_FAILURES,
    }


def _search_sentences(t: Translator, tuning: Tuning, trials: Sequence[Trial], best: Trial, higher: bool) -> str:
    """Describe the search and its best trial."""
    values = [trial.value for trial in trials if trial.value is not None]
    failed = len(trials) - len(values)
    told = t(
        "search.told",
        trials=t.count(len(trials), "trial"),
        keys=t.count(len(tuning.space), "key"),
        sampler=tuning.sampler.name,
        metric=best.metric,
        direction=t("higher" if higher else "lower"),
        best=best.number + 1,
        value=format_number(best.value),
        median=format_number(statistics.median(values)),
    )
    more = [t("search.failed", trials=t.count(failed, "trial"))] if failed else []
    return t.join_sentences([told, *more, t("search.caution")])


def _best_rows(done: Sequence[Trial], higher: bool) -> list[tuple[int, float | None, list[str], float]]:
    """Return number, value, settings and seconds of the best trials, best first."""
    ranked = sorted(done, key=lambda trial: trial.value or 0.0, reverse=higher)[:MAX_TRIALS]
    return [
        (trial.number + 1, trial.value, [shorten(value_text(v), 60) for v in trial.values.values()], trial.seconds)
        for trial in ranked
    ]


def _failure_rows(failed: Sequence[Trial]) -> list[tuple[int, str, str]]:
    """Return number, settings and error of the first failed trials."""
    return [
        (
            trial.number + 1,
            ", ".join(f"{key} {shorten(value_text(value), 30)}" for key, value in trial.values.items()),
            trial.why,
        )
        for trial in failed[:MAX_FAILURES]
    ]


def _best_so_far(trials: Sequence[Trial], higher: bool) -> list[float | None]:
    found: list[float | None] = []
    for count in range(1, len(trials) + 1):
        best = best_trial(list(trials[:count]), higher)
        found.append(None if best is None else best.value)
    return found


def _is_at_edge(value: object, among: SearchSpec) -> bool:
    """Return whether a number lies at an end of its search range."""
    if isinstance(among, LogRange):
        assert isinstance(value, float | int)
        low, high = (math.log(end) for end in among.log)
        return _is_near_edge(math.log(value), low, high)
    if isinstance(among, StepRange) or (isinstance(among, tuple) and is_range(among)):
        assert isinstance(value, float | int)
        return _is_near_edge(value, *(among.range if isinstance(among, StepRange) else among))
    return False


def _is_near_edge(value: float, low: float, high: float) -> bool:
    room = EDGE_SHARE * (high - low)
    return value <= low + room or value >= high - room
