"""Train one recipe into a run directory with a bundle, or resume an interrupted run.

Knows nothing of searches. What trains the folds of a recipe that asks for a refit is handed in as `learn`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from danlu.artifacts.checkpoints import (
    Checkpoint,
    CheckpointManager,
    load_weights,
    open_checkpoint,
    open_checkpoint_unchecked,
    unique_state_dict,
)
from danlu.artifacts.environment import describe_environment
from danlu.artifacts.files import StrPath, write_sealed
from danlu.artifacts.ownership import RECIPE, lock_run
from danlu.artifacts.run import ENVIRONMENT, RunDirectory
from danlu.artifacts.run_recipe import write_run_recipe
from danlu.core.console import info, progress
from danlu.core.distributed.env import dist_env
from danlu.core.distributed.heartbeat import is_timeout
from danlu.data.clean import summarize
from danlu.errors import ArgumentError, DanluError
from danlu.experiment.auto_settings import resolve_auto_settings
from danlu.experiment.cross_validation import Learn, refit_epochs
from danlu.experiment.data_context import DataContext, FittedPreprocessing, fit_preprocessing
from danlu.experiment.distillation import check_teacher_unchanged, save_teacher_digest
from danlu.experiment.earlier_run import check_earlier_run_unchanged, describe_earlier_run
from danlu.experiment.fit_rounds import fit_rounds
from danlu.experiment.model_summary import log_model_summary
from danlu.experiment.positive_class import describe_choice, two_classes
from danlu.experiment.prepare import prepare_training
from danlu.experiment.probe import flops_per_step
from danlu.experiment.resume import (
    InterruptedRun,
    newest_valid_checkpoint,
    open_interrupted_run,
    recorded_threads,
    verify_steps,
    warn_of_environment_changes,
)
from danlu.experiment.run_data import write_run_data, write_source
from danlu.experiment.setup import (
    TrainingSetup,
    create_train_state,
    with_training_options,
)
from danlu.experiment.validation import make_validation_fn
from danlu.experiment.written_bundle import write_bundle
from danlu.models.base import SelfFittingModel
from danlu.recipe.sections.training import Training

if TYPE_CHECKING:
    from torch import nn

    from danlu.core.distributed.process_groups import ProcessGroups
    from danlu.training.early_stopping import EarlyStopper
    from danlu.training.loop import TrainResult
    from danlu.training.train_state import TrainState


def train_run(
    context: DataContext,
    output: Path,
    name: str | None,
    overwrite: bool,
    *,
    learn: Learn,
    dry_run: bool = False,
    profile: bool = False,
    fit_preprocessor: Callable[[DataContext], FittedPreprocessing] = fit_preprocessing,
    fixed_epochs: float | None = None,
) -> RunDirectory:
    """Train on loaded data into a new run; ignore the tuning section.

    Everything that can be wrong with the user's input is found before the run's folder is made.

    Args:
        learn: trains a fold, if the recipe asks for a refit.
        dry_run: use two batches per split and two steps.
        fit_preprocessor: fits the preprocessing, or returns a cached one.
        fixed_epochs: train for this many epochs (or rounds) and keep the last weights, without a validation split.
    """
    context = replace(context, recipe=context.recipe.model_copy(update={"tuning": None}))
    setup = prepare_training(context, dry_run, fit_preprocessor=fit_preprocessor, fixed_epochs=fixed_epochs)
    if not setup.groups.is_main:
        return _train_as_worker(setup)
    with RunDirectory.create(
        output, name=context.recipe.name, folder=name, overwrite=overwrite, needed_bytes=_needed_bytes(setup)
    ) as run:
        setup = _start_run(run, setup)
        if context.recipe.evaluation.refits:
            context = setup.context
            del setup  # frees its memory for the folds
            setup = prepare_training(context, fixed_epochs=refit_epochs(context, run, learn=learn))
        _fit_and_bundle(setup, run, None, profile)
    return run


def _needed_bytes(setup: TrainingSetup) -> int:
    """Return the disk space that a run needs at least."""
    size_bytes: int = sum(value.nbytes for value in unique_state_dict(setup.model).values())
    # A checkpoint holds the weights and two moments each; three are kept while a fourth is being written.
    unwritten = setup.context.unwritten
    return 12 * size_bytes + (1 << 20) + (0 if unwritten is None else int(unwritten.estimated_size()))


def _start_run(run: RunDirectory, setup: TrainingSetup) -> TrainingSetup:
    """Write everything known before the first step, and tell the other processes.

    The recipe comes last: a folder that has it can be resumed.

    Returns:
        the setup with numbers for `auto`.
    """
    import torch

    context = write_source(setup.context, run)
    setup = replace(setup, context=context)
    known = describe_environment(str(setup.accelerator.torch_device), context.recipe.seed, torch.get_num_threads())
    write_sealed(run.path / ENVIRONMENT, {**known, **describe_earlier_run(context)})
    _log_data_findings(context)
    setup = resolve_auto_settings(setup, run)
    training = setup.context.recipe.training
    save_teacher_digest(run, setup.teacher_digest)
    write_run_data(setup.context, run, setup.balanced.profile())
    write_run_recipe(run.path / RECIPE, setup.context.recipe)
    setup.groups.broadcast_object({"run": str(run.path.resolve()), "settled": _auto_settings_of(training)})
    return setup


def _train_as_worker(setup: TrainingSetup) -> RunDirectory:
    """Train as a non-main process.

    Use the main process's run and the settings that it found for `auto`.
    """
    shared = setup.groups.broadcast_object()
    run, optimizer = RunDirectory(Path(shared["run"])), setup.context.recipe.training.optimizer
    optimizer = optimizer.model_copy(update={"lr": shared["settled"]["lr"]})
    setup = with_training_options(setup, batch_size=shared["settled"]["batch_size"], optimizer=optimizer)
    _fit_and_bundle(setup, run, None, profile=False)
    return run


def _auto_settings_of(training: Training) -> dict[str, object]:
    """Return the training options that `auto` may have set."""
    return {"batch_size": training.batch_size, "lr": training.optimizer.lr}


def resume_training(run: StrPath, *, learn: Learn, verify: int | None = None, profile: bool = False) -> RunDirectory:
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
    # Before any fold is trained, since two processes would train the missing ones at once.
    with lock_run(stopped.run) if dist_env().is_main else nullcontext():
        _resume_training(stopped, learn, verify, profile)
    return stopped.run


def _resume_training(stopped: InterruptedRun, learn: Learn, verify: int | None, profile: bool) -> None:
    """Resume a training whose run is held by this process."""
    run = stopped.run
    epochs = refit_epochs(stopped.context, run, learn=learn)
    compute = recorded_threads(run) if dist_env().world_size == 1 else None
    setup = prepare_training(stopped.context, compute_threads=compute, resumes=True, fixed_epochs=epochs)
    warn_of_environment_changes(run, setup)
    check_teacher_unchanged(run, setup.teacher_digest)
    check_earlier_run_unchanged(setup.context, run)
    if verify is not None and isinstance(setup.context.model, SelfFittingModel):
        raise ArgumentError(
            f"--verify repeats steps, and {setup.context.model.name} has none; remove --verify", code="DL406"
        )
    if verify is not None and not setup.groups.is_single_process:
        raise ArgumentError("--verify works with one process only; remove --verify or --processes", code="DL406")
    checkpoint = _agree_on_checkpoint(setup, run)
    if verify is not None:
        verify_steps(setup, run, checkpoint, verify)
    if setup.groups.is_main:
        run.rollback(checkpoint.step if checkpoint else 0)
    setup.groups.barrier()
    _fit_and_bundle(setup, run, checkpoint, profile)


def _agree_on_checkpoint(setup: TrainingSetup, run: RunDirectory) -> Checkpoint | None:
    """Return the newest valid checkpoint, as found by the main process."""
    if setup.groups.is_main:
        found = newest_valid_checkpoint(run)
        setup.groups.broadcast_object(found.step if found else None)
        return found
    step = setup.groups.broadcast_object()
    return None if step is None else open_checkpoint_unchecked(run, step)


def _fit_and_bundle(setup: TrainingSetup, run: RunDirectory, checkpoint: Checkpoint | None, profile: bool) -> None:
    """Train to the end, from a checkpoint if given, and write the bundle."""
    if isinstance(setup.context.model, SelfFittingModel):
        _log_outcome(setup, fit_rounds(setup, run), "rounds")
        write_bundle(run, setup, setup.model)
        return
    from danlu.training.distillation import remove_feature_distillation
    from danlu.training.finetuning import finalize_finetuning

    flops = flops_per_step(setup)
    state, stopper, first = create_train_state(setup), setup.new_early_stopping(), 0
    if checkpoint is not None:
        state.load_checkpoint(checkpoint, stopper)
        first = checkpoint.step
    log_model_summary(setup, first)
    with report_timeouts(setup.groups):
        result = _run_loop(setup, state, stopper, run, first, profile, flops)
    _log_outcome(setup, result, "steps")
    if setup.groups.is_main:
        model = _build_full_model(setup)
        load_weights(model, open_checkpoint(run, result.best_step).evaluated_weights)
        remove_feature_distillation(model)
        whole = setup.full_model or model  # with head-only training, `model` is the head of `whole`
        finalize_finetuning(whole, setup.context.finetune)
        state.step.precision.finish(whole)
        write_bundle(run, setup, whole)


def _log_outcome(setup: TrainingSetup, result: "TrainResult", unit: str) -> None:
    """Log how training ended and which weights are kept.

    Raises:
        DanluError: the monitored metric was never defined, so there are no best weights.
    """
    done = f"trained {result.steps:,} {unit}, {result.stop_reason}; kept"
    if setup.keeps_last:
        info(f"{done} the last weights")
        return
    if result.best is None:
        raise DanluError(
            f"{setup.monitored_metric} was never defined on the validation split; set training.early_stopping.metric "
            "to another metric",
            code="DL505",
        )
    info(
        f"{done} the weights of {unit.removesuffix('s')} {result.best_step:,} "
        f"(validation {setup.monitored_metric} {result.best:.4f})"
    )


@contextmanager
def report_timeouts(groups: "ProcessGroups") -> Iterator[None]:
    """Turn a collective's timeout into an error that names the missing process."""
    try:
        yield
    except RuntimeError as error:
        if groups.heartbeat is None or not is_timeout(error):
            raise
        raise DanluError(groups.heartbeat.describe_timeout(error), code="DL605") from error
    finally:
        if groups.heartbeat is not None:
            groups.heartbeat.close()


