"""Run a search: train and score trials, record them, and adopt the best one's model.

Each trial is a run of its own in `trials/`, trained like any recipe and scored on the validation split; it never sees
test rows. Finished trials are recorded in trials.jsonl, from which an interrupted search resumes.
"""

import gc
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.environment import describe_environment
from danlu.artifacts.files import StrPath, write_bytes, write_sealed
from danlu.artifacts.ownership import RECIPE, forget_replaced, lock_run
from danlu.artifacts.run import ENVIRONMENT, RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe, write_run_recipe
from danlu.artifacts.trials import (
    BEST_FILE,
    SEARCH_FILE,
    TRIALS_FOLDER,
    Trial,
    append_trial,
    best_trial,
    is_search,
    read_trials,
    trial_cost,
    trial_folder,
)
from danlu.core.console import format_duration, info, suppressed
from danlu.core.distributed.env import dist_env
from danlu.core.seeds import Seed
from danlu.data.splits import Split
from danlu.errors import ArgumentError, ArtifactError, DanluError, MissingExtra, Stopped
from danlu.evaluation.predictions import build_predictions
from danlu.experiment.data_context import DataContext, FittedPreprocessing, fit_preprocessing, scored_text_column
from danlu.experiment.defaults import resolve_recipe
from danlu.experiment.run_data import (
    REFERENCE_FILE,
    TEACHER_FILE,
    load_run_data,
    read_profile,
    write_profile,
    write_run_data,
    write_source,
)
from danlu.experiment.search_checks import search_metric
from danlu.experiment.setup import best_validation_record
from danlu.experiment.trainer import resume_training, train_run
from danlu.recipe.schema import Recipe
from danlu.recipe.sections.tuning import Tuning
from danlu.recipe.variants import variant
from danlu.search.samplers import CompletedTrial, Sampler
from danlu.search.space import to_search_space
from danlu.tasks.metric_table import compute_metrics, is_higher_better

MIN_FREE_BYTES = 1 << 20  # required free disk space, without the trials
MAX_REASON_CHARS = 80  # of the reason of a failed trial on the console; trials.jsonl has all
MAX_CACHED = 4  # preprocessings kept, if the search changes them
FATAL_ERRORS = (ArgumentError, ArtifactError, MissingExtra)  # errors that every other trial would meet too


def run_search(
    context: DataContext, output: Path, name: str | None, overwrite: bool, trials: int | None = None
) -> RunDirectory:
    """Search on loaded data, using only its training and validation rows."""
    _new_study(context, trials)  # refuses before any folder is made
    with RunDirectory.create(
        output, name=context.recipe.name, folder=name, overwrite=overwrite, needed_bytes=MIN_FREE_BYTES
    ) as run:
        study = _new_study(write_source(context, run), trials)
        _write_setup(study, run)
        _run_trials(study, run)
    return run


def resume_search(path: StrPath, *, trials: int | None = None) -> RunDirectory:
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
    if not (run.path / SEARCH_FILE).is_file():
        raise ArgumentError(
            f"{run.path}: is not a search; resume a training with `danlu train --resume {run.path}`", code="DL406"
        )
    if (run.model / MANIFEST).is_file():
        raise ArgumentError(
            f"{run.path}: the search has finished; evaluate its model with `danlu evaluate {run.path}`", code="DL406"
        )
    study = _new_study(load_run_data(load_run_recipe(run.path / RECIPE), run), trials)
    with lock_run(run):
        write_run_recipe(run.path / SEARCH_FILE, study.recipe)
        _run_trials(study, run)
    return run


def train_or_search(context: DataContext, folder: Path) -> None:
    """Train a context into a folder, or if its run is a search, search there.

    An interrupted search resumes. This is how a fold of a cross-validated run is trained (nested search).
    """
    if context.requested_recipe is None:
        train_run(context, folder.parent, folder.name, overwrite=folder.exists(), learn=train_or_search)
    elif is_search(folder):
        resume_search(folder)
    else:
        run_search(context, folder.parent, folder.name, overwrite=folder.exists())


def ranked_trials(run: RunDirectory) -> list[Trial]:
    """Return the finished trials of a search, best first."""
    done = [trial for trial in read_trials(run.path) if trial.state == "done"]
    higher = bool(done) and is_higher_better(done[0].metric)
    return sorted(done, key=lambda trial: trial_cost(trial, higher) or 0.0)


