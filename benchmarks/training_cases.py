"""What the training loops are compared on: three recipes over data that is made or built in, and the same as tensors.

All ways of training get the model, the weights and the tensors that danlu makes of a recipe.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional

from danlu.core.devices import open_device
from danlu.experiment.data_context import fit_preprocessing, load_data
from danlu.experiment.prepare import build_setup
from danlu.experiment.setup import TrainingSetup
from danlu.recipe.load import check_recipe
from danlu.tasks.token_losses import IGNORED

Tensors = dict[str, Tensor]
JUDGED = 1024  # training samples that the last loss is the mean of, as far as there are so many

LR, WEIGHT_DECAY, CLIP_NORM = 1e-3, 0.01, 1.0
TRAINING: dict[str, Any] = {
    "optimizer": {"name": "adamw", "lr": LR, "weight_decay": WEIGHT_DECAY},
    "schedule": "constant",
    "clip_norm": CLIP_NORM,
    "precision": "fp32",
    "compile": False,
    "device": "cpu",
    "threads": {"compute": 1, "data": 1},
}
LITTLE_LEFT = {"validation": 0.02, "test": 0.02}


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        title: says what is trained.
        fitting: as danlu builds it.
        inputs, target: the training split as the model takes it, in memory.
        loss: (logits, target) -> mean loss, as torch has it.
        warm: steps that are not timed.
        steps: that are timed in a round.
    """

    title: str
    fitting: TrainingSetup
    inputs: Tensors
    target: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    warm: int
    steps: int

    @property
    def batch_size(self) -> int:
        size = self.fitting.context.recipe.training.batch_size
        assert isinstance(size, int)
        return size

    def take(self, rows: Tensor) -> tuple[Tensors, Tensor]:
        """A batch. Of tables index_select is the faster; of images only indexing keeps their layout."""
        return {name: _pick(values, rows) for name, values in self.inputs.items()}, self.target.index_select(0, rows)

    @torch.no_grad()
    def judge(self, model: torch.nn.Module) -> float:
        """The mean loss of the first training samples, in evaluation mode."""
        inputs, target = self.take(torch.arange(min(JUDGED, len(self.target))))
        return float(self.loss(model.eval()(**inputs), target))


def _pick(values: Tensor, rows: Tensor) -> Tensor:
    return values.index_select(0, rows) if values.dim() <= 2 else values[rows]


def tokens_loss(logits: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED)


def table(folder: Path) -> Case:
    """100,000 rows of 20 numbers; the class depends on sums and products of them."""
    made = np.random.default_rng(0)
    numbers = made.normal(size=(100_000, 20)).astype(np.float32)
    label = (numbers[:, :5].sum(axis=1) + numbers[:, 5] * numbers[:, 6] > 0).astype(np.int64)
    frame = pl.DataFrame({f"x{index}": numbers[:, index] for index in range(20)} | {"label": label})
    frame.write_parquet(folder / "table.parquet")
    recipe = {
        "data": {"source": str(folder / "table.parquet"), "target": "label", "split": LITTLE_LEFT},
        "model": {"name": "mlp", "hidden": [128, 128], "dropout": 0.0, "normalization": "none"},
        "training": {**TRAINING, "epochs": 20, "batch_size": 256},
    }
    title = "(a) MLP of 128, 128 on 96,000 rows of 20 numbers, batches of 256"
    return _case(title, recipe, functional.cross_entropy, warm=20, steps=600)


def images(folder: Path) -> Case:
    """Grey images of 28 pixels in ten classes: noise, brighter in a place that goes by the class."""
    from PIL import Image

    made = np.random.default_rng(0)
    labels = made.integers(0, 10, 6000)
    pixels = made.integers(0, 128, (len(labels), 28, 28), dtype=np.uint8)
    pixels[np.arange(len(labels)), labels * 2 + 3] += 100
    contents = []
    for picture in pixels:
        held = io.BytesIO()
        Image.fromarray(picture).save(held, "PNG", compress_level=1)
        contents.append(held.getvalue())
    pl.DataFrame({"image": contents, "label": labels}).write_parquet(folder / "images.parquet")
    recipe = {
        "data": {
            "source": str(folder / "images.parquet"),
            "target": "label",
            "image": "image",
            "image_size": 28,
            "split": LITTLE_LEFT,
        },
        "model": {"name": "timm:test_resnet"},
        "training": {**TRAINING, "epochs": 20, "batch_size": 64},
    }
    title = "(b) timm's test_resnet on 5,760 images of 28x28 uint8, batches of 64"
    return _case(title, recipe, functional.cross_entropy, warm=3, steps=40)


GPT = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 384,
}


def gpt(folder: Path) -> Case:
    """State of the Union addresses, packed."""
    recipe = {
        "data": {"source": "builtin:speeches-corpus", "sequence_length": 128, "vocabulary": 1024},
        "model": {"name": "hf:llama", "config": GPT},
        "training": {**TRAINING, "epochs": 2, "batch_size": 8, "memory": {"loss_chunk": "none"}},
    }
    return _case("(c) llama of 4 layers of 128 on blocks of 128 tokens, batches of 8", recipe, tokens_loss, 2, 12)


CASES: dict[str, Callable[[Path], Case]] = {"table": table, "images": images, "gpt": gpt}


def _case(title: str, recipe: dict[str, Any], loss: Callable[[Tensor, Tensor], Tensor], warm: int, steps: int) -> Case:
    opened = load_data(check_recipe(recipe))
    fitting = build_setup(opened, fit_preprocessing(opened), open_device("cpu"), threads=1)
    parameters = sum(weight.numel() for weight in fitting.model.parameters())
    feed = fitting.balanced.loader
    batch = feed.take(np.arange(feed.epoch_length), 0, torch.device("cpu"))
    return Case(f"{title}, {parameters:,} parameters", fitting, batch.inputs, batch.target, loss, warm, steps)
