"""Epochs over a folder of JPEG images: danlu's input pipeline beside torchvision's ImageFolder with a DataLoader.

    python benchmarks/image_folder.py            # 2,000 images of 500x375, to batches of 64 of 224x224
    python benchmarks/image_folder.py 500

Both give shuffled uint8 batches in memory, three epochs; each row is a process of its own with a cold store. The peer
is set as PyTorch's tuning guide and torchvision's documentation say: transforms v2 on uint8, one worker a usable core,
persistent workers, a prefetch factor of 4; PIL decodes, since its wheels' own decoder needs the CUDA build. Files are
in the page cache for both. Memory is that of all processes of a row (proportional, /proc), at its peak: anonymous is
what cannot be given back, the rest are kept images that the system may drop and read again.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

SIZE, BATCH, EPOCHS = 224, 64, 3
ROWS = ("danlu", "danlu, decoding anew", "torchvision", "danlu, crop and flip", "torchvision, crop and flip")


def make_folder(folder: Path, count: int) -> None:
    """Photographs of two classes: random parts of scikit-learn's two samples, 500x375, noisy, as JPEG."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    generator, photos = np.random.default_rng(0), load_sample_images().images
    for index in range(count):
        label = index % 2
        source = photos[label]
        height = int(generator.integers(250, source.shape[0]))
        width = height * 4 // 3
        top, left = generator.integers(0, source.shape[0] - height), generator.integers(0, source.shape[1] - width)
        part = Image.fromarray(source[top : top + height, left : left + width]).resize((500, 375))
        noisy = np.asarray(part, dtype=np.int16) + generator.integers(-6, 7, (375, 500, 1), dtype=np.int16)
        path = folder / ("temple", "flower")[label] / f"{index:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


