"""The optimizers a recipe may name. In: groups of parameters. Out: a `torch.optim.Optimizer`, only then torch.

Those that torch has stand in `torchs`, the others' options in `others`, each with its steps in a module of its own.
"""

from danlu.training.optimizers.base import Optimizer
from danlu.training.optimizers.table import OPTIMIZERS

__all__ = ["OPTIMIZERS", "Optimizer"]
