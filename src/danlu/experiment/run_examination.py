"""Examine a run's folder: what is damaged, what is missing, what can be done; mend what can be mended.

In: a folder. Out: a list of `Advice`. Nothing of the run is changed but leftovers of dead processes, which are deleted,
and an earlier run, which is brought back where its replacement came to nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from danlu.artifacts.bundle import MANIFEST
from danlu.artifacts.checkpoints import valid_checkpoints
from danlu.artifacts.files import read_jsonl, read_sealed, require_companion
from danlu.artifacts.ownership import LOCK, RECIPE, REPLACED, REPLACING, discard, is_held, leftovers, lock_run
from danlu.artifacts.run import ALARMS, EVALUATION, METRICS, TEST_EVALUATIONS, THROUGHPUT, RunDirectory
from danlu.artifacts.run_recipe import load_run_recipe
from danlu.artifacts.trials import SEARCH_FILE, TRIALS_FILE, TRIALS_FOLDER, read_trials
from danlu.core.advice import Advice
from danlu.errors import ArgumentError, ArtifactError, DanluError
from danlu.experiment.cross_validation import FOLDS_FOLDER
from danlu.experiment.run_data import load_run_data
from danlu.models.base import Model

LOGS = (METRICS, ALARMS, THROUGHPUT, TEST_EVALUATIONS, TRIALS_FILE)


def examine_run(path: Path) -> list[Advice]:
    """Examine a run and mend what can be mended.

    Raises:
        ArgumentError: there is no run, nor one that was begun.
    """
    if not any((path / name).exists() for name in (RECIPE, LOCK, REPLACED, REPLACING)):
        raise ArgumentError(
            f"{path}: is not a run directory (it has no {RECIPE}); `danlu runs` lists them", code="DL406"
        )
    if is_held(path):
        return [Advice(well=True, subject="lock", message="another process writes into this run now; ask again later")]
    return [*_mend(path), *_examine(path)]


def _mend(path: Path) -> Iterator[Advice]:
    """Delete leftovers, and bring back an earlier run that nothing has replaced."""
    found = leftovers(path)
    was_moving = (path / REPLACING).exists()
    with lock_run(path):  # clears up by itself
        if was_moving:
            yield _mended("earlier run", "its files were being moved when the process died; they are back")
        if found:
            yield _mended("leftovers", f"deleted {len(found)} half-written files or folders of a process that died")
        run = RunDirectory(path)
        if (path / REPLACED).exists() and not run.has_progress():
            discard(path)
            yield _mended("earlier run", "its replacement died before its first checkpoint; it is back")


def _mended(subject: str, message: str) -> Advice:
    return Advice(well=True, subject=subject, message=message, mended=True)


def _examine(path: Path, prefix: str = "") -> Iterator[Advice]:
    """Yield what each part of a run is like.

    Of folds and trials only what is wrong.
    """
    if not (path / RECIPE).is_file():
        yield Advice(
            well=False,
            subject=f"{prefix}recipe",
            message=f"has no {RECIPE}: the process died before the run could be resumed",
            cure="train again with --overwrite, or delete the folder",
        )
        return
    run = RunDirectory(path)
    for subject, examine, cure in (
        ("recipe", _examine_recipe, "restore it from a copy; nothing can be made of a run without it"),
        ("environment", _examine_environment, "restore it from a copy, or train again"),
        ("data", _examine_data, "restore the data or the run's folder `data`, or train again"),
        ("logs", _examine_logs, "restore it from a copy; without it the report lacks its lines"),
        ("checkpoints", _examine_checkpoints, f"`danlu train --resume {path}` goes on from an older one"),
        ("model", _examine_model, "copy the bundle again, or train again"),
        ("evaluation", _examine_evaluation, f"`danlu evaluate {path}` makes it again"),
    ):
        try:
            message = examine(run)
        except DanluError as error:
            yield Advice(well=False, subject=prefix + subject, message=str(error), cure=cure)
            continue
        if not prefix:
            yield Advice(well=True, subject=subject, message=message)
    for folder in (FOLDS_FOLDER, TRIALS_FOLDER):
        for inner in sorted(path.glob(f"{folder}/*/{RECIPE}")):
            yield from _examine(inner.parent, f"{prefix}{folder}/{inner.parent.name}: ")


def _examine_recipe(run: RunDirectory) -> str:
    recipe = load_run_recipe(run.path / RECIPE)
    if (run.path / SEARCH_FILE).is_file():
        load_run_recipe(run.path / SEARCH_FILE)
    return f"of {recipe.name}, as it was trained"


def _examine_environment(run: RunDirectory) -> str:
    return f"torch {run.environment().get('versions', {}).get('torch', 'unknown')}"


def _examine_data(run: RunDirectory) -> str:
    context = load_run_data(load_run_recipe(run.path / RECIPE), run)
    return ", ".join(f"{len(part):,} rows {name}" for name, part in context.splits.items())


def _examine_logs(run: RunDirectory) -> str:
    counts = {name: len(read_jsonl(run.path / name)) for name in LOGS if (run.path / name).is_file()}
    read_trials(run.path)
    return ", ".join(f"{name} {count:,} lines" for name, count in counts.items()) or "none yet"


def _examine_checkpoints(run: RunDirectory) -> str:
    found = list(valid_checkpoints(run))
    for each in found:
        if isinstance(each, ArtifactError):
            raise each
    return f"{len(found)} whole" if found else "none"


def _examine_model(run: RunDirectory) -> str:
    if not (run.model / MANIFEST).is_file():
        return "not trained to its end yet"
    from danlu.models.predictor import Predictor

    Predictor.load(run.path, recipe_model=Model.of(load_run_recipe(run.path / RECIPE).model))
    return "as it was written, and it gives its golden answers"


def _examine_evaluation(run: RunDirectory) -> str:
    if not (run.path / EVALUATION).is_file():
        return "not evaluated yet"
    sealed: dict[str, Any] = read_sealed(run.path / EVALUATION)
    for name in sealed.get("files", {}):
        if not (run.path / name).is_file():
            raise ArtifactError(f"{run.path / name}: is missing", code="DL303")
        require_companion(run.path / EVALUATION, sealed, run.path / name)
    return "as it was written"
