"""Puts a recipe's augmentations into a feed. Validation and test have no feed, so nothing here can reach them.

Images are changed one by one on the CPU, or in batches where the model trains when that is another device; texts,
tables and mixed pairs always in batches.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from danlu.core.seeds import Seed
from danlu.data.augment.base import Augmentation, BatchAugmentation, ImageAugmentation, Setting
from danlu.data.augment.device import DeviceAugment
from danlu.data.augment.host import HostAugment
from danlu.data.augment.mixing import Mix, Mixing
from danlu.data.examples import Feature, Tensors
from danlu.data.feed import Change, Feed
from danlu.data.place import TokenizerFile
from danlu.data.specs import ImageInputs, InputSpec


@dataclass(frozen=True)
class AugmentedImages:
    """Images changed on the CPU whenever an epoch takes them, by as many threads as torch may use."""

    images: Feature
    augment: HostAugment

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray, epoch: int | None = None) -> Tensors:
        taken = self.images.take(rows, epoch)
        if epoch is None:
            return taken
        pixels = taken["image"].permute(0, 2, 3, 1).numpy()
        plan = self.augment.plan(rows, epoch)
        side = self.augment.size
        changed = np.empty((len(rows), side, side, self.augment.channels), dtype=np.uint8)

        def change(index: int) -> None:
            changed[index] = self.augment.apply(pixels[index], plan, index)

        for _ in (
            map(change, range(len(rows))) if self._threads is None else self._threads.map(change, range(len(rows)))
        ):
            pass
        return {**taken, "image": torch.from_numpy(changed).permute(0, 3, 1, 2)}

    @cached_property
    def _threads(self) -> ThreadPoolExecutor | None:
        threads = torch.get_num_threads()
        return ThreadPoolExecutor(threads, "augment", torch.set_num_threads, (1,)) if threads > 1 else None


def augmented(
    feed: Feed,
    steps: Sequence[Augmentation],
    inputs: InputSpec,
    classes: int | None,
    tokenizer: TokenizerFile | None,
    seed: Seed,
    device: torch.device,
) -> Feed:
    """A feed whose samples are changed as a recipe says.

    Args:
        feed: of the training split.
        steps: the recipe's `data.augment`, all fit for this kind of data.
        inputs: what a prepared sample looks like.
        classes: how many; None where numbers are predicted.
        tokenizer: of texts.
        seed: the recipe's.
        device: where the model trains.

    Raises:
        RecipeError: an augmentation cannot be had with this data.
    """
    changes: list[Change] = []
    examples = feed.examples
    if isinstance(inputs, ImageInputs):
        on_images = tuple(step for step in steps if isinstance(step, ImageAugmentation))
        if on_images and device.type == "cpu":
            host = HostAugment(on_images, inputs.size, inputs.channels, seed)
            examples = replace(examples, features=tuple(AugmentedImages(each, host) for each in examples.features))
        elif on_images:
            changes.append(DeviceAugment(on_images, inputs.size, seed))
    else:
        for position, step in enumerate(steps):
            if isinstance(step, BatchAugmentation):
                changes.append(step.change(Setting(examples, seed.derive("augment", position), tokenizer)))
    mixing = tuple(step for step in steps if isinstance(step, Mixing))
    if mixing:
        changes.append(Mix(mixing, len(examples), classes, seed.derive("augment", "mix")))
    return replace(feed, examples=examples, changes=(*feed.changes, *changes))
