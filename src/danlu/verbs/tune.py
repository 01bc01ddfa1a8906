"""`danlu tune`: search over recipes. Many are trained, and the run keeps the best trial's model.

Each trial is a run of its own in `trials/`, trained like any recipe and scored on the validation split; it never sees
test rows. Finished trials are recorded in trials.jsonl, from which an interrupted search resumes.
"""

import gc
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from danlu.artifacts.bundle import MANIFEST, open_bundle
from danlu.artifacts.environment import environment
from danlu.artifacts.files import read_json, write_bytes, write_json, write_text
from danlu.artifacts.lock import locked
from danlu.artifacts.run import ENVIRONMENT, RECIPE, RunDirectory, refuse_existing
from danlu.artifacts.trials import BEST, FOLDER, SEARCH, Trial, best_of, cost_of, folder_of, keep_trial, kept_trials
from danlu.core.console import duration, hushed, say
from danlu.core.errors import ArgumentError, ArtifactError, DanluError, MissingExtra, Stopped
from danlu.core.seeds import Seed
from danlu.core.world import this_world
from danlu.data.splits import Part
from danlu.evaluation.evaluate import truth
from danlu.evaluation.metrics import compute_metrics, grows
from danlu.recipe.load import as_recipe, dump_recipe, load_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.searching import Tuning
from danlu.recipe.variants import variant
from danlu.tuning.axes import axes_of
from danlu.tuning.sampler import Known, Sampler
from danlu.verbs.fitting import kept_line
from danlu.verbs.folds import require_folds
from danlu.verbs.prepare import (
    PROFILE,
    REFERENCE_FILE,
    Opened,
    Prepared,
    fit_preparation,
    judged_content,
    open_data,
    reopen,
    write_data,
)
from danlu.verbs.resolve import resolve
from danlu.verbs.space import watched_by
from danlu.verbs.teaching import REMEMBERED
from danlu.verbs.train import resume, train_opened

SPACE_BYTES = 1 << 20  # required free disk space, without the trials
MOST_TOLD = 80  # of the reason of a failed trial on the console; trials.jsonl has all
MOST_PREPARED = 4  # cached, if the search changes the preprocessing
FATAL = (ArgumentError, ArtifactError, MissingExtra)  # errors that every other trial would meet too


def tune(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    output: str | Path = "runs",
    name: str | None = None,
    overwrite: bool = False,
    trials: int | None = None,
) -> RunDirectory:
    """Run the search described by the recipe's `tuning` section.

    Args:
        recipe: a Recipe, a mapping, a file or the name of a built-in recipe.
        output: folder of runs.
        name: the run's folder inside it; by default the recipe's name and the time.
        overwrite: replace a run of that name.
        trials: number of trials instead of the recipe's.

    Returns:
        the run with the best trial's model and recipe. Not evaluated yet.

    Raises:
        RecipeError, DataError, ArgumentError, MissingExtra: before anything is written.
        DanluError: every trial failed.
        Stopped: a signal asked to stop; `resume` continues.
    """
    refuse_existing(Path(output), name, overwrite)
    opened = open_data(as_recipe(recipe))
    require_folds(opened)
    return tune_opened(opened, Path(output), name, overwrite, trials)


def tune_opened(
    opened: Opened, output: Path, name: str | None, overwrite: bool, trials: int | None = None
) -> RunDirectory:
    """Search on loaded data, using only its training and validation rows."""
    search = _search_of(opened, trials)
    run = RunDirectory.create(output, opened.recipe.name, name, overwrite, SPACE_BYTES)
    with locked(run):
        try:
            _begin(search, run)
            _go_on(search, run)
        except BaseException:
            if not kept_trials(run.path) and not any(run.path.glob(f"{FOLDER}/*/checkpoints/step-*")):
                shutil.rmtree(run.path, ignore_errors=True)  # no trial has finished or written a checkpoint
            raise
    return run


def resume_search(path: str | Path, trials: int | None = None) -> RunDirectory:
    """Resume a search that was stopped or killed; the remaining trials are the same.

    Args:
        path: the run.
        trials: total number of trials, if different from before.

    Raises:
        ArgumentError: it is not a search, or it is finished.
        DataError: the data has changed.
        ArtifactError: the run is damaged.
    """
    run = RunDirectory.open(path)
    if not (run.path / SEARCH).is_file():
        raise ArgumentError(f"{run.path}: is not a search; resume a training with `danlu train --resume {run.path}`")
    if (run.model / MANIFEST).is_file():
        raise ArgumentError(f"{run.path}: the search has finished; evaluate its model with `danlu evaluate {run.path}`")
    search = _search_of(reopen(load_recipe(run.path / RECIPE), run), trials)
    with locked(run):
        write_text(run.path / SEARCH, dump_recipe(search.recipe))
        _go_on(search, run)
    return run


