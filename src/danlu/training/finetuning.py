"""Fine-tuning: which weights a recipe freezes, for good or until an epoch comes, adapters, and undoing both.

The weights frozen in an epoch are a function of the epoch alone, so a resumed run needs no state. Checkpoints leave out
weights that are frozen for a whole run and hold only their digest.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from danlu.core.torch_compat import BatchNorm
from danlu.models.adapters import add_adapters, merge_adapters
from danlu.models.task_model import TaskModel, is_in_head, select_from_root
from danlu.recipe.sections.training import Finetune
from danlu.training.param_groups import layer_depths

FREEZE_KEY = "model.finetune.freeze"


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


def freeze(model: nn.Module, patterns: tuple[str, ...]) -> None:
    """Freeze weights for good.

    Raises:
        ArgumentError: a pattern matches no weight.
    """
    weights = dict(model.named_parameters())
    for names in frozen_by_pattern(model, patterns).values():
        for name in names:
            weights[name].requires_grad_(False)


def frozen_by_pattern(model: nn.Module, patterns: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the names of the weights that each pattern of `model.finetune.freeze` freezes.

    A name is matched from the root of the network; that of transformers' models is their body (`bert`, `vit`).

    Raises:
        ArgumentError: a pattern matches no weight.
    """
    names = [name for name, _ in model.named_parameters()]
    body = getattr(getattr(model, "network", model), "base_model_prefix", "")
    return {pattern: select_from_root(names, pattern, FREEZE_KEY, body) for pattern in patterns}


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
        if isinstance(module, BatchNorm)
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


def exclude_from_checkpoint(model: nn.Module) -> None:
    """Mark the weights that are frozen now, so that checkpoints leave them out."""
    assert isinstance(model, TaskModel), "models with pretrained weights are wrapped in a TaskModel"
    named = model.named_parameters(remove_duplicate=False)
    model.frozen_params = frozenset(name for name, weight in named if not weight.requires_grad)


def frozen_params_digest(model: nn.Module) -> str | None:
    """Return the SHA-256 of the weights so marked; None without any."""
    fixed: frozenset[str] = getattr(model, "frozen_params", frozenset())
    if not fixed:
        return None
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        if name in fixed:
            for plain in _stored_tensors(weight.detach()):
                flat = plain.cpu().flatten().clone(memory_format=torch.contiguous_format)
                digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _stored_tensors(weight: Any) -> Iterator[Tensor]:
    """Yield the tensors that store a weight: itself, or codes and scales if quantised."""
    if not hasattr(weight, "__tensor_flatten__"):
        yield weight
        return
    for name in weight.__tensor_flatten__()[0]:
        yield getattr(weight, name)
