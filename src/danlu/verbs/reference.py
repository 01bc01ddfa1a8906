"""What the model makes of preferences before it learns from them: computed once, then columns of the data.

So training holds one model and not two, and the reference needs no second pass a step.
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
    """The data with the log-probabilities that the model gives both answers of every row now.

    Args:
        model: with its first weights, on the device, without adapters. Left in the mode that it is in.
    """
    from danlu.data.prepare import prepare_part
    from danlu.models.heads import head_for
    from danlu.models.infer import answers

    size = opened.recipe.training.batch_size
    size = size if isinstance(size, int) else 8
    # Rows that cleaning left out are of no split, and may not even be readable.
    rows = np.sort(np.concatenate([part.rows for _, part in opened.splits.items()]))
    part = Part(rows, opened.dataset.frame)

    def make(folder: Path) -> None:
        say(f"asking the model what it makes of {len(rows):,} pairs before it learns from them")
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
    """Raise ArgumentError where processes would each have a part of the model: pairs go through whole ones."""
    layout = together.layout
    for way in ("tensor", "pipeline", "context"):
        if getattr(layout, way) > 1:
            raise ArgumentError(
                f"training.parallel.{way}: preferences are learned by whole models; say data or shard instead"
            )


def _digest(state: str, content: pl.DataFrame) -> str:
    return hashlib.blake2b(state.encode() + content.write_csv().encode(), digest_size=16).hexdigest()


def _digest_of_weights(model: "nn.Module") -> str:
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in unique_tensors(model).items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
