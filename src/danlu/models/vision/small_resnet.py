"""A small residual network for small images with few operations: most work is at half resolution and below.

In: normalized pixels [batch, channels, side, side]. Out: [batch, outputs]. The wrapper in `timm` normalizes pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CHANNELS_PER_GROUP = 16  # channels per group, a good value in Wu & He 2018, https://arxiv.org/abs/1803.08494

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "gelu": nn.GELU,
    "silu": lambda: nn.SiLU(inplace=True),
}
NORMALIZATIONS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(
        max(1, channels // CHANNELS_PER_GROUP) if channels % CHANNELS_PER_GROUP == 0 else 1, channels
    ),
    "layer": lambda channels: nn.GroupNorm(1, channels),
}


@dataclass(frozen=True)
class LayerStyle:
    """Hold the normalization and activation of all layers: keys of NORMALIZATIONS and ACTIVATIONS."""

    normalization: str
    activation: str

    def convolve(self, channels: int, width: int, stride: int = 1) -> list[nn.Module]:
        """Return a 3x3 convolution and its normalization."""
        convolution = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        # Scaled for what passes an activation (He et al. 2015, https://arxiv.org/abs/1502.01852).
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        return [convolution, NORMALIZATIONS[self.normalization](width)]

    def activate(self) -> nn.Module:
        return ACTIVATIONS[self.activation]()


class ResidualBlock(nn.Module):
    """Add the result of two convolutions to their input (He et al. 2016, https://arxiv.org/abs/1512.03385).

    The last normalization's scale starts at zero, so that a new block is the identity (Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677).
    """

    def __init__(self, width: int, style: LayerStyle, drop: float) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *style.convolve(width, width),
            style.activate(),
            *style.convolve(width, width),
        )
        nn.init.zeros_(self.branch[-1].weight)  # type: ignore[arg-type]
        self.activation = style.activate()
        self.drop = drop

    def forward(self, features: Tensor) -> Tensor:
        """Map features [batch, width, side, side] to features of the same shape."""
        branch: Tensor = self.branch(features)
        if self.training and self.drop > 0:
            # Stochastic depth (Huang et al. 2016, https://arxiv.org/abs/1603.09382), drawn per sample; kept branches
            # are scaled up to compensate.
            kept = torch.rand(len(branch), 1, 1, 1, device=branch.device) >= self.drop
            branch = branch * (kept.to(branch.dtype) / (1.0 - self.drop))
        answer: Tensor = self.activation(features + branch)
        return answer


class SmallResNetNetwork(nn.Module):
    """Classify small images: a full-resolution stem, stages that halve it, a linear classifier.

    A stage halves the resolution by a stride-2 convolution, a quarter of the work of convolving in full and pooling,
    followed by residual blocks.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        stem: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        style: LayerStyle,
        dropout: float,
        stochastic_depth: float,
        mirrored: bool,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [*style.convolve(channels, stem), style.activate()]
        width, rates = stem, _stochastic_depth_rates(stochastic_depth, sum(blocks))
        for wider, count in zip(widths, blocks, strict=True):
            layers += [*style.convolve(width, wider, stride=2), style.activate()]
            layers += [ResidualBlock(wider, style, next(rates)) for _ in range(count)]
            width = wider
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.mirrored = mirrored
        self.classifier = nn.Linear(2 * width, outputs)
        # Max-pooled features are well above 1: random weights would begin with a loss of three times ln(classes).
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)
        # The fastest memory layout for convolutions, on CPUs and tensor cores alike.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels [batch, channels, side, side] to logits [batch, outputs]."""
        if self.mirrored and not self.training:
            return (self._answer(pixels) + self._answer(pixels.flip(3))) / 2
        return self._answer(pixels)

    def _answer(self, pixels: Tensor) -> Tensor:
        features = self.features(pixels.contiguous(memory_format=torch.channels_last))
        # Mean and maximum: how much of a feature there is, and whether it is anywhere.
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        answer: Tensor = self.classifier(self.dropout(pooled))
        return answer


def _stochastic_depth_rates(last: float, count: int) -> Iterator[float]:
    """Return rates of stochastic depth, rising to `last`: later blocks matter least."""
    return (last * (index + 1) / count for index in range(count))
