"""What several processes cannot do, each with the reason and what would do: found before any data is prepared."""

from collections.abc import Iterator

from danlu.core.errors import ArgumentError
from danlu.recipe.sections import Finetune, Training
from danlu.training.parallel.group import Together

LOOK_FURTHER = ("muon", "adafactor", "adamw-8bit", "schedule-free-adamw")  # optimizers that see more than an entry
FULL = Finetune()


def refuse_impossible(options: Training, together: Together, finetune: Finetune = FULL) -> None:
    """Raise ArgumentError for the first thing that the recipe asks for and that several processes cannot do."""
    if together.team.alone:
        return
    pieces = _in_pieces(options) if together.splits_weights else ()
    for key, reason in (*_finetuning(finetune, together), *_anywhere(options, together), *pieces):
        raise ArgumentError(f"{key}: {reason}")


def _anywhere(options: Training, together: Together) -> Iterator[tuple[str, str]]:
    layout, asked = together.layout, together.options
    whole = "between copies of the whole model, and with shard, tensor or pipeline no process has one; leave it out"
    if options.memory.optimizer_in_backward:
        yield (
            "training.memory.optimizer_in_backward",
            "steps a weight before other processes' gradients are there; with shard, gradients are split anyway",
        )
    if together.splits_weights and asked.compress != "none":
        yield "training.parallel.compress", f"is {whole}"
    if asked.local is not None and (together.splits_weights or layout.context > 1):
        yield "training.parallel.local", f"is {whole}"
    if options.distill is not None and max(layout.tensor, layout.pipeline, layout.context) > 1:
        yield "training.distill", "compares whole answers with the teacher's; say data or shard in place of the others"
    if options.distill is not None and options.distill.hidden is not None and together.splits_weights:
        yield "training.distill.hidden", "reads layers of a whole model; say data in place of the others"
    if layout.context > 1 and layout.pipeline > 1:
        yield "training.parallel.context", "goes with data, shard and tensor, not with pipeline; say tensor"
    if layout.pipeline > 1 and options.accumulate > 1:
        yield "training.accumulate", "is training.parallel.microbatches in a pipeline; say that"
    if asked.offload and layout.shard == 1:
        yield "training.parallel.offload", "moves what processes share; say training.parallel.shard, at least 2"


def _in_pieces(options: Training) -> Iterator[tuple[str, str]]:
    """What needs a whole weight, or all of them, in one process."""
    name, few = options.optimizer.name, "while shard, tensor or pipeline leave a process a part"
    if name in LOOK_FURTHER:
        yield (
            "training.optimizer",
            f"{name} looks at whole matrices, {few}; say adamw, lion or sgd",
        )
    if options.precision in ("fp16", "float8", "bf16-master", "bf16-stochastic"):
        yield (
            "training.precision",
            f"{options.precision} looks at all weights, {few}; say bf16",
        )
    if options.loss is not None:
        yield "training.loss", f"your own is given whole logits, {few}; leave it out"
    if options.max_norm is not None:
        yield "training.max_norm", f"bounds whole units, {few}; say weight_decay"
    if options.memory.offload_optimizer:
        yield "training.memory.offload_optimizer", "is training.parallel.offload where processes share the weights"


def _finetuning(finetune: Finetune, together: Together) -> Iterator[tuple[str, str]]:
    """Ways to fine-tune that need the whole model in a process, or one process."""
    mode, key = finetune.mode, "model.finetune.mode"
    if mode == "qlora":
        yield key, "qlora keeps weights in a form that processes cannot exchange; say lora, or train by one process"
    if mode == "gradual" or finetune.freeze_epochs:
        key = key if mode == "gradual" else "model.finetune.freeze_epochs"
        yield key, "changes which gradients there are to exchange; train by one process, or say freeze or layer_decay"
    freezes = mode != "full" or finetune.freeze or finetune.batch_norm == "frozen"
    if freezes and (together.splits_weights or together.layout.context > 1):
        what = mode if mode != "full" else "freezing"
        yield key, f"{what} goes with copies of the whole model (training.parallel.data) alone; leave the others out"
