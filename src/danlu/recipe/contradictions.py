"""Conflicts between recipe keys that are each valid alone. Imports no torch."""

from collections.abc import Iterator

from danlu.recipe.lessons import Preference
from danlu.recipe.schema import Recipe
from danlu.recipe.sections import Finetune, Training

KNOWN_WITHOUT = {  # precisions and the devices that have them not, whatever their age
    "tf32": ("cpu", "mps", "xpu", "tpu"),
    "float8": ("cpu", "mps", "xpu", "tpu"),
    "fp16": ("tpu",),
}


def contradictions(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield each conflicting key with a sentence that names the conflict and the fix."""
    options = recipe.training
    yield from _in_backward(options)
    yield from _elsewhere(options)
    yield from _device(options)
    yield from _finetuning(recipe)
    yield from _refitting(recipe)
    memory, task = options.memory, recipe.data.task
    if isinstance(options.batch_size, int) and options.accumulate > options.batch_size:
        yield (
            "training.accumulate",
            f"a batch of {options.batch_size} cannot be cut into {options.accumulate} parts; say at most as many",
        )
    if memory.offload_optimizer and options.precision == "bf16-stochastic":
        yield (
            "training.memory.offload_optimizer",
            "keeps fp32 weights on the host, which bf16-stochastic does without; say training.precision: bf16-master",
        )
    if options.distill is not None and options.loss is not None:
        yield "training.distill", "is learned beside the task's own loss, and training.loss is another; leave out one"
    if options.distill is not None and isinstance(memory.loss_chunk, int):
        yield "training.memory.loss_chunk", "is of logits that are never whole, and a teacher's are; leave it out"
    finetune = getattr(recipe.model, "finetune", None)
    if options.distill is not None and options.distill.hidden and getattr(finetune, "mode", None) == "head":
        yield (
            "training.distill.hidden",
            "is learned by the layers below the head, which finetune.mode: head leaves as they are; say full or lora",
        )
    if options.preference != Preference() and task not in (None, "preference"):
        yield "training.preference", f"is for learning from preferences, and data.task is {task}; leave it out"
    if isinstance(memory.loss_chunk, int) and task not in (None, "language-modelling", "preference"):
        yield "training.memory.loss_chunk", f"is of language models alone, and data.task is {task}; leave it out"


def _in_backward(options: Training) -> Iterator[tuple[str, str]]:
    """Yield options that need all gradients of a step at once, or a repeatable step."""
    if not options.memory.optimizer_in_backward:
        return
    key = "training.memory.optimizer_in_backward"
    frees = "frees each gradient at once"
    if options.clip_norm is not None:
        yield key, f"{frees}, so their norm is never known; say training.clip_norm: null (clip_value can stay)"
    if options.accumulate > 1:
        yield key, f"{frees}, so they cannot be accumulated; say training.accumulate: 1"
    if options.precision == "fp16":
        yield key, f"{frees}, so fp16's loss scaling cannot look at them first; say training.precision: bf16"
    if options.batch_size == "auto":
        yield key, "cannot take a step back when memory runs out within it; say a number as training.batch_size"
    if options.memory.offload_optimizer:
        yield key, "steps on the device, offload_optimizer on the host; say one of them"


def _elsewhere(options: Training) -> Iterator[tuple[str, str]]:
    """Yield memory and precision options that optimizers of a model's own weights cannot use."""
    name, memory = options.optimizer.name, options.memory
    averages = getattr(options.optimizer, "averages_itself", False)
    if not (averages or name == "muon"):
        return
    why = "keeps two versions of each weight" if averages else "steps matrices together"
    if options.precision in ("bf16-master", "bf16-stochastic"):
        yield "training.precision", f"{options.precision} steps copies of the weights, and {name} {why}; say bf16"
    for key in ("offload_optimizer", "optimizer_in_backward"):
        if getattr(memory, key):
            yield f"training.memory.{key}", f"steps weights elsewhere, and {name} {why}; say adamw, or leave it out"


def _device(options: Training) -> Iterator[tuple[str, str]]:
    """Yield options that the named device makes useless or impossible."""
    device = options.device
    if device == "cpu":
        for name in ("offload_activations", "offload_optimizer"):
            if getattr(options.memory, name):
                yield (
                    f"training.memory.{name}",
                    "moves to the host what is there already with device: cpu; leave it out",
                )
    if device in KNOWN_WITHOUT.get(options.precision, ()):
        yield "training.precision", f"{options.precision} is not to be had with device: {device}; say auto"


def _refitting(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield options that need a validation split, which a refit on all rows lacks."""
    if recipe.evaluation.refits and recipe.tuning is not None:
        yield (
            "evaluation.folds.final",
            "refit leaves no rows to validate, and a search chooses by them; search first, then train its best.yaml "
            "with refit",
        )
    if recipe.evaluation.refits and getattr(recipe.training.schedule, "name", "") == "plateau":
        yield "training.schedule", "plateau goes by validation, which evaluation.folds.final: refit has none of"


def _finetuning(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield fine-tuning modes without pretrained weights, or in conflict with other options."""
    finetune = getattr(recipe.model, "finetune", None)
    if not isinstance(finetune, Finetune):
        return
    pretrained = getattr(recipe.model, "pretrained", None) or getattr(recipe.model, "folder", None)
    if (finetune.mode != "full" or finetune.freeze_epochs) and not pretrained:
        yield (
            "model.finetune.mode" if finetune.mode != "full" else "model.finetune.freeze_epochs",
            f"{finetune.mode} adapts pretrained weights, and {getattr(recipe.model, 'name', 'the model')} begins with "
            "new ones; name a folder or file of weights, or leave it out",
        )
    precision = recipe.training.precision
    if finetune.adapts and precision == "float8":
        yield (
            "training.precision",
            f"float8 puts other layers in the place of those that {finetune.mode} adapts; say bf16",
        )
    if finetune.mode == "qlora" and precision in ("bf16-master", "bf16-stochastic"):
        yield "training.precision", f"{precision} keeps weights in bf16, and qlora keeps them in 4 bits; say bf16"
    if finetune.mode == "gradual" and recipe.training.compile is True:
        yield (
            "training.compile",
            "gradual changes what is trained, and each time all would be compiled; leave it out",
        )
