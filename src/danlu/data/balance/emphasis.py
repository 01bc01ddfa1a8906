"""How much the loss counts of each sample, as plain values that a loss function reads."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Emphasis:
    """What a loss does beyond the plain one. The defaults change nothing.

    Attributes:
        smoothing: share of a target's probability that is spread over all classes, in [0, 1).
        class_weights: what a sample of each class counts, [classes], mean 1 over the training samples.
        focal_gamma: how strongly well-known samples fade (Lin et al. 2017); 0 is plain cross-entropy.
        logit_offsets: added to the logits in training alone, [classes] (Menon et al. 2021).
    """

    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    focal_gamma: float = 0.0
    logit_offsets: tuple[float, ...] | None = None
