"""Train one recipe into a run directory with a bundle, or resume an interrupted run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.artifacts.bundle import CONFIG, FORMAT, Manifest, write_manifest
from danlu.artifacts.checkpoints import (
    Checkpoint,
    Checkpoints,
    load_weights,
    open_checkpoint,
    trusted_checkpoint,
    unique_tensors,
)
from danlu.artifacts.environment import environment, versions
from danlu.artifacts.files import whole_folder, write_json, write_text
from danlu.artifacts.lock import locked
from danlu.artifacts.run import ENVIRONMENT, RECIPE, RunDirectory, refuse_existing
from danlu.artifacts.trials import is_search
from danlu.core.console import progress, say
from danlu.core.errors import ArgumentError, DanluError
from danlu.core.whereabouts import is_timeout
from danlu.core.world import this_world
from danlu.data.clean import in_words
from danlu.models.base import FitsItself
from danlu.recipe.load import as_recipe, dump_recipe
from danlu.recipe.schema import Recipe
from danlu.recipe.sections import Training
from danlu.verbs.begun import begun_before
from danlu.verbs.fitting import Fitting, begin, build_machine, say_what_is_trained, validator, with_training
from danlu.verbs.folds import require_folds
from danlu.verbs.growing import grow
from danlu.verbs.prepare import Opened, Prepared, fit_preparation, open_data, write_data
from danlu.verbs.refitting import epochs_of_folds
from danlu.verbs.resume import newest_sound, open_stopped, say_what_differs, threads_of, verify_steps
from danlu.verbs.settle import settle
from danlu.verbs.teaching import refuse_another_teacher, remember_teacher
from danlu.verbs.trial import flops_of_step

if TYPE_CHECKING:
    from torch import nn

    from danlu.core.team import Team
    from danlu.training.loop import Outcome
    from danlu.training.machine import Machine
    from danlu.training.watch import Watch


def train(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    output: str | Path = "runs",
    name: str | None = None,
    overwrite: bool = False,
    profile: bool = False,
) -> RunDirectory:
    """Train a model.

    Args:
        recipe: a Recipe, a mapping, a file, or the name of a built-in recipe.
        output: the folder of runs.
        name: the run's folder in it; None for the recipe's name and the time.
        overwrite: replace a run of that name.
        profile: write a profile of some steps.

    Returns:
        the run with its bundle under `model`, not evaluated yet.

    Raises:
        RecipeError, DataError, ArgumentError, MissingExtra: before anything is written.
        ArtifactError: the run cannot be written.
    """
    begun = begun_before(Path(output))
    if begun is not None:
        return resume(begun.path, profile=profile)
    refuse_existing(Path(output), name, overwrite)
    opened = open_data(as_recipe(recipe))
    require_folds(opened)
    if opened.recipe.tuning is not None:
        say("`danlu train` ignores the recipe's tuning section; use `danlu tune` or `danlu run` to search")
    return train_opened(opened, Path(output), name, overwrite, profile=profile)


def train_opened(
    opened: Opened,
    output: Path,
    name: str | None,
    overwrite: bool,
    dry: bool = False,
    profile: bool = False,
    prepare: Callable[[Opened], Prepared] = fit_preparation,
) -> RunDirectory:
    """Train on loaded data into a new run; ignore the tuning section.

    Everything that can be wrong with the user's input is found before the run's folder is made.

    Args:
        dry: use two batches per split and two steps.
        prepare: fits the preprocessing, or returns a cached one.
    """
    import torch

    opened = replace(opened, recipe=opened.recipe.model_copy(update={"tuning": None}))
    fitting = begin(opened, dry, prepare=prepare)
    size_bytes = sum(value.nbytes for value in unique_tensors(fitting.model).values())
    # A checkpoint holds the weights and two moments each; three are kept while a fourth is being written.
    needed_bytes = 12 * size_bytes + (1 << 20)
    if not fitting.team.is_main:
        return _take_part(fitting)
    run = RunDirectory.create(output, opened.recipe.name, name, overwrite, needed_bytes)
    with run, locked(run):
        known = environment(str(fitting.accelerator.torch_device), opened.recipe.seed, torch.get_num_threads())
        write_json(run.path / ENVIRONMENT, known)
        _say_what_was_found(opened)
        fitting = settle(fitting, run)
        write_text(run.path / RECIPE, dump_recipe(fitting.opened.recipe))
        write_data(fitting.opened, run, fitting.balanced.profile())
        remember_teacher(run, fitting.teacher)
        settled = fitting.opened.recipe.training
        fitting.team.share({"run": str(run.path.resolve()), "settled": _tried(settled)})
        if opened.recipe.evaluation.refits:
            opened = fitting.opened
            del fitting  # frees its memory for the folds
            until = epochs_of_folds(opened, run)
            fitting = replace(begin(opened), until=until)
        _fit_and_bundle(fitting, run, None, profile)
    return run


def _take_part(fitting: Fitting) -> RunDirectory:
    """Train as a non-main process.

    Use the main process's run and the settings that it found for `auto`.
    """
    shared = fitting.team.share()
    run, optimizer = RunDirectory(Path(shared["run"])), fitting.opened.recipe.training.optimizer
    optimizer = optimizer.model_copy(update={"lr": shared["settled"]["lr"]})
    fitting = with_training(fitting, batch_size=shared["settled"]["batch_size"], optimizer=optimizer)
    _fit_and_bundle(fitting, run, None, profile=False)
    return run


def _tried(training: Training) -> dict[str, object]:
    """Return the training options that `auto` may have set."""
    return {"batch_size": training.batch_size, "lr": getattr(training.optimizer, "lr", None)}


def resume(run: str | Path, verify: int | None = None, profile: bool = False) -> RunDirectory:
    """Resume an interrupted run, bit for bit as if never interrupted.

    A search goes on with its next trial.

    Args:
        run: its folder.
        verify: first repeat at least this many of the last steps and compare.
        profile: write a profile of some steps.

    Raises:
        ArgumentError: it is not a run, it is finished, or no checkpoint is old enough to verify from.
        DataError: the data has changed.
        ArtifactError: the run is damaged, or does not reproduce its steps.
    """
    if is_search(Path(run)):
        from danlu.verbs.tune import resume_search

        if verify is not None:
            raise ArgumentError("--verify repeats the steps of one training, and this run is a search; remove --verify")
        return resume_search(run)
    stopped = open_stopped(run)
    until = epochs_of_folds(stopped.opened, stopped.run) if stopped.opened.recipe.evaluation.refits else None
    compute = threads_of(stopped.run) if this_world().size == 1 else None
    fitting = replace(begin(stopped.opened, compute=compute, goes_on=True), until=until)
    say_what_differs(stopped.run, fitting)
    refuse_another_teacher(stopped.run, fitting.teacher)
    if verify is not None and isinstance(fitting.opened.model, FitsItself):
        raise ArgumentError(f"--verify repeats steps, and {fitting.opened.model.name} has none; remove --verify")
    if verify is not None and not fitting.team.alone:
        raise ArgumentError("--verify works with one process only; remove --verify or --processes")
    with locked(stopped.run) if fitting.team.is_main else nullcontext():
        checkpoint = _agreed_checkpoint(fitting, stopped.run)
        if verify is not None:
            verify_steps(fitting, stopped.run, checkpoint, verify)
        if fitting.team.is_main:
            stopped.run.rewind(checkpoint.step if checkpoint else 0)
        fitting.team.wait_for_all()
        _fit_and_bundle(fitting, stopped.run, checkpoint, profile)
    return stopped.run


def _agreed_checkpoint(fitting: Fitting, run: RunDirectory) -> Checkpoint | None:
    """Return the newest valid checkpoint, as found by the main process."""
    if fitting.team.is_main:
        found = newest_sound(run)
        fitting.team.share(found.step if found else None)
        return found
    step = fitting.team.share()
    return None if step is None else trusted_checkpoint(run, step)


def _fit_and_bundle(fitting: Fitting, run: RunDirectory, checkpoint: Checkpoint | None, profile: bool) -> None:
    """Train to the end, from a checkpoint if given, and write the bundle."""
    if isinstance(fitting.opened.model, FitsItself):
        _say_outcome(fitting, grow(fitting, run), "rounds")
        write_bundle(run, fitting, fitting.model)
        return
    from danlu.training.finetuning import finish_finetuning
    from danlu.training.hints import remove_hint

    flops = flops_of_step(fitting)
    machine, watch, first = build_machine(fitting), fitting.watch(), 0
    if checkpoint is not None:
        machine.load(checkpoint, watch)
        first = checkpoint.step
    say_what_is_trained(fitting, first)
    with named_timeouts(fitting.team):
        outcome = _fit(fitting, machine, watch, run, first, profile, flops)
    _say_outcome(fitting, outcome, "steps")
    if fitting.team.is_main:
        model = _whole_model(fitting)
        load_weights(model, open_checkpoint(run, outcome.best_step).judged)
        remove_hint(model)
        whole = fitting.whole or model  # with head-only training, `model` is the head of `whole`
        finish_finetuning(whole, fitting.opened.finetune)
        machine.step.precision.finish(whole)
        write_bundle(run, fitting, whole)


def _say_outcome(fitting: Fitting, outcome: "Outcome", unit: str) -> None:
    """Log how training ended and which weights are kept.

    Raises:
        DanluError: the monitored metric was never defined, so there are no best weights.
    """
    done = f"trained {outcome.steps:,} {unit}, {outcome.ended}; kept"
    if fitting.until is not None:
        say(f"{done} the last weights")
        return
    if outcome.best is None:
        raise DanluError(
            f"{fitting.watched} was never defined on the validation split; set training.early_stopping.metric to "
            "another metric"
        )
    say(
        f"{done} the weights of {unit.removesuffix('s')} {outcome.best_step:,} "
        f"(validation {fitting.watched} {outcome.best:.4f})"
    )


@contextmanager
def named_timeouts(team: "Team") -> Iterator[None]:
    """Turn a collective's timeout into an error that names the missing process."""
    try:
        yield
    except RuntimeError as error:
        if team.whereabouts is None or not is_timeout(error):
            raise
        raise DanluError(team.whereabouts.missing(error)) from error
    finally:
        if team.whereabouts is not None:
            team.whereabouts.close()


