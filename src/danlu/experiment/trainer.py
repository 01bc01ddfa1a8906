"""Train one recipe into a run directory with a bundle, or resume an interrupted run.

Knows nothing of searches. What trains the folds of a recipe that asks for a refit is handed in as `learn`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.artifacts.bundle import CONFIG, FORMAT, Manifest, write_manifest
from danlu.artifacts.checkpoints import (
    Checkpoint,
    CheckpointManager,
    load_weights,
    open_checkpoint,
    open_checkpoint_unchecked,
    unique_state_dict,
)
from danlu.artifacts.environment import describe_environment, installed_versions
from danlu.artifacts.files import atomic_folder, write_json, write_text
from danlu.artifacts.run import ENVIRONMENT, RECIPE, RunDirectory, lock_run
from danlu.core.console import info, progress
from danlu.core.distributed.env import dist_env
from danlu.core.distributed.heartbeat import is_timeout
from danlu.data.clean import summarize
from danlu.errors import ArgumentError, DanluError
from danlu.experiment.auto_settings import resolve_auto_settings
from danlu.experiment.cross_validation import Learn, refit_epochs
from danlu.experiment.data_context import DataContext, FittedPreprocessing, fit_preprocessing
from danlu.experiment.distillation import check_teacher_unchanged, save_teacher_digest
from danlu.experiment.fit_rounds import fit_rounds
from danlu.experiment.model_summary import log_model_summary
from danlu.experiment.prepare import prepare_training
from danlu.experiment.probe import flops_per_step
from danlu.experiment.resume import (
    newest_valid_checkpoint,
    open_interrupted_run,
    recorded_threads,
    verify_steps,
    warn_of_environment_changes,
)
from danlu.experiment.run_data import write_run_data
from danlu.experiment.setup import (
    TrainingSetup,
    create_train_state,
    with_training_options,
)
from danlu.experiment.validation import make_validation_fn
from danlu.models.base import SelfFittingModel
from danlu.recipe.load import dump_recipe
from danlu.recipe.sections.training import Training

if TYPE_CHECKING:
    from torch import nn

    from danlu.core.distributed.process_groups import ProcessGroups
    from danlu.training.early_stopping import EarlyStopper
    from danlu.training.loop import TrainResult
    from danlu.training.train_state import TrainState


def train_run(
    opened: DataContext,
    output: Path,
    name: str | None,
    overwrite: bool,
    *,
    learn: Learn,
    dry_run: bool = False,
    profile: bool = False,
    fit_preprocessor: Callable[[DataContext], FittedPreprocessing] = fit_preprocessing,
) -> RunDirectory:
    """Train on loaded data into a new run; ignore the tuning section.

    Everything that can be wrong with the user's input is found before the run's folder is made.

    Args:
        learn: trains a fold, if the recipe asks for a refit.
        dry_run: use two batches per split and two steps.
        fit_preprocessor: fits the preprocessing, or returns a cached one.
    """
    opened = replace(opened, recipe=opened.recipe.model_copy(update={"tuning": None}))
    fitting = prepare_training(opened, dry_run, fit_preprocessor=fit_preprocessor)
    if not fitting.team.is_main:
        return _train_as_worker(fitting)
    run = RunDirectory.create(output, opened.recipe.name, name, overwrite, _needed_bytes(fitting))
    with run, lock_run(run):
        fitting = _start_run(run, fitting)
        if opened.recipe.evaluation.refits:
            opened = fitting.context
            del fitting  # frees its memory for the folds
            fitting = prepare_training(opened, fixed_epochs=refit_epochs(opened, run, learn=learn))
        _fit_and_bundle(fitting, run, None, profile)
    return run


def _needed_bytes(fitting: TrainingSetup) -> int:
    """Return the disk space that a run needs at least."""
    size_bytes: int = sum(value.nbytes for value in unique_state_dict(fitting.model).values())
    # A checkpoint holds the weights and two moments each; three are kept while a fourth is being written.
    return 12 * size_bytes + (1 << 20)


def _start_run(run: RunDirectory, fitting: TrainingSetup) -> TrainingSetup:
    """Write everything known before the first step, and tell the other processes.

    Returns:
        the setup with numbers for `auto`.
    """
    import torch

    opened = fitting.context
    known = describe_environment(str(fitting.accelerator.torch_device), opened.recipe.seed, torch.get_num_threads())
    write_json(run.path / ENVIRONMENT, known)
    _log_data_findings(opened)
    fitting = resolve_auto_settings(fitting, run)
    training = fitting.context.recipe.training
    write_text(run.path / RECIPE, dump_recipe(fitting.context.recipe))
    write_run_data(fitting.context, run, fitting.balanced.profile())
    save_teacher_digest(run, fitting.teacher_digest)
    fitting.team.broadcast_object({"run": str(run.path.resolve()), "settled": _auto_settings_of(training)})
    return fitting


def _train_as_worker(fitting: TrainingSetup) -> RunDirectory:
    """Train as a non-main process.

    Use the main process's run and the settings that it found for `auto`.
    """
    shared = fitting.team.broadcast_object()
    run, optimizer = RunDirectory(Path(shared["run"])), fitting.context.recipe.training.optimizer
    optimizer = optimizer.model_copy(update={"lr": shared["settled"]["lr"]})
    fitting = with_training_options(fitting, batch_size=shared["settled"]["batch_size"], optimizer=optimizer)
    _fit_and_bundle(fitting, run, None, profile=False)
    return run


def _auto_settings_of(training: Training) -> dict[str, object]:
    """Return the training options that `auto` may have set."""
    return {"batch_size": training.batch_size, "lr": getattr(training.optimizer, "lr", None)}


def resume_training(run: str | Path, *, learn: Learn, verify: int | None = None, profile: bool = False) -> RunDirectory:
    """Resume an interrupted training, bit for bit as if never interrupted.

    Args:
        run: its folder; not that of a search.
        learn: trains a fold that is missing, if the recipe asks for a refit.
        verify: first repeat at least this many of the last steps and compare.
        profile: write a profile of some steps.

    Raises:
        ArgumentError: it is not a run, it is finished, or no checkpoint is old enough to verify from.
        DataError: the data has changed.
        ArtifactError: the run is damaged, or does not reproduce its steps.
    """
    stopped = open_interrupted_run(run)
    epochs = refit_epochs(stopped.context, stopped.run, learn=learn)
    compute = recorded_threads(stopped.run) if dist_env().world_size == 1 else None
    fitting = prepare_training(stopped.context, compute_threads=compute, resumes=True, fixed_epochs=epochs)
    warn_of_environment_changes(stopped.run, fitting)
    check_teacher_unchanged(stopped.run, fitting.teacher_digest)
    if verify is not None and isinstance(fitting.context.model, SelfFittingModel):
        raise ArgumentError(f"--verify repeats steps, and {fitting.context.model.name} has none; remove --verify")
    if verify is not None and not fitting.team.is_single_process:
        raise ArgumentError("--verify works with one process only; remove --verify or --processes")
    with lock_run(stopped.run) if fitting.team.is_main else nullcontext():
        checkpoint = _agree_on_checkpoint(fitting, stopped.run)
        if verify is not None:
            verify_steps(fitting, stopped.run, checkpoint, verify)
        if fitting.team.is_main:
            stopped.run.rollback(checkpoint.step if checkpoint else 0)
        fitting.team.barrier()
        _fit_and_bundle(fitting, stopped.run, checkpoint, profile)
    return stopped.run


def _agree_on_checkpoint(fitting: TrainingSetup, run: RunDirectory) -> Checkpoint | None:
    """Return the newest valid checkpoint, as found by the main process."""
    if fitting.team.is_main:
        found = newest_valid_checkpoint(run)
        fitting.team.broadcast_object(found.step if found else None)
        return found
    step = fitting.team.broadcast_object()
    return None if step is None else open_checkpoint_unchecked(run, step)


def _fit_and_bundle(fitting: TrainingSetup, run: RunDirectory, checkpoint: Checkpoint | None, profile: bool) -> None:
    """Train to the end, from a checkpoint if given, and write the bundle."""
    if isinstance(fitting.context.model, SelfFittingModel):
        _log_outcome(fitting, fit_rounds(fitting, run), "rounds")
        write_bundle(run, fitting, fitting.model)
        return
    from danlu.training.distillation import remove_feature_distillation
    from danlu.training.finetuning import finalize_finetuning

    flops = flops_per_step(fitting)
    machine, watch, first = create_train_state(fitting), fitting.new_early_stopping(), 0
    if checkpoint is not None:
        machine.load_checkpoint(checkpoint, watch)
        first = checkpoint.step
    log_model_summary(fitting, first)
    with report_timeouts(fitting.team):
        outcome = _run_loop(fitting, machine, watch, run, first, profile, flops)
    _log_outcome(fitting, outcome, "steps")
    if fitting.team.is_main:
        model = _build_full_model(fitting)
        load_weights(model, open_checkpoint(run, outcome.best_step).evaluated_weights)
        remove_feature_distillation(model)
        whole = fitting.full_model or model  # with head-only training, `model` is the head of `whole`
        finalize_finetuning(whole, fitting.context.finetune)
        machine.step.precision.finish(whole)
        write_bundle(run, fitting, whole)


def _log_outcome(fitting: TrainingSetup, outcome: "TrainResult", unit: str) -> None:
    """Log how training ended and which weights are kept.

    Raises:
        DanluError: the monitored metric was never defined, so there are no best weights.
    """
    done = f"trained {outcome.steps:,} {unit}, {outcome.stop_reason}; kept"
    if fitting.fixed_epochs is not None:
        info(f"{done} the last weights")
        return
    if outcome.best is None:
        raise DanluError(
            f"{fitting.monitored_metric} was never defined on the validation split; set training.early_stopping.metric "
            "to another metric"
        )
    info(
        f"{done} the weights of {unit.removesuffix('s')} {outcome.best_step:,} "
        f"(validation {fitting.monitored_metric} {outcome.best:.4f})"
    )


@contextmanager
def report_timeouts(groups: "ProcessGroups") -> Iterator[None]:
    """Turn a collective's timeout into an error that names the missing process."""
    try:
        yield
    except RuntimeError as error:
        if groups.heartbeat is None or not is_timeout(error):
            raise
        raise DanluError(groups.heartbeat.describe_timeout(error)) from error
    finally:
        if groups.heartbeat is not None:
            groups.heartbeat.close()