def _build_full_model(setup: TrainingSetup) -> "nn.Module":
    """Return the trained model; if sharded, an untrained complete one on the host.

    The best weights are loaded into it.
    """
    if not setup.parallel.is_sharded:
        return setup.model
    preprocessing = setup.preprocessing
    return setup.context.model.build(preprocessing.preprocessor.inputs, preprocessing.target.outputs)


def _run_loop(
    setup: TrainingSetup,
    state: "TrainState",
    stopper: "EarlyStopper",
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

    options, plan, size, groups = setup.context.recipe.training, setup.plan, state.batch_size, setup.groups
    loop = partial(
        train,
        state,
        loader=setup.balanced.loader,
        plan=plan,
        seed=setup.seed,
        early_stopping=stopper,
        validate=make_validation_fn(setup, state),
        start_step=first,
    )
    shard_env = groups.env if setup.parallel.is_sharded else None
    with ExitStack() as stack:
        writes = groups.is_main or shard_env is not None
        checkpoints = (
            stack.enter_context(CheckpointManager(run, options.checkpoint.keep, shard_env, groups.find_lost_rank))
            if writes
            else None
        )
        if checkpoints is None or not groups.is_main:
            rank_recorder = RankRecorder(run, checkpoints)
            result = loop(recorder=rank_recorder)
            rank_recorder.finish(state, result.steps, stopper)
            return result
        bar = stack.enter_context(progress("training", plan.end_step * size, "samples", done=first * size))
        state.step.profiler = stack.enter_context(profile_steps(run, profile))
        setup.accelerator.reset_peak()
        tokens = state.tokens_per_sample if state.tokens_per_sample > 1 else None
        own = None if flops is None else flops / groups.env.world_size
        meter = Meter(bar, setup.accelerator, tokens, own, state.step.precision.name)
        callbacks = (ThroughputLogger(meter), *build_callbacks(options))
        recorder = RunRecorder(run, checkpoints, options.checkpoint, meter, Alarms(), callbacks, first)
        with recorder.notify_callbacks(CallbackContext(run, setup.model, options, plan.end_step, first)):
            result = loop(recorder=recorder)
        recorder.finish(state, result.steps, stopper)
    return result


def _log_positive_class(context: DataContext) -> None:
    """Log which of two classes is the positive one, where the recipe leaves it open."""
    asked, known = context.requested_recipe, context.recipe.data.positive
    if asked is None or asked.data.positive is not None:
        return
    if known is not None:
        info(f"the positive class of {context.dataset.target!r} is {known!r}, by its word; data.positive names another")
        return
    labels = two_classes(context.dataset)
    if labels:
        info(
            f"the positive class of {context.dataset.target!r} is {labels[1]!r}, the second by name; "
            f"{describe_choice(context.dataset)}"
        )


def _log_data_findings(context: DataContext) -> None:
    """Log serious audit findings, columns that are not read, and dropped rows."""
    serious = [finding for finding in context.findings if finding.severity != "note"]
    if serious:
        subjects = ", ".join(dict.fromkeys(finding.subject for finding in serious))
        info(f"the audit warns about {subjects}; see the report for details and `danlu check` for how to fix it")
    _log_positive_class(context)
    for finding in context.findings:
        if finding.key == "unread-columns":
            info(f"{context.dataset.origin}: {finding.message}")
    if context.dropped.height:
        origin, height = context.dataset.origin, context.dataset.frame.height
        info(f"{origin}: dropped {context.dropped.height:,} of {height:,} rows: {summarize(context.dropped)}")
