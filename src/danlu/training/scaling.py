"""The learning rate for another batch size than it was meant for."""

import math

from danlu.recipe.sections import LearningRateScaling


def scaled_lr(lr: float, batch_size: int, scaling: LearningRateScaling | None) -> float:
    """The rate for batches of `batch_size`.

    `linear` keeps the expected way of plain gradient descent over an epoch (Goyal et al. 2017); `sqrt` keeps the noise
    of adaptive optimizers (Malladi et al. 2022).

    Args:
        batch_size: samples an optimizer step, over all parts and processes.
        scaling: the rule and the batch size that `lr` is meant for; None leaves the rate as it is.
    """
    if scaling is None:
        return lr
    ratio = batch_size / scaling.reference
    return lr * (ratio if scaling.rule == "linear" else math.sqrt(ratio))
