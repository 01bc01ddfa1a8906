"""Build a `TrainingSetup` (device, processes, loaders, model), alike for new and resumed runs."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from danlu.core.console import info
from danlu.core.devices import open_device
from danlu.core.devices.setup import make_deterministic
from danlu.core.distributed.env import dist_env
from danlu.core.seeds import Seed
from danlu.core.threads import plan_threads, use_threads
from danlu.errors import ArgumentError
from danlu.experiment.data_context import DataContext, FittedPreprocessing, fit_preprocessing, truncate_for_dry_run
from danlu.experiment.distillation import Teacher
from danlu.experiment.dpo_reference import add_reference_log_probs, check_whole_model_per_process, weights_digest
from danlu.experiment.earlier_run import load_earlier_weights
from danlu.experiment.frozen_features import with_frozen_features
from danlu.experiment.loaders import build_prepared_dataset, build_train_loader
from danlu.experiment.rebuild import check_rebuild
from danlu.experiment.setup import TrainingSetup, with_training_options
from danlu.launch.processes import check_single_process
from danlu.recipe.sections.training import Finetune, Parallel, Training

if TYPE_CHECKING:
    from torch import nn

    from danlu.core.devices import Accelerator
    from danlu.training.distributed.parallel_context import ParallelContext

STATE_BYTES_PER_PARAMETER = 16  # the weight, its gradient and two optimizer moments in fp32
STATE_FRACTION = 0.6  # of device memory that these may take; the rest is for activations


def prepare_training(
    context: DataContext,
    dry_run: bool = False,
    compute_threads: int | None = None,
    resumes: bool = False,
    fit_preprocessor: Callable[[DataContext], FittedPreprocessing] = fit_preprocessing,
    fixed_epochs: float | None = None,
) -> TrainingSetup:
    """Open the device, set threads, join the processes, preprocess the data and build the model.

    Args:
        dry_run: use two batches per split and two steps.
        compute_threads: number of torch threads of the resumed run; None follows the recipe.
        resumes: resume a run, whose number of processes may have changed.
        fit_preprocessor: fits the preprocessing, or returns a cached one.
        fixed_epochs: train for this many epochs (or rounds) and keep the last weights, without a validation split.

    Raises:
        ArgumentError: the device is not available.
        DataError, RecipeError: the data does not fit the recipe.
    """
    check_single_process(context.model, dist_env().world_size)
    if not context.dataset.kind.trains_in_processes and dist_env().world_size > 1:
        raise ArgumentError("--processes: tagging of words trains in one process; remove --processes", code="DL602")
    make_deterministic()
    options = context.recipe.training
    accelerator, threads = open_device(options.device), plan_threads(options.threads)
    use_threads(threads if compute_threads is None else replace(threads, compute=compute_threads))
    parallel = open_parallel_context(options, context.finetune, accelerator, resumes)
    setup = build_setup(context, fit_preprocessor(context), accelerator, threads.data, dry_run, parallel)
    return replace(_move_to_device(_shard_if_too_large(setup)), fixed_epochs=fixed_epochs)


def _move_to_device(setup: TrainingSetup) -> TrainingSetup:
    """Move the model to the device.

    A sharded one stays on the host, from where each rank takes its shard.
    """
    if not setup.parallel.is_sharded:
        setup.model.to(setup.accelerator.torch_device)
    return setup


def _shard_if_too_large(setup: TrainingSetup) -> TrainingSetup:
    """Switch `parallel: auto` to FSDP if a device cannot hold the model."""
    options, groups = setup.context.recipe.training, setup.groups
    if groups.is_single_process or options.parallel != "auto":
        return setup
    total = setup.accelerator.total_bytes()
    on_host = setup.accelerator.torch_device.type == "cpu"
    room = None if total is None else STATE_FRACTION * total / (groups.env.local_world_size if on_host else 1)
    needed = STATE_BYTES_PER_PARAMETER * sum(weight.numel() for weight in setup.model.parameters())
    if not groups.all_reduce_max(room is not None and needed > room)[0]:
        return setup
    info(f"training a copy of the model takes {needed / 1e9:.1f} GB, too much for one device; using parallel: shard")
    changed = with_training_options(setup, parallel=Parallel(shard=groups.env.world_size))
    options = changed.context.recipe.training
    return replace(
        changed, parallel=open_parallel_context(options, changed.context.finetune, setup.accelerator, resumes=False)
    )


def open_parallel_context(
    options: Training, finetune: Finetune, accelerator: "Accelerator", resumes: bool
) -> "ParallelContext":
    """Join the processes that a launcher started; alone without a launcher.

    Raises:
        ArgumentError: the recipe cannot be trained by these processes.
    """
    from danlu.training.distributed.compatibility import check_supported
    from danlu.training.distributed.layout import choose_layout, nearest_layout
    from danlu.training.distributed.parallel_context import init_distributed

    parallel = init_distributed(options.parallel, accelerator, nearest_layout if resumes else choose_layout)
    check_supported(options, parallel, finetune)
    return parallel


def build_initial_model(context: DataContext, preprocessing: FittedPreprocessing) -> "nn.Module":
    """Build the model before its first step, on the host.

    Its weights are new ones by the seed, pretrained ones, or those of an earlier run.

    Raises:
        ArgumentError: a bundle of it could not be opened, or the earlier run's weights do not fit.
    """
    import torch

    inputs, outputs = preprocessing.preprocessor.inputs, preprocessing.target.outputs
    torch.manual_seed(Seed(context.recipe.seed).derive("weights").value)
    model = context.model.build(inputs, outputs)
    check_rebuild(context.model, model, inputs, outputs)
    if context.recipe.training.from_run is None:
        labels = getattr(preprocessing.target, "labels", ())
        context.model.order_head(model, [str(label) for label in labels] if len(labels) == outputs else None)
    load_earlier_weights(context, model)
    return model


def build_setup(
    context: DataContext,
    preprocessing: FittedPreprocessing,
    accelerator: "Accelerator",
    threads: int | None = None,
    dry_run: bool = False,
    parallel: "ParallelContext | None" = None,
) -> TrainingSetup:
    """Build the model on the host, the training loader and the validation data.

    The steps have side effects on the model, and their order decides what is learned; each says what it waits for.

    Args:
        threads: number of data-loading threads.
        dry_run: use two batches per split and two steps.
        parallel: the processes that train; None for this process alone.

    Raises:
        DataError, RecipeError: the data does not fit the recipe.
    """
    from danlu.training.distributed.parallel_context import SINGLE_PROCESS_CONTEXT
    from danlu.training.finetuning import apply_finetuning
    from danlu.training.precision import choose_precision

    parallel, device = parallel or SINGLE_PROCESS_CONTEXT, accelerator.torch_device
    full_context = context
    if dry_run:
        context = truncate_for_dry_run(context)
    for name, part in full_context.splits.items():
        if len(part):
            preprocessing.preprocessor.check_split(name, part.frame, context.origin)
    # 1. Initial weights, right after the seed: whatever drew random numbers in between would change them.
    model = build_initial_model(context, preprocessing)
    # 2. Freeze, or add adapters: decides what is trained before anything is attached to the student.
    weights = weights_digest(model) if context.dataset.task.is_trained_on_pairs else ""
    apply_finetuning(model, context.finetune)
    # 3. The DPO reference is the model as it is now: new adapters change no answer, but qlora's weights of 4 bits do.
    #    It becomes columns of the data, so it comes before any split is prepared.
    if context.dataset.task.is_trained_on_pairs:
        check_whole_model_per_process(parallel)
        name = choose_precision(context.recipe.training.precision, device)
        context = add_reference_log_probs(context, preprocessing, model.to(device), device, weights, name)
    # 4. The training loader. Oversampling needs nearest neighbours, and two batches of a table may have too few.
    train_context = full_context if context.dataset.kind.has_feature_columns else context
    balanced, teacher_digest = build_train_loader(train_context, preprocessing, device, threads), ""
    # 5. The teacher reads the loader's samples and may add a projection to the student, which must not be frozen.
    if context.recipe.training.distill is not None:
        teacher = Teacher.open(train_context, preprocessing, device, parallel.groups)
        balanced, teacher_digest = teacher.add_outputs(balanced, model), teacher.digest
        del teacher  # frees its memory where its outputs are cached
    # 6. Validation data, prepared as training data is.
    split = context.splits.validation
    validation = build_prepared_dataset(context, preprocessing, split).cache(device, threads) if len(split) else None
    setup = TrainingSetup(
        context, preprocessing, balanced, validation, model, accelerator, parallel, teacher_digest=teacher_digest
    )
    if context.finetune.mode != "head":
        return setup
    # 7. Features of the frozen body replace the samples of both splits, so they come last.
    model.to(device)  # to compute the features there
    return with_frozen_features(setup, threads)
