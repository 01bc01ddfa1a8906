"""Freezing of weights, for good or until an epoch comes.

The weights frozen in an epoch are a function of the epoch alone, so a resumed run needs no state.
"""

from dataclasses import dataclass, field

from torch import nn

from danlu.models.parts import TaskModel, select_names, is_in_head
from danlu.recipe.sections import Finetune
from danlu.training.groups import layer_depths

BATCHNORM = nn.modules.batchnorm._BatchNorm


def freeze(model: nn.Module, patterns: tuple[str, ...]) -> None:
    """Freeze weights for good.

    Raises:
        ArgumentError: a pattern matches no weight.
    """
    weights = dict(model.named_parameters())
    for name in select_names(weights, patterns, "model.finetune.freeze"):
        weights[name].requires_grad_(False)


def freeze_body(model: nn.Module) -> None:
    """Freeze everything but the head for good, and keep it in evaluation mode.

    Dropout before the head stays active.
    """
    for name, weight in model.named_parameters():
        weight.requires_grad_(is_in_head(model, name))
    outer = {"", "network"}
    last = {
        name
        for name, module in model.named_modules()
        if name.count(".") <= 1 and isinstance(module, nn.Dropout) and "embed" not in name
    }
    still = {name for name, _ in model.named_modules() if name not in outer | last and not is_in_head(model, name)}
    _set_eval_only(model, frozenset(still))


def freeze_batchnorm(model: nn.Module, all_modules: bool = False) -> None:
    """Stop batch norms from updating their statistics: fully frozen ones, or all."""
    found = (
        name
        for name, module in model.named_modules()
        if isinstance(module, BATCHNORM)
        and (all_modules or not any(weight.requires_grad for weight in module.parameters()))
    )
    _set_eval_only(model, frozenset(found))


def _set_eval_only(model: nn.Module, names: frozenset[str]) -> None:
    assert isinstance(model, TaskModel), "models with pretrained weights are wrapped in a TaskModel"
    model.eval_only_modules = names
    model.train(model.training)


@dataclass
class GradualUnfreezing:
    """Unfreeze a model from its head down.

    Attributes:
        model: changed in place.
        unfreeze_epochs: first epoch in which each weight is trained; weights that never are, are absent.
        steps_per_epoch: optimizer steps per epoch.
        freeze_all_batchnorm: whether batch norms keep their statistics even when unfrozen.
    """

    model: nn.Module
    unfreeze_epochs: dict[str, int]
    steps_per_epoch: int
    freeze_all_batchnorm: bool = False
    _epoch: int = field(default=-1, init=False)

    def before_step(self, step: int) -> None:
        """Freeze and unfreeze for the step that follows `step` steps."""
        epoch = min(step // self.steps_per_epoch, max(self.unfreeze_epochs.values()))
        if epoch == self._epoch:
            return
        self._epoch = epoch
        for name, weight in self.model.named_parameters():
            if name in self.unfreeze_epochs:
                weight.requires_grad_(self.unfreeze_epochs[name] <= epoch)
        freeze_batchnorm(self.model, self.freeze_all_batchnorm)


def make_unfreezing(model: nn.Module, options: Finetune, steps_per_epoch: int) -> GradualUnfreezing | None:
    """Build the unfreezing a recipe asks for; None if everything is trained from the start.

    Args:
        model: with its weights as they are when everything is unfrozen.
    """
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    if options.mode == "gradual":
        depths = layer_depths(model)
        levels = sorted({depths[name] for name in trained}, reverse=True)
        turns = {name: levels.index(depths[name]) * options.every for name in trained}
        # The head need not lie in the highest block alone, but it is always new.
        turns |= {name: 0 for name in trained if is_in_head(model, name)}
    elif options.freeze_epochs:
        turns = {name: 0 if is_in_head(model, name) else options.freeze_epochs for name in trained}
    else:
        return None
    return GradualUnfreezing(model, turns, steps_per_epoch, options.batch_norm == "frozen")
