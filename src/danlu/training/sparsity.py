"""Set weights to zero while a model is trained, ever more of them by a schedule (`training.sparsity`).

Which weights are zero after a step follows from the weights before it, so a checkpoint needs no masks: a run that is
resumed goes on bit by bit.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from danlu.core.seeds import Seed
from danlu.recipe.durations import to_steps
from danlu.recipe.sections.sparsity import Sparsity
from danlu.training.masks import (
    Scores,
    lowest_masks,
    n_of_m_masks,
    prunable_weights,
    set_to_zero,
    transposed_weights,
)

ALREADY = -1.0  # score of a weight that is zero: below all others


def scheduled_sparsity(options: Sparsity, step: int, steps: int) -> float:
    """Return the sparsity after `step` of `steps` steps.

    polynomial: s1 + (s0 - s1) (1 - x)^power, Zhu & Gupta 2017, https://arxiv.org/abs/1710.01878; cosine:
    s1 + (s0 - s1) (1 + cos(pi x)) / 2; constant: s1 from `begin` on; x is the place between `begin` and `end`.
    """
    begin, end = ends_in_steps(options, steps)
    if step >= end:
        return options.amount
    if step < begin:
        return options.start
    place = (step - begin) / (end - begin)
    left = (1 - place) ** options.power if options.schedule == "polynomial" else (1 + math.cos(math.pi * place)) / 2
    return options.amount + (options.start - options.amount) * left


def ends_in_steps(options: Sparsity, steps: int) -> tuple[int, int]:
    """Return the steps between which sparsity rises."""
    begin, end = (to_steps(value, steps) for value in (options.begin, options.end))
    return min(begin, steps), min(steps, begin if options.schedule == "constant" else max(begin, end))


@dataclass(frozen=True)
class Sparsifier:
    """Set the weights of a network to zero after each step.

    Attributes:
        network: changed in place.
        options: how many, which, and when.
        steps: of the whole training.
        seed: of random choices.
    """

    network: nn.Module
    options: Sparsity
    steps: int
    seed: Seed

    def zeros_before(self, step: int) -> dict[str, Tensor] | None:
        """Return which weights are zero before a step, counted from 1.

        None where none has to stay so.
        """
        if scheduled_sparsity(self.options, step - 1, self.steps) == 0:
            return None
        return {name: weight.detach() == 0 for name, weight in prunable_weights(self.network).items()}

    @torch.no_grad()
    def after_step(self, step: int, were_zero: dict[str, Tensor] | None) -> None:
        """Set weights to zero after a step, those first that were zero before it.

        Args:
            step: counted from 1.
            were_zero: as `zeros_before` returned it.
        """
        amount = scheduled_sparsity(self.options, step, self.steps)
        if amount == 0:
            return
        weights = prunable_weights(self.network)
        scores = weight_scores(weights, self.options.by, self.seed)
        for name, zero in (were_zero or {}).items():
            scores[name] = scores[name].masked_fill(zero, ALREADY)
        by_layer = self.options.scope == "layer"
        set_to_zero(
            weights, choose_masks(self.network, scores, amount, by_layer=by_layer, pattern=self.options.pattern)
        )


def choose_masks(
    network: nn.Module, scores: Scores, amount: float, *, by_layer: bool, pattern: str | None
) -> dict[str, Tensor]:
    """Return masks that are False for the weights of the lowest scores.

    Args:
        network: whose weights are scored.
        scores: of each weight, by name.
        amount: the share that becomes zero.
        by_layer: whether each weight loses that share, else all of them together.
        pattern: N:M in place of a share.
    """
    if pattern is not None:
        return n_of_m_masks(scores, *n_of_m(pattern), transposed_weights(network))
    return lowest_masks(scores, amount, by_layer=by_layer)


def weight_scores(weights: dict[str, nn.Parameter], by: str, seed: Seed) -> dict[str, Tensor]:
    """Return each weight's importance: its size, or a number drawn by the seed."""
    if by == "magnitude":
        return {name: weight.detach().abs() for name, weight in weights.items()}
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        drawn = torch.Generator().manual_seed(seed.derive("sparsity", name).value)
        found[name] = torch.rand(weight.shape, generator=drawn).to(weight.device)
    return found


def n_of_m(pattern: str) -> tuple[int, int]:
    """Return the two numbers of a pattern such as 2:4: kept, of a group."""
    kept, _, group = pattern.partition(":")
    return int(kept), int(group)