class CropAndFlip:
    """torchvision's RandomResizedCrop and RandomHorizontalFlip with their defaults, in PIL."""

    def draw_params(self, rows: np.ndarray, epoch: int) -> list[np.random.Generator]:
        from danlu.core.seeds import Seed

        return [np.random.default_rng(Seed(0).derive("crop", epoch, int(row)).value) for row in rows]

    def apply(self, image: np.ndarray, plan: list[np.random.Generator], index: int) -> np.ndarray:
        from PIL import Image
        from PIL.Image import Resampling, Transpose

        generator = plan[index]
        side = image.shape[0]
        area, ratio = (
            generator.uniform(0.08, 1.0) * side * side,
            np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3))),
        )
        width, height = min(side, round((area * ratio) ** 0.5)), min(side, round((area / ratio) ** 0.5))
        left, top = generator.integers(0, side - width + 1), generator.integers(0, side - height + 1)
        part = Image.fromarray(image[top : top + height, left : left + width])
        cut = part.resize((SIZE, SIZE), Resampling.BILINEAR)
        return np.asarray(cut.transpose(Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else cut)

    def prefers_batches(self, side: int) -> bool:
        return False

    def apply_batch(self, images: np.ndarray, plan: list[np.random.Generator]) -> np.ndarray:
        return np.stack([self.apply(image, plan, index) for index, image in enumerate(images)])


def danlu_epochs(folder: Path, row: str) -> Iterator[int]:
    """After each epoch the number of images seen; before the first, those decoded and kept count with it."""
    import torch

    from danlu.core.seeds import Seed
    from danlu.data.descriptors import Origin
    from danlu.data.images.preprocessor import ImagePreprocessor
    from danlu.data.loader import TrainLoader, shuffled_order
    from danlu.data.sources.reader import read_source

    source, device = read_source(str(folder)), torch.device("cpu")
    form = ImagePreprocessor(column="image", channels=3, size=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
    changed = "crop" in row
    examples = form.transform(
        source.frame.lazy().collect(),
        Origin(source.origin, folder),
        CropAndFlip() if changed else None,
        375 if changed else None,
    )
    if "anew" not in row:
        examples = examples.cache(device)
    count = len(examples)
    feed = TrainLoader(
        replace(examples, target=torch.zeros(count, dtype=torch.int64)), shuffled_order(count, Seed(0)), count
    )
    batches = feed.batches(BATCH, device)
    for _ in range(EPOCHS):
        seen = 0
        while seen < count:
            batch = next(batches)
            assert batch.inputs["image"].shape[1:] == (3, SIZE, SIZE)
            seen += len(batch.rows)
        yield seen


def torchvision_epochs(folder: Path, row: str) -> Iterator[int]:
    from danlu.core.imports import patch_torchvision
    from danlu.core.threads import usable_cores

    patch_torchvision()
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import InterpolationMode, v2

    plain = [v2.Resize(SIZE, InterpolationMode.BICUBIC), v2.CenterCrop(SIZE)]
    steps = [v2.RandomResizedCrop(SIZE), v2.RandomHorizontalFlip()] if "crop" in row else plain
    loader = DataLoader(
        ImageFolder(str(folder), v2.Compose([*steps, v2.PILToTensor()])),
        batch_size=BATCH,
        shuffle=True,
        num_workers=usable_cores(),
        persistent_workers=True,
        prefetch_factor=4,
    )
    for _ in range(EPOCHS):
        seen = 0
        for images, _ in loader:
            assert images.shape[1:] == (3, SIZE, SIZE)
            seen += len(images)
        yield seen


class Memory(threading.Thread):
    """Watches the memory of this process and its children, in bytes at the peak."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous = self.all = 0

    def run(self) -> None:
        while True:
            now = [self._of(pid) for pid in (str(os.getpid()), *self._children())]
            self.anonymous = max(self.anonymous, sum(each.get("Pss_Anon", 0) for each in now))
            self.all = max(self.all, sum(each.get("Pss", 0) for each in now))
            time.sleep(0.1)

    @staticmethod
    def _children() -> list[str]:
        found: list[str] = []
        for task in Path("/proc/self/task").iterdir():
            found += (task / "children").read_text().split()
        return found

    @staticmethod
    def _of(pid: str) -> dict[str, int]:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:  # ended in between
            return {}
        return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def measure(row: str, folder: Path) -> dict[str, float]:
    """Seconds of the first epoch (with all preparation) and of the later ones, and the peak of memory."""
    epochs: Callable[[Path, str], Iterator[int]] = danlu_epochs if row.startswith("danlu") else torchvision_epochs
    import torch  # not counted: both need it

    torch.set_num_threads(1)
    memory = Memory()
    memory.start()
    marks, count = [time.perf_counter()], 0
    for seen in epochs(folder, row):
        marks.append(time.perf_counter())
        count = seen
    seconds = np.diff(marks)
    return {
        "first": count / seconds[0],
        "later": count / seconds[1:].min(),
        "anonymous": memory.anonymous / 1e6,
        "all": memory.all / 1e6,
    }


def image_folder(count: int = 2000) -> None:
    """Print images a second of every pipeline, and their ratio to torchvision's."""
    from importlib.metadata import version

    from danlu.core.threads import usable_cores

    print(f"image folder: {count:,} JPEG of 500x375 to {SIZE}x{SIZE}, {usable_cores()} cores, torchvision ", end="")
    print(f"{version('torchvision')}, Pillow {version('pillow')}, simplejpeg {version('simplejpeg')}")
    print(f"{'images/s':<28} {'epoch 1':>9} {'later':>9} {'ratio':>13} {'anonymous MB':>13} {'all MB':>8}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photos"
        make_folder(folder, count)
        found: dict[str, dict[str, float]] = {}
        for number, row in enumerate(ROWS):
            environment = {**os.environ, "DANLU_CACHE": str(Path(scratch) / f"cache-{number}")}
            command = [sys.executable, __file__, row, str(folder)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            found[row] = json.loads(done.stdout)
        for row, one in found.items():
            peer = found["torchvision, crop and flip" if "crop" in row else "torchvision"]
            ratios = f"{one['first'] / peer['first']:.1f}x, {one['later'] / peer['later']:.1f}x"
            print(f"{row:<28} {one['first']:>9.0f} {one['later']:>9.0f} {ratios:>13}", end=" ")
            print(f"{one['anonymous']:>13.0f} {one['all']:>8.0f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
    else:
        image_folder(*(int(argument) for argument in sys.argv[1:]))
