"""A small residual network for small images, built for few operations: most work is at half resolution and below.

In: normalised pixels [batch, channels, side, side]. Out: [batch, outputs]. Normalisation of the pixels is `vision`'s.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

GROUPED = 16  # channels a group of group normalisation, as Wu & He 2018 found good

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "gelu": nn.GELU,
    "silu": lambda: nn.SiLU(inplace=True),
}
NORMALIZATIONS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(max(1, channels // GROUPED) if channels % GROUPED == 0 else 1, channels),
    "layer": lambda channels: nn.GroupNorm(1, channels),
}


@dataclass(frozen=True)
class Style:
    """What all layers of a network share: names of NORMALIZATIONS and ACTIVATIONS."""

    normalization: str
    activation: str

    def convolve(self, channels: int, width: int, stride: int = 1) -> list[nn.Module]:
        """A 3x3 convolution and its normalisation."""
        convolution = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        # For the part of a signal that passes an activation (He et al. 2015).
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        return [convolution, NORMALIZATIONS[self.normalization](width)]

    def activate(self) -> nn.Module:
        return ACTIVATIONS[self.activation]()


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to their input (He et al. 2016).

    The last normalisation starts at zero, so that a new block passes its input on (Goyal et al. 2017).
    """

    def __init__(self, width: int, style: Style, drop: float) -> None:
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
        """[batch, width, side, side], in and out."""
        branch: Tensor = self.branch(features)
        if self.training and self.drop > 0:
            # Stochastic depth (Huang et al. 2016), drawn for each sample; those that keep the branch make up for it.
            kept = torch.rand(len(branch), 1, 1, 1, device=branch.device) >= self.drop
            branch = branch * (kept.to(branch.dtype) / (1.0 - self.drop))
        answer: Tensor = self.activation(features + branch)
        return answer


class SmallResNet(nn.Module):
    """A stem at full resolution, stages that each halve it and refine it by residual blocks, a linear classifier.

    A stage halves by a convolution of stride 2: a quarter of the work of pooling what was convolved in full.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        stem: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        style: Style,
        dropout: float,
        stochastic_depth: float,
        mirrored: bool,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [*style.convolve(channels, stem), style.activate()]
        width, rates = stem, _rising(stochastic_depth, sum(blocks))
        for wider, count in zip(widths, blocks, strict=True):
            layers += [*style.convolve(width, wider, stride=2), style.activate()]
            layers += [ResidualBlock(wider, style, next(rates)) for _ in range(count)]
            width = wider
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.mirrored = mirrored
        self.classifier = nn.Linear(2 * width, outputs)
        # Largest values are well above 1: drawn weights would begin with a loss of three times ln(classes).
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)
        # The layout in which convolutions are fastest, on CPUs and on tensor cores alike.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels: Tensor) -> Tensor:
        """[batch, channels, side, side] -> [batch, outputs]."""
        if self.mirrored and not self.training:
            return (self._answer(pixels) + self._answer(pixels.flip(3))) / 2
        return self._answer(pixels)

    def _answer(self, pixels: Tensor) -> Tensor:
        features = self.features(pixels.contiguous(memory_format=torch.channels_last))
        # How much of a feature there is, and whether it is anywhere: small images have room for few places.
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        answer: Tensor = self.classifier(self.dropout(pooled))
        return answer


def _rising(last: float, count: int) -> Iterator[float]:
    """Rates of stochastic depth: blocks far from the input, which the result needs least, are left out most."""
    return (last * (index + 1) / count for index in range(count))
