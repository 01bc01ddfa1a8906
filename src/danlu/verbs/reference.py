"""DPO reference model: its log-probabilities are computed once before training and become columns of the data.

So training holds one model instead of two, and needs no second forward pass per step.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from danlu.artifacts.cache import kept
from danlu.artifacts.checkpoints import unique_tensors
from danlu.core.console import say
from danlu.core.errors import ArgumentError
from danlu.data.splits import Part
from danlu.data.targets import REFERENCE
from danlu.verbs.prepare import Opened, Prepared, with_columns

if TYPE_CHECKING:
    import torch
    from torch import nn

    from danlu.training.parallel.group import Together

VERSION = 1
FILE = "reference.npy"


def with_reference(opened: Opened, prepared: Prepared, model: "nn.Module", device: "torch.device") -> Opened:
    """Add the untrained model's log-probabilities of both answers of every row as columns.

    Args:
        model: with initial weights, on the device, without adapters. Its train or eval mode is kept.
    """
    from danlu.data.prepare import prepare_part
    from danlu.models.heads import head_for
    from danlu.models.infer import answers

    size = opened.recipe.training.batch_size
    size = size if isinstance(size, int) else 8
    # Rows removed by cleaning are in no split, and may not even be readable.
    rows = np.sort(np.concatenate([part.rows for _, part in opened.splits.items()]))
    part = Part(rows, opened.dataset.frame)

    def make(folder: Path) -> None:
        say(f"computing reference log-probabilities of {len(rows):,} preference pairs")
        examples = prepare_part(prepared.preprocessor, part, opened.place)
        found = answers(model, head_for(prepared.target), examples, size, device)
        np.save(folder / FILE, found)

    state = json.dumps(prepared.preprocessor.model_dump(mode="json"), sort_keys=True)
    content = part.columns(*prepared.preprocessor.columns)
    made_from = [VERSION, str(device), size, _digest(state, content), _digest_of_weights(model)]
    likelihoods = np.load(kept("references", made_from, make) / FILE)
    whole = np.full((opened.dataset.frame.height, 2), np.nan, dtype=np.float32)
    whole[rows] = likelihoods
    return with_columns(opened, pl.DataFrame({name: whole[:, side] for side, name in enumerate(REFERENCE)}))


def refuse_parts_of_a_model(together: "Together") -> None:
    """Raise ArgumentError if the layout splits the model.

    Preference pairs need the whole model in each process.
    """
    layout = together.layout
    for way in ("tensor", "pipeline", "context"):
        if getattr(layout, way) > 1:
            raise ArgumentError(
                f"training.parallel.{way}: preference training needs the whole model in each process; use data or shard"
            )


def _digest(state: str, content: pl.DataFrame) -> str:
    """Return a digest of the preprocessor's state and the rows."""
    return hashlib.blake2b(state.encode() + content.write_csv().encode(), digest_size=16).hexdigest()


def _digest_of_weights(model: "nn.Module") -> str:
    """Return a digest of all weights."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in unique_tensors(model).items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