@dataclass(frozen=True)
class Study:
    """Hold the search space, the data and the metric of a search.

    Attributes:
        context: data without test rows.
        full_context: data with test rows, as the run records its split.
        recipe: as requested by the user.
        metric: such as `validation/loss`.
    """

    context: DataContext
    full_context: DataContext
    recipe: Recipe
    metric: str
    preprocessing: "PreprocessingCache" = field(default_factory=lambda: PreprocessingCache())

    @property
    def tuning(self) -> Tuning:
        assert self.recipe.tuning is not None
        return self.recipe.tuning

    @property
    def higher_is_better(self) -> bool:
        return is_higher_better(self.metric)


@dataclass(frozen=True)
class PreprocessingCache:
    """Cache the fitted preprocessing of recent trials."""

    entries: list[tuple[tuple[Any, ...], FittedPreprocessing]] = field(default_factory=list)

    def get(self, context: DataContext) -> FittedPreprocessing:
        key = (context.recipe.data, context.model.data_requirements(), context.recipe.training.preference)
        found = next((prepared for known, prepared in self.entries if known == key), None)
        if found is None:
            found = fit_preprocessing(context)
            self.entries[:] = [*self.entries[1 - MAX_CACHED :], (key, found)]
        return found


def _new_study(context: DataContext, trials: int | None) -> Study:
    recipe = context.requested_recipe or context.recipe
    if recipe.tuning is None:
        raise ArgumentError(
            "the recipe has no `tuning` section; add for example "
            "tuning: {space: {training.optimizer.lr: {log: [1e-4, 1e-1]}}}",
            code="DL401",
        )
    if dist_env().world_size > 1:
        raise ArgumentError("a search runs in one process; start it without torchrun or --processes", code="DL602")
    if trials is not None:
        recipe = recipe.model_copy(update={"tuning": recipe.tuning.model_copy(update={"trials": trials})})
    seen = replace(context.splits, test=Split(np.empty(0, dtype=np.int64), context.splits.test.table))
    metric = search_metric(resolve_recipe(recipe, context.dataset))
    blind = replace(context, splits=seen, findings=(), dropped=context.dropped.clear(), requested_recipe=None)
    return Study(blind, context, recipe, metric)


def _write_setup(study: Study, run: RunDirectory) -> None:
    """Write the files that do not depend on trials.

    First what makes the run a search, last the recipe: a folder that has it can be resumed, and as what it is.
    """
    import torch

    from danlu.core.devices import open_device

    context = study.full_context
    accelerator = open_device(context.recipe.training.device)
    known = describe_environment(str(accelerator.torch_device), context.recipe.seed, torch.get_num_threads())
    write_run_recipe(run.path / SEARCH_FILE, study.recipe)
    write_sealed(run.path / ENVIRONMENT, known)
    write_run_data(context, run, {})
    (run.path / TRIALS_FOLDER).mkdir()
    write_run_recipe(run.path / RECIPE, context.recipe.model_copy(update={"tuning": None}))


def _run_trials(study: Study, run: RunDirectory) -> None:
    """Run the missing trials, then adopt the best one as the run's model.

    Raises:
        DanluError: all trials failed.
    """
    sampler, axes = Sampler.of(study.tuning.sampler), to_search_space(study.tuning.space)
    seed, higher = Seed(study.recipe.seed).derive("tuning"), study.higher_is_better
    trials = read_trials(run.path)
    while len(trials) < study.tuning.trials:
        past = [CompletedTrial(trial.values, trial_cost(trial, higher)) for trial in trials]
        values = sampler.propose(axes, past, seed)
        if values is None:
            info(f"all {len(trials)} combinations of the grid have been tried")
            break
        trials.append(_run_trial(study, run, trials, values))
        _record_trial(study, run, trials)
        info(_describe_trial(study, trials))
    best = best_trial(trials, higher)
    if best is None:
        raise DanluError(f"{run.path}: all {len(trials)} trials failed; the last one: {trials[-1].why}", code="DL509")
    _keep_model_of(run, trials, best)  # a killed process may not have come to that
    _adopt_best(run, best)


def _run_trial(study: Study, run: RunDirectory, trials: list[Trial], values: dict[str, Any]) -> Trial:
    """Train and score one recipe; an identical earlier trial is copied instead."""
    number, begun = len(trials), time.monotonic()
    twin = next((trial for trial in trials if trial.values == values), None)
    if twin is not None:
        why = twin.why or f"as trial {twin.number}"
        return Trial(number, values, study.metric, twin.value, 0.0, twin.state, why)
    value, why, folder = None, "", trial_folder(run.path, number)
    try:
        context = _trial_context(study, values)
        with suppressed():
            value = _score_trial(study, context, _train_trial(study, context, folder))
    except Stopped as error:
        raise Stopped(
            f"stopped in trial {number + 1}; resume with `danlu tune --resume {run.path}`", code="DL510"
        ) from error
    except FATAL_ERRORS:
        raise
    except Exception as error:  # values may lead to anything: NaN, out of memory, layers that do not fit
        why = " ".join(str(error).split()) or type(error).__name__
        gc.collect()
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    took = round(time.monotonic() - begun, 3)
    return Trial(number, values, study.metric, value, took, "failed" if value is None else "done", why)


