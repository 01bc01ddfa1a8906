"""The optimizers a recipe may name. In: groups of parameters. Out: a `torch.optim.Optimizer`; torch is imported then.

`options` says what a recipe may ask of each, and holds their table; steps that torch lacks stand in a module each.
"""

from danlu.training.optimizers.base import Optimizer
from danlu.training.optimizers.options import OPTIMIZERS

__all__ = ["OPTIMIZERS", "Optimizer"]
