"""Add a recipe's augmentations to a training loader. Validation and test have none, so nothing here can reach them.

Images are transformed one by one on the CPU, or in batches where the model trains when that is another device; texts,
tables and mixed pairs always in batches.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from danlu.core.seeds import Seed
from danlu.data.augment.base import Augmentation, BatchAugmentation, ImageAugmentation, TransformContext
from danlu.data.augment.device import DeviceAugment
from danlu.data.augment.host import HostAugment
from danlu.data.augment.mixing import Mixing, MixTransform
from danlu.data.descriptors import TokenizerFile
from danlu.data.loader import BatchTransform, TrainLoader
from danlu.data.specs import ImageInputs, InputSpec


def host_augment(
    steps: Sequence[Augmentation], inputs: InputSpec, seed: Seed, device: torch.device
) -> HostAugment | None:
    """Return the image augmentations for CPU threads.

    None where batches are transformed on the device, or not at all.
    """
    on_images = tuple(step for step in steps if isinstance(step, ImageAugmentation))
    if not isinstance(inputs, ImageInputs) or not on_images or device.type != "cpu":
        return None
    return HostAugment(on_images, inputs.size, inputs.channels, seed)


def add_augmentations(
    feed: TrainLoader,
    steps: Sequence[Augmentation],
    inputs: InputSpec,
    classes: int | None,
    tokenizer: TokenizerFile | None,
    seed: Seed,
    device: torch.device,
) -> TrainLoader:
    """Add the recipe's augmentations to a training loader.

    Args:
        feed: of the training split.
        steps: the recipe's `data.augment`, all fit for this kind of data.
        inputs: shapes and types of a prepared sample.
        classes: how many; None where numbers are predicted.
        tokenizer: of texts.
        seed: the recipe's.
        device: where the model trains.

    Raises:
        RecipeError: the data does not support an augmentation.
    """
    changes: list[BatchTransform] = []
    examples = feed.dataset
    if isinstance(inputs, ImageInputs):
        on_images = tuple(step for step in steps if isinstance(step, ImageAugmentation))
        if on_images and device.type != "cpu":  # elsewhere `on_host` does it
            changes.append(DeviceAugment(on_images, inputs.size, seed))
    else:
        for position, step in enumerate(steps):
            if isinstance(step, BatchAugmentation):
                changes.append(
                    step.build_transform(TransformContext(examples, seed.derive("augment", position), tokenizer))
                )
    mixing = tuple(step for step in steps if isinstance(step, Mixing))
    if mixing:
        changes.append(MixTransform(mixing, len(examples), classes, seed.derive("augment", "mix")))
    return replace(feed, transforms=(*feed.transforms, *changes))
