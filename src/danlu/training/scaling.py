"""Learning rates over time, as a factor of the optimizer's own: a function of the step alone, with no state to save.

A schedule is fitted to the length of the run. What is given as a share (below 1) or in steps (a whole number) is
counted from the end of the warmup. Only `plateau` depends on results: its `ReduceLROnPlateau` has a state.
"""

import math

from danlu.recipe.sections import LearningRateScaling


def scaled_lr(lr: float, batch_size: int, scaling: LearningRateScaling | None) -> float:
    """Scale the learning rate to `batch_size`.

    `linear` keeps the expected path of plain gradient descent over an epoch (Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677); `sqrt` keeps the noise of adaptive optimizers (Malladi et al. 2022,
    https://arxiv.org/abs/2205.10287).

    Args:
        batch_size: samples per optimizer step, over all microbatches and processes.
        scaling: the rule and the batch size that `lr` was chosen for; None leaves the rate unchanged.
    """
    if scaling is None:
        return lr
    ratio = batch_size / scaling.reference
    return lr * (ratio if scaling.rule == "linear" else math.sqrt(ratio))