def ranked(run: RunDirectory) -> list[Trial]:
    """Return the finished trials of a search, best first."""
    done = [trial for trial in kept_trials(run.path) if trial.state == "done"]
    higher = bool(done) and grows(done[0].metric)
    return sorted(done, key=lambda trial: cost_of(trial, higher) or 0.0)


@dataclass(frozen=True)
class _Search:
    """Hold the search space, the data and the metric of a search.

    Attributes:
        opened: data without test rows.
        whole: data with test rows, as the run records its split.
        recipe: as requested by the user.
        metric: such as `validation/loss`.
    """

    opened: Opened
    whole: Opened
    recipe: Recipe
    metric: str
    prepared: "_Preparations" = field(default_factory=lambda: _Preparations())

    @property
    def tuning(self) -> Tuning:
        assert self.recipe.tuning is not None
        return self.recipe.tuning

    @property
    def higher_is_better(self) -> bool:
        return grows(self.metric)


@dataclass(frozen=True)
class _Preparations:
    """Cache the fitted preprocessing of recent trials."""

    held: list[tuple[tuple[Any, ...], Prepared]] = field(default_factory=list)

    def of(self, opened: Opened) -> Prepared:
        key = (opened.recipe.data, opened.model.hints(), opened.recipe.training.preference)
        found = next((prepared for known, prepared in self.held if known == key), None)
        if found is None:
            found = fit_preparation(opened)
            self.held[:] = [*self.held[1 - MOST_PREPARED :], (key, found)]
        return found


def _search_of(opened: Opened, trials: int | None) -> _Search:
    recipe = opened.base or opened.recipe
    if recipe.tuning is None:
        raise ArgumentError(
            "the recipe has no `tuning` section; add for example "
            "tuning: {space: {training.optimizer.lr: {log: [1e-4, 1e-1]}}}"
        )
    if this_world().size > 1:
        raise ArgumentError("a search runs in one process; start it without torchrun or --processes")
    if trials is not None:
        if trials < 1:
            raise ArgumentError(f"--trials {trials}: must be at least 1")
        recipe = recipe.model_copy(update={"tuning": recipe.tuning.model_copy(update={"trials": trials})})
    seen = replace(opened.splits, test=Part(np.empty(0, dtype=np.int64), opened.splits.test.whole))
    metric = watched_by(resolve(recipe, opened.dataset))
    blind = replace(opened, splits=seen, findings=(), dropped=opened.dropped.clear(), base=None)
    return _Search(blind, opened, recipe, metric)


def _begin(search: _Search, run: RunDirectory) -> None:
    """Write the files that do not depend on trials."""
    import torch

    from danlu.core.devices import open_device

    opened = search.whole
    accelerator = open_device(opened.recipe.training.device)
    known = environment(str(accelerator.torch_device), opened.recipe.seed, torch.get_num_threads())
    write_json(run.path / ENVIRONMENT, known)
    write_text(run.path / RECIPE, dump_recipe(opened.recipe.model_copy(update={"tuning": None})))
    write_data(opened, run, {})
    write_text(run.path / SEARCH, dump_recipe(search.recipe))
    (run.path / FOLDER).mkdir()


def _go_on(search: _Search, run: RunDirectory) -> None:
    """Run the missing trials, then adopt the best one as the run's model.

    Raises:
        DanluError: all trials failed.
    """
    sampler, axes = search.tuning.sampler, axes_of(search.tuning.space)
    assert isinstance(sampler, Sampler)
    seed, higher = Seed(search.recipe.seed).derive("tuning"), search.higher_is_better
    trials = kept_trials(run.path)
    while len(trials) < search.tuning.trials:
        past = [Known(trial.values, cost_of(trial, higher)) for trial in trials]
        values = sampler.propose(axes, past, seed)
        if values is None:
            say(f"all {len(trials)} combinations of the grid have been tried")
            break
        trials.append(_tried(search, run, trials, values))
        _keep(search, run, trials)
        say(_told(search, trials))
    best = best_of(trials, higher)
    if best is None:
        raise DanluError(f"{run.path}: all {len(trials)} trials failed; the last one: {trials[-1].why}")
    _adopt(run, best)


