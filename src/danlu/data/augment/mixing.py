"""Mix pairs of training samples and their labels: mixup and CutMix. Imports no torch.

The partner and the share are functions of (seed, epoch, row). Where both are named, each sample takes one or the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import PositiveFloat

from danlu.core.seeds import Seed
from danlu.data.augment.base import Augmentation, Probability
from danlu.data.augment.hash_rng import HashRng
from danlu.data.loader import Batch

if TYPE_CHECKING:
    from torch import Tensor


class Mixing(Augmentation):
    """Make one sample of two.

    `share` is the sample's own part; the rest is its partner's.

    Attributes:
        alpha: shares follow Beta(alpha, alpha): near 0 and 1 when it is small, even when it is 1.
        probability: of mixing a sample at all.
    """

    alpha: PositiveFloat
    probability: Probability = 1.0


class Mixup(Mixing):
    """Average with another training sample, labels too (Zhang et al. 2018, https://arxiv.org/abs/1710.09412).

    Categories come from the larger share.
    """

    kinds = ("image", "tabular")
    name: Literal["mixup"] = "mixup"
    alpha: PositiveFloat = 0.2


class Cutmix(Mixing):
    """Paste a box of another training image, labels in proportion (CutMix).

    Yun et al. 2019, https://arxiv.org/abs/1905.04899.
    """

    kinds = ("image",)
    name: Literal["cutmix"] = "cutmix"
    alpha: PositiveFloat = 1.0


@dataclass(frozen=True)
class MixTransform:
    """Apply the recipe's mixing to whole batches.

    Attributes:
        ways: one or more; each sample takes one of them, with equal probability.
        count: number of training rows to mix with.
        classes: how many; None where the answers are numbers.
        seed: this transform's own.
    """

    ways: Sequence[Mixing]
    count: int
    classes: int | None
    seed: Seed

    def __call__(self, batch: Batch, take: Callable[[np.ndarray], Batch]) -> Batch:
        import torch

        rng = HashRng(batch.rows, self.seed.derive(batch.epoch))
        partner = take(rng.integers("partner", self.count))
        way = rng.integers("way", len(self.ways))
        share = self._shares(rng, way)
        boxes = np.zeros((len(share), 4))
        cut = np.array([isinstance(option, Cutmix) for option in self.ways])[way] & (share < 1.0)
        inputs = dict(batch.inputs)
        if "image" in inputs:
            side = inputs["image"].shape[-1]
            boxes[cut] = _boxes(rng, share, side)[cut]
            area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            share = np.where(cut, 1.0 - area / side**2, share)
        weight = torch.from_numpy(np.where(cut, 1.0, share).astype(np.float32)).to(batch.target.device)
        for name, values in inputs.items():
            inputs[name] = _average(values, partner.inputs[name], weight)
        if cut.any():
            inputs["image"] = _paste(inputs["image"], partner.inputs["image"], boxes)
        target = self._targets(batch.target, partner.target, torch.from_numpy(share).to(batch.target.device))
        return replace(batch, inputs=inputs, target=target)

    def _shares(self, rng: HashRng, way: np.ndarray) -> np.ndarray:
        """Return each sample's own share, [batch] in [0, 1]."""
        from scipy.special import betaincinv

        alpha = np.array([option.alpha for option in self.ways])[way]
        mixed = rng.uniform("mixed") < np.array([option.probability for option in self.ways])[way]
        return np.where(mixed, betaincinv(alpha, alpha, rng.uniform("share")), 1.0)

    def _targets(self, own: "Tensor", other: "Tensor", share: "Tensor") -> "Tensor":
        """Mix targets in proportion: shares of classes [batch, classes], or numbers [batch]."""
        from torch.nn.functional import one_hot

        if self.classes is not None and own.dim() == 1:
            own = one_hot(own, self.classes).float()
        if self.classes is not None and other.dim() == 1:
            other = one_hot(other, self.classes).float()
        share = share.to(own.dtype).view(-1, *(1,) * (own.dim() - 1))
        return share * own + (1 - share) * other


def _average(own: "Tensor", other: "Tensor", share: "Tensor") -> "Tensor":
    """Average numbers and pixels, [batch, ...]; take category codes from the larger share."""
    import torch

    share = share.view(-1, *(1,) * (own.dim() - 1))
    if own.dtype == torch.int64:
        return torch.where(share >= 0.5, own, other)
    mixed = torch.lerp(other.float(), own.float(), share)
    return mixed.round().to(own.dtype) if own.dtype == torch.uint8 else mixed.to(own.dtype)


def _boxes(rng: HashRng, share: np.ndarray, side: int) -> np.ndarray:
    """Draw boxes of about (1 - share) of the area, cut at the edges.

    As left, top, right, bottom, about random points.
    """
    half = side * np.sqrt(1.0 - share) / 2
    x, y = rng.uniform("x", 0, side), rng.uniform("y", 0, side)
    return np.clip(np.round(np.stack([x - half, y - half, x + half, y + half], axis=1)), 0, side)


def _paste(own: "Tensor", other: "Tensor", boxes: np.ndarray) -> "Tensor":
    """Paste the partner's pixels inside each sample's box, [batch, channels, side, side]."""
    import torch

    limits = torch.from_numpy(boxes).to(own.device)[:, :, None]
    places = torch.arange(own.shape[-1], device=own.device) + 0.5
    across = (places > limits[:, 0]) & (places < limits[:, 2])
    down = (places > limits[:, 1]) & (places < limits[:, 3])
    inside = down[:, None, :, None] & across[:, None, None, :]
    return torch.where(inside, other, own)
