"""How a recipe's `model.finetune` changes a model before it is trained, and what is undone when it is bundled."""

from torch import nn

from danlu.models.adapters import add_adapters, merge_adapters
from danlu.models.parts import TaskModel
from danlu.recipe.sections import Finetune
from danlu.training.fixed import leave_fixed
from danlu.training.frozen import freeze, freeze_body, hold_batch_norms


def begin_finetuning(model: nn.Module, options: Finetune) -> None:
    """Freeze and add what the recipe says, in place; what thaws later is `frozen.thawing`.

    Args:
        model: with its first weights, as it was built, on the host.
        options: new weights are drawn from torch's current seed.

    Raises:
        ArgumentError: the model has no such parts.
        MissingExtra: a package is missing.
    """
    if options.adapts:
        add_adapters(model, options)
        leave_fixed(model)
    elif options.mode == "head":
        freeze_body(model)
        leave_fixed(model)
    if options.freeze:
        freeze(model, options.freeze)
    if options.freeze or options.adapts or options.batch_norm == "frozen":
        hold_batch_norms(model, options.batch_norm == "frozen")


def finish_finetuning(model: nn.Module, options: Finetune) -> None:
    """Bring a trained model, in place, into the form that it is built in."""
    if options.adapts:
        merge_adapters(model)
    if isinstance(model, TaskModel):
        model.fixed = frozenset()
