"""Fine-tuning: which weights a recipe freezes, for good or until an epoch comes, adapters, and undoing both.

The weights frozen in an epoch are a function of the epoch alone, so a resumed run needs no state. Checkpoints leave out
weights that are frozen for a whole run and hold only their digest.
"""

from torch import nn

from danlu.models.adapters import add_adapters, merge_adapters
from danlu.models.parts import TaskModel
from danlu.recipe.sections import Finetune
from danlu.training.fixed import exclude_from_checkpoint
from danlu.training.frozen import freeze, freeze_body, freeze_batchnorm


def apply_finetuning(model: nn.Module, options: Finetune) -> None:
    """Freeze weights and add adapters in place; `make_unfreezing` unfreezes later.

    Args:
        model: with its first weights, as it was built, on the host.
        options: new weights are drawn from torch's current seed.

    Raises:
        ArgumentError: the model has no such parts.
        MissingExtra: a package is missing.
    """
    if options.adapts:
        add_adapters(model, options)
        exclude_from_checkpoint(model)
    elif options.mode == "head":
        freeze_body(model)
        exclude_from_checkpoint(model)
    if options.freeze:
        freeze(model, options.freeze)
    if options.freeze or options.adapts or options.batch_norm == "frozen":
        freeze_batchnorm(model, options.batch_norm == "frozen")


def finalize_finetuning(model: nn.Module, options: Finetune) -> None:
    """Restore a trained model, in place, to the form in which it is built."""
    if options.adapts:
        merge_adapters(model)
    if isinstance(model, TaskModel):
        model.frozen_params = frozenset()