def _trial_context(study: Study, values: dict[str, Any]) -> DataContext:
    """Return the data with the trial's resolved recipe."""
    return replace(study.context, recipe=resolve_recipe(variant(study.recipe, values), study.context.dataset))


def _train_trial(study: Study, context: DataContext, folder: Path) -> RunDirectory:
    """Return the trial's run: finished, resumed from its checkpoint, or newly trained."""
    run = RunDirectory(folder)
    if (run.model / MANIFEST).is_file():
        return run
    if run.checkpoints():
        return resume_training(folder, learn=train_or_search)
    shutil.rmtree(folder, ignore_errors=True)
    return train_run(
        context,
        folder.parent,
        folder.name,
        overwrite=False,
        learn=train_or_search,
        fit_preprocessor=study.preprocessing.get,
    )


def _score_trial(study: Study, context: DataContext, run: RunDirectory) -> float:
    """Return the validation metric of the trial's best weights.

    Raises:
        DanluError: it is undefined on the validation split.
    """
    metric, kept = study.metric, best_validation_record(run, context.recipe.training)
    if kept is not None and metric in kept:
        return float(kept[metric])
    from danlu.models.predictor import Predictor

    predictor = Predictor.load(run.path, recipe_model=context.model)
    part, name = context.splits.validation, metric.removeprefix("validation/")
    outputs = predictor.raw_outputs(part, context.origin)
    found = compute_metrics((name,), build_predictions(part, predictor.target, outputs, scored_text_column(context)))
    if name not in found:
        raise DanluError(f"{metric} is undefined on the validation split; choose another tuning.metric", code="DL505")
    return found[name]


def _record_trial(study: Study, run: RunDirectory, trials: list[Trial]) -> None:
    """Record the newest trial; keep only the best trial's model."""
    best, newest = best_trial(trials, study.higher_is_better), trials[-1]
    append_trial(run.path, newest)
    forget_replaced(run.path)
    if best is not None:
        write_bytes(run.path / BEST_FILE, (trial_folder(run.path, best.number) / RECIPE).read_bytes())
    _keep_model_of(run, trials, best)


def _keep_model_of(run: RunDirectory, trials: list[Trial], best: Trial | None) -> None:
    """Delete the models of all other trials."""
    for trial in trials:
        if trial is not best:
            shutil.rmtree(trial_folder(run.path, trial.number) / "model", ignore_errors=True)


def _describe_trial(study: Study, trials: list[Trial]) -> str:
    """Describe the newest trial in one line."""
    newest, best = trials[-1], best_trial(trials, study.higher_is_better)
    values = ", ".join(f"{key} {_format_value(value)}" for key, value in newest.values.items())
    figure = f"failed: {_shorten(newest.why)}" if newest.value is None else f"{newest.metric} {newest.value:.4g}"
    so_far = f"; best so far {best.value:.4g} (trial {best.number + 1})" if best else ""
    took = f" in {format_duration(newest.seconds)}" if newest.seconds >= 1 else ""
    return f"trial {newest.number + 1} of {study.tuning.trials}: {values}: {figure}{took}{so_far}"


def _shorten(why: str) -> str:
    """Shorten a reason to fit the line."""
    return why if len(why) <= MAX_REASON_CHARS else f"{why[: MAX_REASON_CHARS - 1]}…"


def _format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _adopt_best(run: RunDirectory, best: Trial) -> None:
    """Copy the best trial's files into the run.

    The model is moved last: its presence marks the search as finished.
    """
    folder = trial_folder(run.path, best.number)
    write_bytes(run.path / BEST_FILE, (folder / RECIPE).read_bytes())
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != ENVIRONMENT and not file.name.startswith("."):
            write_bytes(run.path / file.name, file.read_bytes())
    for name in (REFERENCE_FILE, TEACHER_FILE):
        if (folder / "data" / name).is_file():
            write_bytes(run.path / "data" / name, (folder / "data" / name).read_bytes())
    known, theirs = (read_profile(RunDirectory(path)) for path in (run.path, folder))
    if theirs["target"] is not None and "balanced" in theirs["target"]:
        known["target"]["balanced"] = theirs["target"]["balanced"]
    write_profile(run, known)
    (folder / "model").replace(run.model)