def _build_full_model(fitting: TrainingSetup) -> "nn.Module":
    """Return the trained model; if sharded, an untrained complete one on the host.

    The best weights are loaded into it.
    """
    if not fitting.parallel.is_sharded:
        return fitting.model
    prepared = fitting.preprocessing
    return fitting.context.model.build(prepared.preprocessor.inputs, prepared.target.outputs)


def _run_loop(
    fitting: TrainingSetup,
    machine: "TrainState",
    watch: "EarlyStopper",
    run: RunDirectory,
    first: int,
    profile: bool,
    flops: float | None,
) -> "TrainResult":
    """Run the training loop with checkpoints, progress, logging and callbacks."""
    from danlu.training.loop import train
    from danlu.training.monitoring.alarms import Alarms
    from danlu.training.monitoring.callbacks import CallbackContext
    from danlu.training.monitoring.meter import Meter, ThroughputLogger
    from danlu.training.monitoring.profiling import profile_steps
    from danlu.training.monitoring.trackers import build_callbacks
    from danlu.training.recorder import RankRecorder, RunRecorder

    options, plan, size, team = fitting.context.recipe.training, fitting.plan, machine.batch_size, fitting.team
    feed, validate = fitting.balanced.loader, make_validation_fn(fitting, machine)
    pieces = team.env if fitting.parallel.is_sharded else None
    with ExitStack() as stack:
        writes = team.is_main or pieces is not None
        checkpoints = (
            stack.enter_context(CheckpointManager(run, options.checkpoint.keep, pieces, team.find_lost_rank))
            if writes
            else None
        )
        if checkpoints is None or not team.is_main:
            silent = RankRecorder(run, checkpoints)
            outcome = train(machine, feed, plan, fitting.seed, watch, validate, silent, first)
            silent.finish(machine, outcome.steps, watch)
            return outcome
        bar = stack.enter_context(progress("training", plan.end_step * size, "samples", done=first * size))
        machine.step.profiler = stack.enter_context(profile_steps(run, profile))
        fitting.accelerator.reset_peak()
        tokens = machine.tokens_per_sample if machine.tokens_per_sample > 1 else None
        own = None if flops is None else flops / team.env.world_size
        meter = Meter(bar, fitting.accelerator, tokens, own, machine.step.precision.name)
        callbacks = (ThroughputLogger(meter), *build_callbacks(options))
        journal = RunRecorder(run, checkpoints, options.checkpoint, meter, Alarms(), callbacks, first)
        with journal.notify_callbacks(CallbackContext(run, fitting.model, options, plan.end_step, first)):
            outcome = train(machine, feed, plan, fitting.seed, watch, validate, journal, first)
        journal.finish(machine, outcome.steps, watch)
    return outcome


def _log_data_findings(opened: DataContext) -> None:
    """Log serious audit findings and the number of dropped rows, if any."""
    serious = [finding for finding in opened.findings if finding.severity != "note"]
    if serious:
        subjects = ", ".join(dict.fromkeys(finding.subject for finding in serious))
        info(f"the audit warns about {subjects}; see the report for details and `danlu check` for how to fix it")
    if opened.dropped.height:
        origin, height = opened.dataset.origin, opened.dataset.frame.height
        info(f"{origin}: dropped {opened.dropped.height:,} of {height:,} rows: {summarize(opened.dropped)}")


def write_bundle(run: RunDirectory, fitting: TrainingSetup, model: "nn.Module") -> None:
    """Write the trained model with everything it needs to predict raw rows."""
    opened, prepared = fitting.context, fitting.preprocessing
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
        versions=installed_versions(),
    )
    with atomic_folder(run.model) as folder:
        options.write_weights(model, folder)
        write_json(folder / CONFIG, options.model_dump(mode="json"))
        write_manifest(folder, manifest)
