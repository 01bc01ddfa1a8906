"""Conflicts between recipe keys that are each valid alone. Imports no torch."""

from collections.abc import Iterator

from danlu.recipe.schema import Recipe
from danlu.recipe.sections.data import Data, SplitOptions, SplitSources
from danlu.recipe.sections.training import Finetune, Parallel, Training

UNSUPPORTED_PRECISIONS = {  # precisions and the devices that never support them
    "tf32": ("cpu", "mps", "xpu", "tpu"),
    "float8": ("cpu", "mps", "xpu", "tpu"),
    "fp16": ("tpu",),
}


def find_conflicts(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield each conflicting key with a sentence that names the conflict and the fix."""
    options = recipe.training
    yield from _in_backward(options)
    yield from _elsewhere(options)
    yield from _device(options)
    yield from _sparsity(recipe)
    yield from _finetuning(recipe)
    yield from _refitting(recipe)
    yield from _without_validation(recipe)
    yield from _given_splits(recipe.data)
    memory = options.memory
    if isinstance(options.batch_size, int) and options.accumulate > options.batch_size:
        yield (
            "training.accumulate",
            f"a batch of {options.batch_size} cannot be split into {options.accumulate} parts; set at most as many",
        )
    if memory.offload_optimizer and options.precision == "bf16-stochastic":
        yield (
            "training.memory.offload_optimizer",
            "keeps fp32 weights on the host, which bf16-stochastic does not have; set training.precision: bf16-master",
        )
    if options.distill is not None and options.loss is not None:
        yield "training.distill", "adds to the task's own loss, which training.loss replaces; remove one of them"
    if options.distill is not None and isinstance(memory.loss_chunk, int):
        yield "training.memory.loss_chunk", "cannot be combined with training.distill; remove one of them"
    finetune = getattr(recipe.model, "finetune", None)
    if options.distill is not None and options.distill.hidden and getattr(finetune, "mode", None) == "head":
        yield (
            "training.distill.hidden",
            "trains the layers below the head, which finetune.mode: head freezes; set full or lora",
        )


def _given_splits(data: Data) -> Iterator[tuple[str, str]]:
    """Compare `data.split` with splits that the source gives.

    A resolved recipe reads them from a column.
    """
    if not isinstance(data.source, SplitSources) or len(data.source.given()) == 1:
        return
    given, by = data.source.given(), data.split.by
    if by is not None and getattr(by, "name", None) != "column":
        yield (
            "data.split.by",
            f"splits the rows, which data.source gives in splits ({', '.join(given)}); remove it, or give one source",
        )
        return
    usual = SplitOptions()
    for name in ("validation", "test"):
        if by is None and name in given and getattr(data.split, name) != getattr(usual, name):
            yield f"data.split.{name}", f"draws rows, and data.source.{name} gives them; remove one of the two"


def _in_backward(options: Training) -> Iterator[tuple[str, str]]:
    """Yield options that need all gradients of a step at once, or a repeatable step."""
    if not options.memory.optimizer_in_backward:
        return
    key = "training.memory.optimizer_in_backward"
    frees = "frees each gradient at once"
    if options.clip_norm is not None:
        yield key, f"{frees}, so their norm is never known; set training.clip_norm: null (clip_value can stay)"
    if options.accumulate > 1:
        yield key, f"{frees}, so they cannot be accumulated; set training.accumulate: 1"
    if options.precision == "fp16":
        yield key, f"{frees}, so fp16's loss scaling cannot check them first; set training.precision: bf16"
    if options.batch_size == "auto":
        yield key, "cannot undo a step when memory runs out during it; set training.batch_size to a number"
    if options.memory.offload_optimizer:
        yield key, "steps on the device, offload_optimizer on the host; remove one of them"


def _sparsity(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield options that would undo `training.sparsity` or `rounding`, or step weights out of their reach."""
    options = recipe.training
    if options.sparsity is None and options.rounding is None:
        return
    key = "training.sparsity" if options.sparsity is not None else "training.rounding"
    if options.average is not None or options.optimizer.averages_itself:
        yield key, "changes single weights, which an average undoes; remove training.average, or choose adamw"
    if options.parallel not in ("auto", Parallel()):
        yield key, "looks at all weights, which training.parallel divides; remove one of the two"
    if options.precision in ("bf16-master", "bf16-stochastic") or options.memory.offload_optimizer:
        yield (
            key,
            "changes the model's own weights, not copies that are stepped in their place; set precision: auto",
        )
    if getattr(getattr(recipe.model, "finetune", None), "adapts", False):
        yield key, "changes weights that adapters leave alone; set finetune.mode: full"


def _elsewhere(options: Training) -> Iterator[tuple[str, str]]:
    """Yield memory and precision options that optimizers of a model's own weights cannot use."""
    name, memory = options.optimizer.name, options.memory
    why = options.optimizer.in_place_reason
    if why is None:
        return
    if options.precision in ("bf16-master", "bf16-stochastic"):
        yield "training.precision", f"{options.precision} steps copies of the weights, and {name} {why}; set bf16"
    for key in ("offload_optimizer", "optimizer_in_backward"):
        if getattr(memory, key):
            yield f"training.memory.{key}", f"steps weights elsewhere, and {name} {why}; choose adamw, or remove it"


def _device(options: Training) -> Iterator[tuple[str, str]]:
    """Yield options that the named device makes useless or impossible."""
    device = options.device
    if device == "cpu":
        for name in ("offload_activations", "offload_optimizer"):
            if getattr(options.memory, name):
                yield (
                    f"training.memory.{name}",
                    "moves data to the host, where it already is with device: cpu; remove it",
                )
    if device in UNSUPPORTED_PRECISIONS.get(options.precision, ()):
        yield "training.precision", f"{options.precision} is not available with device: {device}; set auto"


def _refitting(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield options that need a validation split, which a refit on all rows lacks."""
    if recipe.evaluation.refits and recipe.tuning is not None:
        yield (
            "evaluation.folds.final",
            "refit leaves no rows to validate, which a search needs; search first, then train its best.yaml with refit",
        )
    schedule = recipe.training.schedule
    if recipe.evaluation.refits and schedule is not None and schedule.needs_validation:
        yield (
            "training.schedule",
            f"{schedule.name} needs a validation split, which evaluation.folds.final: refit does not have; "
            "choose another one",
        )


def _without_validation(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield options that need a validation split, where `data.split.validation` is 0."""
    data, by = recipe.data, recipe.data.split.by
    given = isinstance(data.source, SplitSources) and data.source.validation is not None
    if data.split.validation or given or getattr(by, "name", None) == "column":
        return
    lacks = "needs validation rows, and data.split.validation is 0; give it a share, or remove this"
    evaluation, training = recipe.evaluation, recipe.training
    if recipe.tuning is not None:
        yield "tuning", lacks
    if training.early_stopping is not None:
        yield "training.early_stopping", lacks
    if training.schedule is not None and training.schedule.needs_validation:
        yield "training.schedule", f"{training.schedule.name} {lacks}"
    decisions = {
        "evaluation.calibration": evaluation.calibration != "none",
        "evaluation.threshold": evaluation.threshold is not None,
        "evaluation.intervals": evaluation.intervals is not None,
    }
    yield from ((key, lacks) for key, asked in decisions.items() if asked)


def _finetuning(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield fine-tuning modes without pretrained weights, or in conflict with other options."""
    finetune = getattr(recipe.model, "finetune", None)
    if not isinstance(finetune, Finetune):
        return
    pretrained = getattr(recipe.model, "pretrained", None) or getattr(recipe.model, "folder", None)
    if (finetune.mode != "full" or finetune.freeze_epochs) and not pretrained:
        yield (
            "model.finetune.mode" if finetune.mode != "full" else "model.finetune.freeze_epochs",
            f"{finetune.mode} adapts pretrained weights, and {getattr(recipe.model, 'name', 'the model')} has none; "
            "name a folder or file of weights, or remove it",
        )
    precision = recipe.training.precision
    if finetune.adapts and precision == "float8":
        yield (
            "training.precision",
            f"float8 replaces the layers that {finetune.mode} adapts; set bf16",
        )
    if finetune.mode == "qlora" and precision in ("bf16-master", "bf16-stochastic"):
        yield "training.precision", f"{precision} keeps weights in bf16, and qlora keeps them in 4 bits; set bf16"
    if finetune.mode == "gradual" and recipe.training.compile is True:
        yield (
            "training.compile",
            "gradual changes the trained layers, and would compile the model again each time; remove it",
        )
