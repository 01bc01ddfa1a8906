"""Head-only fine-tuning: compute the body's features of every sample once, and train the head on them.

The body is in evaluation mode and stays unchanged, so an epoch reads a row of numbers per sample in place of an image
or text. Features are cached under a hash of the weights, the data and its preparation.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from danlu.artifacts.cache import cached_dir
from danlu.artifacts.tensors import load_tensors, save_tensors
from danlu.core.console import progress
from danlu.data.loader import PreparedDataset, TensorColumn
from danlu.errors import ArgumentError
from danlu.models.infer import eval_mode
from danlu.models.task_model import TaskModel

FEATURE_BATCH_SIZE = 64  # samples: determines memory and, in the last bits, rounding; so it is no setting
FORMAT = 1
FILE = "features.safetensors"
TOLERANCE = 1e-4  # of logits, relative; the same sums in the same order


class HeadOnlyModel(TaskModel):
    """Apply a task's head, the whole model's own layer, to features instead of samples."""

    def __init__(self, classifier: nn.Module, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = classifier
        self.head_parts = ("classifier",)

    def forward(self, features: Tensor) -> Tensor:
        """[batch, width] -> [batch, outputs]."""
        logits: Tensor = self.classifier(self.dropout(features))
        return logits


def build_head(model: Any, dropout: float, examples: PreparedDataset, device: torch.device, name: str) -> HeadOnlyModel:
    """Return the head of a model, to be trained on its features.

    Args:
        model: on the device.
        examples: some samples to try the head on.

    Raises:
        ArgumentError: the model does not end in one layer over features.
    """
    import numpy as np

    classifier: Any = getattr(model, "classifier", None)
    one_layer = isinstance(classifier, nn.Module) and hasattr(model, "features")
    if one_layer:
        inputs, _ = examples.take(np.arange(min(2, len(examples))), device)
        with eval_mode(model):
            whole, features = model(**inputs), model.features(**inputs)
            one_layer = features.ndim == 2 and torch.allclose(classifier(features), whole, TOLERANCE, TOLERANCE)
    if not one_layer:
        raise ArgumentError(
            f"model.finetune.mode: {name} does not end in one layer over features; use full or lora", code="DL511"
        )
    return HeadOnlyModel(classifier, dropout)


def compute_features(
    model: Any,
    examples: PreparedDataset,
    cache_key: dict[str, Any],
    device: torch.device,
    threads: int | None,
    part: str,
) -> PreparedDataset:
    """Replace samples by their features, keeping the targets; features are computed once and cached.

    Args:
        model: on the device.
        cache_key: everything else that determines the features besides the model's weights, as JSON values.
        part: name of the split, for the progress bar.
    """

    def make(folder: Path) -> None:
        found = []
        with eval_mode(model), progress(f"features of the {part} split", len(examples), "samples") as bar:
            for rows, inputs, _ in examples.iter_batches(FEATURE_BATCH_SIZE, device):
                found.append(model.features(**inputs).float().cpu())
                bar.advance(len(rows))
        save_tensors({"features": torch.cat(found)}, folder / FILE)

    key = {
        "format": FORMAT,
        "weights": _body_digest(model),
        "device": device.type,
        "torch": torch.__version__,
        **cache_key,
    }
    values = load_tensors(cached_dir("features", key, make) / FILE)["features"]
    return PreparedDataset((TensorColumn("features", values),), examples.target).cache(device, threads)


def _body_digest(model: nn.Module) -> str:
    """Return the SHA-256 of all weights except the head's, which do not affect features."""
    classifier: Any = getattr(model, "classifier", None)
    own = {id(value) for value in classifier.parameters()}
    digest = hashlib.sha256()
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in own:
            digest.update(name.encode())
            flat = value.detach().cpu().flatten().clone(memory_format=torch.contiguous_format)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
