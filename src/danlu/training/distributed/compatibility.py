"""Options that do not work with several processes, each with reason and remedy: checked before data is prepared."""

from collections.abc import Iterator

from danlu.errors import ArgumentError
from danlu.recipe.sections.training import Finetune, Training
from danlu.training.distributed.parallel_context import ParallelContext

NON_ELEMENTWISE_OPTIMIZERS = (
    "muon",
    "adafactor",
    "adamw-8bit",
    "schedule-free-adamw",
)  # optimizers that are not elementwise
FULL_FINETUNE = Finetune()


def check_supported(options: Training, parallel: ParallelContext, finetune: Finetune = FULL_FINETUNE) -> None:
    """Raise ArgumentError for the first option that does not work with several processes."""
    if parallel.groups.is_single_process:
        return
    pieces = _sharded_conflicts(options) if parallel.is_sharded else ()
    for key, reason in (*_finetune_conflicts(finetune, parallel), *_general_conflicts(options, parallel), *pieces):
        raise ArgumentError(f"{key}: {reason}", code="DL602")


def _general_conflicts(options: Training, parallel: ParallelContext) -> Iterator[tuple[str, str]]:
    layout, asked = parallel.layout, parallel.options
    whole = "needs whole replicas, and with shard, tensor or pipeline no process has one; remove it"
    if options.memory.optimizer_in_backward:
        yield (
            "training.memory.optimizer_in_backward",
            "steps a weight before other processes' gradients arrive; with shard, gradients are split anyway",
        )
    if parallel.is_sharded and asked.compress != "none":
        yield "training.parallel.compress", whole
    if asked.local is not None and (parallel.is_sharded or layout.context > 1):
        yield "training.parallel.local", whole
    if options.distill is not None and max(layout.tensor, layout.pipeline, layout.context) > 1:
        yield "training.distill", "compares whole outputs with the teacher's; use only data or shard"
    if options.distill is not None and options.distill.hidden is not None and parallel.is_sharded:
        yield "training.distill.hidden", "reads layers of a whole model; use only data"
    if layout.context > 1 and layout.pipeline > 1:
        yield "training.parallel.context", "can be combined with data, shard and tensor, not with pipeline; use tensor"
    if layout.pipeline > 1 and options.accumulate > 1:
        yield "training.accumulate", "does not work with a pipeline; use training.parallel.microbatches"
    if asked.offload and layout.shard == 1:
        yield "training.parallel.offload", "moves sharded state; it needs training.parallel.shard of at least 2"


def _sharded_conflicts(options: Training) -> Iterator[tuple[str, str]]:
    """Yield options that need a whole weight, or all of them, in one process."""
    name, few = options.optimizer.name, "and with shard, tensor or pipeline no process has them"
    if name in NON_ELEMENTWISE_OPTIMIZERS:
        yield (
            "training.optimizer",
            f"{name} needs whole matrices, {few}; use adamw, lion or sgd",
        )
    if options.precision in ("fp16", "float8", "bf16-master", "bf16-stochastic"):
        yield (
            "training.precision",
            f"{options.precision} needs all weights, {few}; use bf16",
        )
    if options.loss is not None:
        yield "training.loss", f"a custom loss needs whole logits, {few}; remove it"
    if options.max_norm is not None:
        yield "training.max_norm", f"bounds the norms of whole units, {few}; use weight_decay"
    if options.memory.offload_optimizer:
        yield "training.memory.offload_optimizer", "does not work with sharded weights; use training.parallel.offload"


def _finetune_conflicts(finetune: Finetune, parallel: ParallelContext) -> Iterator[tuple[str, str]]:
    """Yield fine-tuning modes that need the whole model, or a single process."""
    mode, key = finetune.mode, "model.finetune.mode"
    if mode == "qlora":
        yield key, "qlora's quantized weights cannot be exchanged between processes; use lora, or one process"
    if mode == "gradual" or finetune.freeze_epochs:
        key = key if mode == "gradual" else "model.finetune.freeze_epochs"
        yield key, "changes which gradients are exchanged; use one process, or freeze or layer_decay"
    freezes = mode != "full" or finetune.freeze or finetune.batch_norm == "frozen"
    if freezes and (parallel.is_sharded or parallel.layout.context > 1):
        what = mode if mode != "full" else "freezing"
        yield key, f"{what} works with whole replicas (training.parallel.data) only; remove the other dimensions"
