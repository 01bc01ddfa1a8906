"""What is trained, in one log line: parameters, samples, steps; a warning if the model is large for its data."""

from typing import TYPE_CHECKING

from danlu.core.console import info
from danlu.models.base import HasPresets
from danlu.training.schedules import Schedule

if TYPE_CHECKING:
    from torch import nn

    from danlu.experiment.setup import TrainingSetup

# Weights per sample, or per token of a language model. Below these, early stopping and dropout usually suffice;
# pretrained weights start near their final values, so ten times as many may be trained.
MAX_WEIGHTS_PER_SAMPLE, MAX_PRETRAINED_WEIGHTS_PER_SAMPLE = 100, 1000
# 1/200 of the data that Hoffmann et al. 2022 (https://arxiv.org/abs/2203.15556) find best for a model's size.
MAX_WEIGHTS_PER_TOKEN = 10


def overparameterized_warning(setup: "TrainingSetup") -> str | None:
    """Return a warning if the model has enough weights to memorize its samples, else None."""
    from danlu.models.task_model import PROJECTION_NAME

    context, options = setup.context, setup.context.model
    own = (weight for name, weight in setup.model.named_parameters() if not name.startswith(f"{PROJECTION_NAME}."))
    trained = sum(weight.numel() for weight in own if weight.requires_grad)
    length = setup.balanced.loader.epoch_length
    tokens = setup.preprocessing.preprocessor.inputs.tokens_per_sample
    pretrained = bool(getattr(options, "pretrained", None) or getattr(options, "folder", None))
    most = MAX_WEIGHTS_PER_TOKEN * tokens if tokens > 1 else MAX_WEIGHTS_PER_SAMPLE
    if pretrained:
        most *= MAX_PRETRAINED_WEIGHTS_PER_SAMPLE // MAX_WEIGHTS_PER_SAMPLE
    if trained <= most * length:
        return None
    cures = ["training.early_stopping"]
    if pretrained and context.finetune.mode == "full":
        cures.insert(0, "model.finetune: {mode: head}")
    elif isinstance(options, HasPresets) and not pretrained and options.size != "small":
        cures.insert(0, "model.size: small")
    if context.dataset.kind.shows_pictures and not context.recipe.data.augment:
        cures.append("data.augment")
    counted = f"{length:,} samples" + (f" of {tokens} tokens" if tokens > 1 else "")
    return (
        f"{trained:,} weights are trained on {counted}, {trained / length:,.0f} per sample: the model can memorize "
        f"them; {', '.join(cures)} help"
    )


def idle_devices_note(device: str, processes: int) -> str | None:
    """Say that one of several GPUs is used; None where it is not so."""
    import torch

    if device == "cpu" or processes > 1:
        return None
    count = torch.get_device_module(device).device_count()
    if count < 2:
        return None
    return f"this run uses one of {count} GPUs; --processes {count} trains on all of them (data-parallel, DDP)"


def log_model_summary(setup: "TrainingSetup", first: int) -> None:
    """Log parameters, samples, steps and device; warn if the model is large for its data."""
    context, plan, length = setup.context, setup.plan, setup.balanced.loader.epoch_length
    parameters = count_parameters(setup.full_model or setup.model)
    trained = count_parameters(setup.model, trainable_only=True)
    counted = f"{parameters:,} parameters" + ("" if trained == parameters else f", {trained:,} of them trained")
    attention = getattr(getattr(getattr(setup.model, "network", None), "config", None), "_attn_implementation", None)
    by = f", attention by {attention}" if attention else ""
    begun = f"steps {first + 1:,} to {plan.end_step:,}" if first else f"{plan.end_step:,} steps"
    info(
        f"training {context.model.name} ({counted}) on {length:,} samples: "
        f"{begun} of {context.recipe.training.batch_size} on {setup.accelerator.torch_device}{by}"
    )
    idle = idle_devices_note(str(setup.accelerator.torch_device.type), setup.groups.env.world_size)
    if idle is not None:
        info(idle)
    _log_frozen(setup)
    if not setup.parallel.groups.is_single_process and _has_batch_norm(setup.model):
        synced = setup.parallel.options.syncs_batch_norm and setup.parallel.groups.dp_group is not None
        whose = "of all processes, which costs an exchange each" if synced else "of each process's own rows"
        info(f"batch norms take their statistics {whose} (training.parallel.sync_batch_norm)")
    for warning in (overparameterized_warning(setup), _schedule_warning(setup)):
        if warning is not None:
            info(f"warning: {warning}")


def _has_batch_norm(model: "nn.Module") -> bool:
    from danlu.core.torch_compat import BatchNorm

    return any(isinstance(module, BatchNorm) for module in model.modules())


def _log_frozen(setup: "TrainingSetup") -> None:
    """Log what each name of `model.finetune.freeze` freezes."""
    from danlu.training.finetuning import FREEZE_KEY, frozen_by_pattern

    model = setup.full_model or setup.model
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    told = [
        f"{pattern} ({len(names):,} weights, {sum(sizes[name] for name in names):,} numbers)"
        for pattern, names in frozen_by_pattern(model, setup.context.finetune.freeze).items()
    ]
    if told:
        info(f"frozen by {FREEZE_KEY}: {', '.join(told)}")


def _schedule_warning(setup: "TrainingSetup") -> str | None:
    """Return a warning if the schedule does not fit the run, else None."""
    options, steps = setup.timed_options.schedule, setup.plan.steps
    if options is None:
        return None
    schedule = Schedule.of(options)
    misfit, vanishing = schedule.misfit(steps), schedule.vanishing(steps)
    if misfit is not None:
        return f"training.schedule.{misfit}"
    return None if vanishing is None else f"training.schedule: {vanishing}"


def count_parameters(model: "nn.Module", trainable_only: bool = False) -> int:
    """Count parameters, or only the trainable ones; projections for distillation are excluded."""
    from danlu.models.task_model import PROJECTION_NAME

    own = (weight for name, weight in model.named_parameters() if not name.startswith(f"{PROJECTION_NAME}."))
    return sum(weight.numel() for weight in own if weight.requires_grad or not trainable_only)
