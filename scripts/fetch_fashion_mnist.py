"""Fetches Fashion-MNIST (Xiao et al. 2017, MIT licence) as the table that recipes/fashion-mnist.yaml reads.

In: the Debian package dataset-fashion-mnist, by way of apt-get and dpkg-deb. Out: FOLDER/fashion-mnist.parquet with the
columns `image` (PNG), `label` and `part`; the official 10,000 test images are the part `test`, and of the official
60,000 training images the last VALIDATION are the part `validation`. Nothing is done where that file is there already.

    python scripts/fetch_fashion_mnist.py [FOLDER]          FOLDER is ~/.cache/danlu-datasets when left out
"""

import gzip
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("usr/share/datasets/fashion-mnist")  # below the root that the package is unpacked to
FOLDER = Path.home() / ".cache" / "danlu-datasets"
VALIDATION = 2_000
# In the order of their numbers in the files of labels.
LABELS = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def fetch(folder: Path) -> Path:
    """The table, made where it is not there yet.

    Raises:
        SystemExit: the package cannot be had here.
    """
    table = folder / "fashion-mnist.parquet"
    if table.is_file():
        return table
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = unpack(Path(scratch))
        frame = pl.concat(
            [
                rows(root, "train", "train").with_columns(part=part_of_training(60_000)),
                rows(root, "t10k", "test"),
            ]
        )
        aside = Path(scratch) / table.name
        frame.write_parquet(aside)
        aside.replace(table)  # so that a file of this name is always whole
    return table


def unpack(scratch: Path) -> Path:
    """Where the package's data files are: as installed on this machine, else downloaded and unpacked to `scratch`."""
    if (Path("/") / INSTALLED).is_dir():
        return Path("/") / INSTALLED
    download, extract = tool("apt-get"), tool("dpkg-deb")
    done = subprocess.run([download, "download", PACKAGE], cwd=scratch, capture_output=True, text=True, check=False)
    found = sorted(scratch.glob(f"{PACKAGE}_*.deb"))
    if done.returncode != 0 or not found:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()
        sys.exit(
            f"apt-get could not download {PACKAGE} ({reason[-1] if reason else 'no reason given'}): is this machine "
            "online, and do its package lists know it (`apt-get update`)?"
        )
    subprocess.run([extract, "-x", str(found[-1]), "."], cwd=scratch, check=True)
    return scratch / INSTALLED


def tool(name: str) -> str:
    """Where a program of Debian's stands."""
    found = shutil.which(name)
    if found is None:
        sys.exit(
            f"{name} is not on this machine: run this on Debian or Ubuntu, and copy fashion-mnist.parquet to "
            f"{FOLDER} here"
        )
    return found


def rows(root: Path, prefix: str, part: str) -> pl.DataFrame:
    """The images and labels of one pair of files, in order."""
    images = read_idx(root / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(root / f"{prefix}-labels-idx1-ubyte.gz")
    return pl.DataFrame(
        {
            "image": [as_png(image) for image in images],
            "label": [LABELS[label] for label in labels],
            "part": [part] * len(labels),
        }
    )


def part_of_training(count: int) -> pl.Series:
    """The official order has no pattern, so the last rows are as good a sample as any."""
    return pl.Series("part", ["train"] * (count - VALIDATION) + ["validation"] * VALIDATION)


def read_idx(path: Path) -> np.ndarray:
    """An array in LeCun's IDX format: two zero bytes, the type (8: uint8), the dimensions, big-endian sizes, values."""
    with gzip.open(path) as file:
        content = file.read()
    dimensions = content[3]
    assert content[:3] == b"\0\0\x08", f"{path}: not an IDX file of bytes"
    shape = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape.astype(int))


def as_png(pixels: np.ndarray) -> bytes:
    """[height, width] uint8 as a file's content."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
