"""Which weights a recipe leaves frozen: some for good, some until an epoch comes.

What is frozen in an epoch is a function of the epoch alone, so a run that goes on needs to be told nothing.
"""

from dataclasses import dataclass, field

from torch import nn

from danlu.models.parts import TaskModel, chosen, is_of_head
from danlu.recipe.sections import Finetune
from danlu.training.groups import layer_depths

BATCH_NORMS = nn.modules.batchnorm._BatchNorm


def freeze(model: nn.Module, patterns: tuple[str, ...]) -> None:
    """Freeze weights for good.

    Raises:
        ArgumentError: a pattern means no weight.
    """
    weights = dict(model.named_parameters())
    for name in chosen(weights, patterns, "model.finetune.freeze"):
        weights[name].requires_grad_(False)


def freeze_body(model: nn.Module) -> None:
    """Freeze everything but the head for good, and keep it in evaluation mode; dropout before the head stays."""
    for name, weight in model.named_parameters():
        weight.requires_grad_(is_of_head(model, name))
    outer = {"", "network"}
    last = {
        name
        for name, module in model.named_modules()
        if name.count(".") <= 1 and isinstance(module, nn.Dropout) and "embed" not in name
    }
    still = {name for name, _ in model.named_modules() if name not in outer | last and not is_of_head(model, name)}
    _hold(model, frozenset(still))


def hold_batch_norms(model: nn.Module, all_of_them: bool = False) -> None:
    """Have batch norms keep their statistics: those whose weights are all frozen, or all of them."""
    found = (
        name
        for name, module in model.named_modules()
        if isinstance(module, BATCH_NORMS)
        and (all_of_them or not any(weight.requires_grad for weight in module.parameters()))
    )
    _hold(model, frozenset(found))


def _hold(model: nn.Module, names: frozenset[str]) -> None:
    assert isinstance(model, TaskModel), "models with pretrained weights are danlu's own wrappers"
    model.still = names
    model.train(model.training)


@dataclass
class Thawing:
    """Thaws a model from its head down.

    Attributes:
        model: changed in place.
        turns: of each weight that is ever trained, the first epoch in which it is.
        steps_an_epoch: optimizer steps.
        all_still: whether batch norms keep their statistics even when thawed.
    """

    model: nn.Module
    turns: dict[str, int]
    steps_an_epoch: int
    all_still: bool = False
    _epoch: int = field(default=-1, init=False)

    def before(self, step: int) -> None:
        """Freeze and thaw for the step after `step` others."""
        epoch = min(step // self.steps_an_epoch, max(self.turns.values()))
        if epoch == self._epoch:
            return
        self._epoch = epoch
        for name, weight in self.model.named_parameters():
            if name in self.turns:
                weight.requires_grad_(self.turns[name] <= epoch)
        hold_batch_norms(self.model, self.all_still)


def thawing(model: nn.Module, options: Finetune, steps_an_epoch: int) -> Thawing | None:
    """What thaws a model as the recipe says; None where all that is trained is so from the first step.

    Args:
        model: all its weights as they are when everything is thawed.
    """
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    if options.mode == "gradual":
        depths = layer_depths(model)
        levels = sorted({depths[name] for name in trained}, reverse=True)
        turns = {name: levels.index(depths[name]) * options.every for name in trained}
        # The head is not always among the highest blocks' weights alone, but always new.
        turns |= {name: 0 for name in trained if is_of_head(model, name)}
    elif options.freeze_epochs:
        turns = {name: 0 if is_of_head(model, name) else options.freeze_epochs for name in trained}
    else:
        return None
    return Thawing(model, turns, steps_an_epoch, options.batch_norm == "frozen")
