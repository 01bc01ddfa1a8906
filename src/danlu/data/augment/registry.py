"""The registry of augmentations that a recipe may name. Imports no torch."""

from danlu.data.augment.base import Augmentation as Augmentation
from danlu.data.augment.images import (
    Blur,
    Color,
    Erase,
    Flip,
    RandAugment,
    RandomCrop,
    Rotate,
    Scale,
    Shear,
    Translate,
    TrivialAugment,
)
from danlu.data.augment.mixing import Cutmix, Mixup
from danlu.data.augment.tabular import Noise, SwapNoise
from danlu.data.augment.text import DeleteTokens, MaskSpans, SwapTokens

AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "random-crop": RandomCrop,
    "rotate": Rotate,
    "scale": Scale,
    "translate": Translate,
    "shear": Shear,
    "flip": Flip,
    "color": Color,
    "noise": Noise,
    "blur": Blur,
    "erase": Erase,
    "randaugment": RandAugment,
    "trivialaugment": TrivialAugment,
    "mixup": Mixup,
    "cutmix": Cutmix,
    "swap-noise": SwapNoise,
    "delete-tokens": DeleteTokens,
    "swap-tokens": SwapTokens,
    "mask-spans": MaskSpans,
}
