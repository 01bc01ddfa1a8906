"""What augmentation costs a core: danlu's host executor beside torchvision.transforms.v2, in one run.

    OMP_NUM_THREADS=1 python benchmarks/data.py augment

Random crop, rotation, flip, brightness, contrast and saturation at 224 pixels, batches of 32, one thread. The peer
gets what its documentation recommends: uint8, antialiased bilinear resizing, tensors in either memory format or Pillow
images, whichever is fastest. The photos are scikit-learn's two; the large one is the first, enlarged.
"""

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from danlu.core.imports import patch_torchvision
from danlu.core.seeds import Seed
from danlu.data.augment.host import HostAugment
from danlu.data.augment.images import Color, Flip, RandomCrop, Rotate

SIDE, BATCH, ROUNDS = 224, 32, 15
STEPS = (
    RandomCrop(size=SIDE, scale=(0.5, 1.0)),
    Rotate(degrees=15.0),
    Flip(horizontal=0.5),
    Color(brightness=0.2, contrast=0.2, saturation=0.2),
)


def peer_transform() -> Any:
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, scale=(0.5, 1.0), antialias=True),
            v2.RandomRotation(15.0, interpolation=v2.InterpolationMode.BILINEAR),
            v2.RandomHorizontalFlip(0.5),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        ]
    )


def milliseconds(ways: dict[str, Callable[[int], Any]]) -> dict[str, float]:
    """The best CPU time an image of each way, all ways taking turns so that none has the machine at a better moment."""
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(ROUNDS + 1):
        for name, way in ways.items():
            started = time.process_time()
            way(turn)
            if turn:  # the first turn warms up
                best[name] = min(best[name], 1e3 * (time.process_time() - started) / BATCH)
    return best


def show(title: str, found: dict[str, float]) -> None:
    ours = found["danlu"]
    fastest = min(value for name, value in found.items() if name != "danlu")
    print(f"\n{title}, CPU ms an image")
    for name, value in found.items():
        print(f"  {name:<44} {value:7.2f} {value / ours:6.2f}x")
    print(f"  danlu is {fastest / ours:.2f}x as fast as the fastest other")


def from_arrays(image: np.ndarray) -> None:
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    host, transform = HostAugment(STEPS, SIDE, 3, Seed(1)), peer_transform()
    strided = torch.from_numpy(image.copy()).permute(2, 0, 1)
    planar, picture, rows = strided.contiguous(), Image.fromarray(image), np.arange(BATCH)

    def ours(turn: int) -> Any:
        plan, batch = host.draw_params(rows, turn), np.empty((BATCH, SIDE, SIDE, 3), dtype=np.uint8)
        for index in range(BATCH):
            batch[index] = host.apply(image, plan, index)
        return torch.from_numpy(batch).permute(0, 3, 1, 2)

    show(
        f"augmentation of {image.shape[1]}x{image.shape[0]} uint8 images",
        milliseconds(
            {
                "danlu": ours,
                "torchvision v2, tensors": lambda turn: torch.stack([transform(planar) for _ in rows]),
                "torchvision v2, tensors, channels last": lambda turn: torch.stack([transform(strided) for _ in rows]),
                "torchvision v2, Pillow": lambda turn: torch.stack(
                    [v2.functional.pil_to_tensor(transform(picture)) for _ in rows]
                ),
            }
        ),
    )


def from_files(image: np.ndarray) -> None:
    import simplejpeg
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    host, transform, rows = HostAugment(STEPS, SIDE, 3, Seed(1)), peer_transform(), np.arange(BATCH)
    held = io.BytesIO()
    Image.fromarray(image).save(held, "JPEG", quality=90)
    content = held.getvalue()

    def ours(turn: int) -> Any:
        plan, batch = host.draw_params(rows, turn), np.empty((BATCH, SIDE, SIDE, 3), dtype=np.uint8)
        for index in range(BATCH):
            height, width, _, _ = simplejpeg.decode_jpeg_header(content)
            wide, high = host.least_size(plan, index, width, height)
            decoded = simplejpeg.decode_jpeg(content, min_width=wide, min_height=high, min_factor=1.0)
            batch[index] = host.apply(decoded, plan, index)
        return torch.from_numpy(batch).permute(0, 3, 1, 2)

    def opened() -> Any:
        return Image.open(io.BytesIO(content)).convert("RGB")

    show(
        f"JPEG of {image.shape[1]}x{image.shape[0]} to augmented images",
        milliseconds(
            {
                "danlu": ours,
                "Pillow, torchvision v2 on tensors": lambda turn: torch.stack(
                    [transform(v2.functional.pil_to_tensor(opened())) for _ in rows]
                ),
                "Pillow, torchvision v2 on Pillow images": lambda turn: torch.stack(
                    [v2.functional.pil_to_tensor(transform(opened())) for _ in rows]
                ),
            }
        ),
    )


def augment() -> None:
    """Print every table of this section."""
    patch_torchvision()
    import torch
    import torchvision
    from PIL import Image, __version__
    from sklearn.datasets import load_sample_images

    torch.set_num_threads(1)
    print(f"torchvision {torchvision.__version__}, Pillow {__version__}, torch {torch.__version__}, one thread")
    photo = np.asarray(Image.fromarray(load_sample_images().images[0]).resize((500, 375)))
    large = np.asarray(Image.fromarray(photo).resize((1600, 1200), Image.Resampling.BICUBIC))
    for image in (photo, large):
        from_arrays(image)
        from_files(image)
