"""The registry of augmentations that a recipe may name. Imports no torch."""

from danlu.core.component import Component
from danlu.data.augment.base import Augmentation as Augmentation
from danlu.data.augment.mixing import Cutmix, Mixup
from danlu.data.augment.pictures import Blur, Color, Erase, Flip, RandomCrop, Rotate, Scale, Shear, Translate
from danlu.data.augment.policies import RandAugment, TrivialAugment
from danlu.data.augment.rows import Noise, SwapNoise
from danlu.data.augment.tokens import DeleteTokens, MaskSpans, SwapTokens

AUGMENTATIONS: dict[str, type[Component]] = {
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
