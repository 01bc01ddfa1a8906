"""Weights and changes of a loss, as balancing and label smoothing ask for them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LossWeighting:
    """Hold the class weights and changes of a loss; the defaults change nothing.

    Attributes:
        smoothing: share of a target's probability that is spread over all classes, in [0, 1).
        class_weights: weight of a sample of each class, [classes], mean 1 over the training samples.
        focal_gamma: focusing parameter of the focal loss (Lin et al. 2017); 0 is plain cross-entropy.
        logit_offsets: added to the logits in training alone, [classes] (Menon et al. 2021).
    """

    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    focal_gamma: float = 0.0
    logit_offsets: tuple[float, ...] | None = None
