"""The head of pretrained image weights: its rows in the order of the data's labels, or new weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from danlu.models.head_labels import names_by_row, rows_of_labels, say_head_kept, say_head_new
from danlu.models.vision.image_model import NormalizedImageModel
from danlu.models.vision.weights import read_heads, read_weights


@torch.no_grad()
def order_head(model: nn.Module, path: Path, labels: Sequence[str] | None) -> None:
    """Load the classifier's rows for the data's labels, or leave the new head.

    Either is said.

    Args:
        model: with pretrained weights and a new head.
        path: file or folder of weights; `label_names` in the configuration beside them says what the rows stand for.
        labels: of the data, by output; None for a number.
    """
    if not isinstance(model, NormalizedImageModel):
        return
    weights = read_weights(path)
    heads = read_heads(model.network, weights, tuple(part.removeprefix("network.") for part in model.head_parts))
    if not heads:
        return
    known = [names for names in _names(weights.config) if all(len(value) == len(names) for value in heads.values())]
    rows = next((found for names in known if (found := rows_of_labels(labels, names)) is not None), None)
    own = model.network.state_dict()
    if rows is None or any(name not in own or own[name].shape != heads[name][rows].shape for name in heads):
        say_head_new(weights.file, known[0] if known else (), labels)
        return
    for name, value in heads.items():
        own[name].copy_(value[rows])
    say_head_kept(weights.file, labels or ())


def _names(config: Mapping[str, Any]) -> list[list[str]]:
    """Return what the rows stand for, by name and by description."""
    names, described = names_by_row(config.get("label_names")), config.get("label_descriptions")
    if not names:
        return []
    return [names, [str(described.get(name, name)) for name in names]] if isinstance(described, dict) else [names]