def _tried(search: _Search, run: RunDirectory, trials: list[Trial], values: dict[str, Any]) -> Trial:
    """Train and score one recipe; an identical earlier trial is copied instead."""
    number, begun = len(trials), time.monotonic()
    twin = next((trial for trial in trials if trial.values == values), None)
    if twin is not None:
        why = twin.why or f"as trial {twin.number}"
        return Trial(number, values, search.metric, twin.value, 0.0, twin.state, why)
    value, why, folder = None, "", folder_of(run.path, number)
    try:
        opened = _opened_for(search, values)
        with hushed():
            value = _judged(search, opened, _trained(search, opened, folder))
    except Stopped as error:
        raise Stopped(f"stopped in trial {number + 1}; resume with `danlu tune --resume {run.path}`") from error
    except FATAL:
        raise
    except Exception as error:  # values may lead to anything: NaN, out of memory, layers that do not fit
        why = " ".join(str(error).split()) or type(error).__name__
        gc.collect()
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    took = round(time.monotonic() - begun, 3)
    return Trial(number, values, search.metric, value, took, "failed" if value is None else "done", why)


def _opened_for(search: _Search, values: dict[str, Any]) -> Opened:
    """Return the data with the trial's resolved recipe."""
    return replace(search.opened, recipe=resolve(variant(search.recipe, values), search.opened.dataset))


def _trained(search: _Search, opened: Opened, folder: Path) -> RunDirectory:
    """Return the trial's run: finished, resumed from its checkpoint, or newly trained."""
    run = RunDirectory(folder)
    if (run.model / MANIFEST).is_file():
        return run
    if run.checkpoints():
        return resume(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return train_opened(opened, folder.parent, folder.name, overwrite=False, prepare=search.prepared.of)


def _judged(search: _Search, opened: Opened, run: RunDirectory) -> float:
    """Return the validation metric of the trial's best weights.

    Raises:
        DanluError: it is undefined on the validation split.
    """
    metric, kept = search.metric, kept_line(run, opened.recipe.training)
    if kept is not None and metric in kept:
        return float(kept[metric])
    from danlu.models.predictor import Predictor

    predictor = Predictor.from_bundle(open_bundle(run.path), own_code=True)  # the recipe is the user's
    part, name = opened.splits.validation, metric.removeprefix("validation/")
    outputs = predictor.raw_outputs(part, opened.place)
    found = compute_metrics((name,), truth(part, predictor.target, outputs, judged_content(opened)))
    if name not in found:
        raise DanluError(f"{metric} is undefined on the validation split; choose another tuning.metric")
    return found[name]


def _keep(search: _Search, run: RunDirectory, trials: list[Trial]) -> None:
    """Record the newest trial; keep only the best trial's model."""
    best, newest = best_of(trials, search.higher_is_better), trials[-1]
    keep_trial(run.path, newest)
    if best is newest:
        write_text(run.path / BEST, (folder_of(run.path, best.number) / RECIPE).read_text(encoding="utf-8"))
    for trial in trials:
        if trial is not best:
            shutil.rmtree(folder_of(run.path, trial.number) / "model", ignore_errors=True)


def _told(search: _Search, trials: list[Trial]) -> str:
    """Describe the newest trial in one line."""
    newest, best = trials[-1], best_of(trials, search.higher_is_better)
    values = ", ".join(f"{key} {_short(value)}" for key, value in newest.values.items())
    figure = f"failed: {_cut(newest.why)}" if newest.value is None else f"{newest.metric} {newest.value:.4g}"
    so_far = f"; best so far {best.value:.4g} (trial {best.number + 1})" if best else ""
    took = f" in {duration(newest.seconds)}" if newest.seconds >= 1 else ""
    return f"trial {newest.number + 1} of {search.tuning.trials}: {values}: {figure}{took}{so_far}"


def _cut(why: str) -> str:
    """Shorten a reason to fit the line."""
    return why if len(why) <= MOST_TOLD else f"{why[: MOST_TOLD - 1]}…"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _adopt(run: RunDirectory, best: Trial) -> None:
    """Copy the best trial's files into the run.

    The model is moved last: its presence marks the search as finished.
    """
    folder = folder_of(run.path, best.number)
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != ENVIRONMENT and not file.name.startswith("."):
            write_bytes(run.path / file.name, file.read_bytes())
    for name in (REFERENCE_FILE, REMEMBERED):
        if (folder / "data" / name).is_file():
            write_bytes(run.path / "data" / name, (folder / "data" / name).read_bytes())
    known, theirs = (read_json(path / "data" / PROFILE) for path in (run.path, folder))
    if theirs["target"] is not None and "balanced" in theirs["target"]:
        known["target"]["balanced"] = theirs["target"]["balanced"]
        write_json(run.path / "data" / PROFILE, known)
    (folder / "model").replace(run.model)