def _whole_model(fitting: Fitting) -> "nn.Module":
    """Return the trained model; if sharded, an untrained complete one on the host.

    The best weights are loaded into it.
    """
    if not fitting.together.splits_weights:
        return fitting.model
    prepared = fitting.prepared
    return fitting.opened.model.build(prepared.preprocessor.inputs, prepared.target.outputs)


def _fit(
    fitting: Fitting,
    machine: "Machine",
    watch: "Watch",
    run: RunDirectory,
    first: int,
    profile: bool,
    flops: float | None,
) -> "Outcome":
    """Run the training loop with checkpoints, progress, logging and callbacks."""
    from danlu.training.alarms import Alarms
    from danlu.training.callbacks import Setting
    from danlu.training.journal import RunJournal, SilentJournal
    from danlu.training.loop import train
    from danlu.training.meter import Meter, Throughput
    from danlu.training.profiling import profiler
    from danlu.training.trackers import callbacks_for

    options, plan, size, team = fitting.opened.recipe.training, fitting.plan, machine.batch_size, fitting.team
    feed, validate = fitting.balanced.feed, validator(fitting, machine)
    pieces = team.world if fitting.together.splits_weights else None
    with ExitStack() as stack:
        writes = team.is_main or pieces is not None
        checkpoints = (
            stack.enter_context(Checkpoints(run, options.checkpoint.keep, pieces, team.lost)) if writes else None
        )
        if checkpoints is None or not team.is_main:
            silent = SilentJournal(run, checkpoints)
            outcome = train(machine, feed, plan, fitting.seed, watch, validate, silent, first)
            silent.finish(machine, outcome.steps, watch)
            return outcome
        bar = stack.enter_context(progress("training", plan.ends * size, "samples", done=first * size))
        machine.step.profiler = stack.enter_context(profiler(run, profile))
        fitting.accelerator.reset_peak()
        tokens = machine.tokens_a_sample if machine.tokens_a_sample > 1 else None
        own = None if flops is None else flops / team.world.size
        meter = Meter(bar, fitting.accelerator, tokens, own, machine.step.precision.name)
        callbacks = (Throughput(meter), *callbacks_for(options))
        journal = RunJournal(run, checkpoints, options.checkpoint, meter, Alarms(), callbacks, first)
        with journal.told(Setting(run, fitting.model, options, plan.ends, first)):
            outcome = train(machine, feed, plan, fitting.seed, watch, validate, journal, first)
        journal.finish(machine, outcome.steps, watch)
    return outcome


