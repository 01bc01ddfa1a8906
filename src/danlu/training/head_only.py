"""A head trained alone: what the body makes of every sample is computed once and kept.

The body is in evaluation mode and changes nothing, so an epoch reads a row of numbers a sample in place of an image or
text. What is kept lies under the hash of the weights, the data and its preparation.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from danlu.artifacts.cache import kept
from danlu.artifacts.tensors import load_tensors, save_tensors
from danlu.core.console import progress
from danlu.core.errors import ArgumentError
from danlu.data.examples import Dense, Examples
from danlu.models.infer import judging
from danlu.models.parts import TaskModel

AT_ONCE = 64  # samples: decides memory and, in the last bits, rounding; so it is no setting
FORMAT = 1
FILE = "features.safetensors"
TOLERANCE = 1e-4  # of logits, relative; the same sums in the same order


class HeadOnly(TaskModel):
    """The layer that a task adds, on features in place of samples. The layer is the whole model's own."""

    def __init__(self, classifier: nn.Module, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = classifier
        self.head_parts = ("classifier",)

    def forward(self, features: Tensor) -> Tensor:
        """[batch, width] -> [batch, outputs]."""
        logits: Tensor = self.classifier(self.dropout(features))
        return logits


def head_of(model: Any, dropout: float, examples: Examples, device: torch.device, name: str) -> HeadOnly:
    """The head of a model, to be trained on its features.

    Args:
        model: on the device.
        examples: some samples, which the head is tried on.

    Raises:
        ArgumentError: the model does not answer by one layer over features.
    """
    import numpy as np

    classifier: Any = getattr(model, "classifier", None)
    one_layer = isinstance(classifier, nn.Module) and hasattr(model, "features")
    if one_layer:
        inputs, _ = examples.take(np.arange(min(2, len(examples))), device)
        with judging(model):
            whole, features = model(**inputs), model.features(**inputs)
            one_layer = features.ndim == 2 and torch.allclose(classifier(features), whole, TOLERANCE, TOLERANCE)
    if not one_layer:
        raise ArgumentError(f"model.finetune.mode: {name} does not end in one layer over features; say full or lora")
    return HeadOnly(classifier, dropout)


def featured(
    model: Any, examples: Examples, made_from: dict[str, Any], device: torch.device, threads: int | None, part: str
) -> Examples:
    """The same samples with features in place of what they are, and the same answers.

    Args:
        model: on the device.
        made_from: what else decides the features than the model's weights, as JSON values.
        part: of the data, for the progress bar.
    """

    def make(folder: Path) -> None:
        found = []
        with judging(model), progress(f"features of the {part} split", len(examples), "samples") as bar:
            for rows, inputs, _ in examples.in_order(AT_ONCE, device):
                found.append(model.features(**inputs).float().cpu())
                bar.advance(len(rows))
        save_tensors({"features": torch.cat(found)}, folder / FILE)

    key = {"format": FORMAT, "weights": _digest(model), "device": device.type, "torch": torch.__version__, **made_from}
    values = load_tensors(kept("features", key, make) / FILE)["features"]
    return Examples((Dense("features", values),), examples.target).settle(device, threads)


def _digest(model: nn.Module) -> str:
    """SHA-256 of all weights but the head's, which make no features."""
    classifier: Any = getattr(model, "classifier", None)
    own = {id(value) for value in classifier.parameters()}
    digest = hashlib.sha256()
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in own:
            digest.update(name.encode())
            flat = value.detach().cpu().flatten().clone(memory_format=torch.contiguous_format)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