def _say_what_was_found(opened: Opened) -> None:
    """Log serious audit findings and the number of dropped rows, if any."""
    serious = [finding for finding in opened.findings if finding.severity != "note"]
    if serious:
        subjects = ", ".join(dict.fromkeys(finding.subject for finding in serious))
        say(f"the audit warns about {subjects}; see the report for details and `danlu check` for how to fix it")
    if opened.dropped.height:
        origin, height = opened.dataset.origin, opened.dataset.frame.height
        say(f"{origin}: dropped {opened.dropped.height:,} of {height:,} rows: {in_words(opened.dropped)}")


def write_bundle(run: RunDirectory, fitting: Fitting, model: "nn.Module") -> None:
    """Write the trained model with everything it needs to predict raw rows."""
    opened, prepared = fitting.opened, fitting.prepared
    options, batch_size = opened.model.portable(), opened.recipe.training.batch_size
    assert isinstance(batch_size, int)
    kept = set(prepared.preprocessor.columns)
    manifest = Manifest(
        format=FORMAT,
        name=opened.recipe.name,
        kind=opened.dataset.kind,
        task=opened.dataset.task,
        columns=tuple({"name": c.name, "type": c.type} for c in opened.dataset.columns if c.name in kept),
        output=prepared.target.model_dump(mode="json"),
        preprocessing=prepared.preprocessor.model_dump(mode="json"),
        batch_size=batch_size,
        versions=versions(),
    )
    with whole_folder(run.model) as folder:
        options.write_weights(model, folder)
        write_json(folder / CONFIG, options.model_dump(mode="json"))
        write_manifest(folder, manifest)
