"""Vectors of texts by a sentence encoder: the pooled states that its classifier reads, of unit length."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from danlu.core.console import silenced
from danlu.data.descriptors import Origin
from danlu.models.predictor import Predictor

BATCH_SIZE = 64


@dataclass(frozen=True)
class Vectors:
    """Hold what was computed of the texts of one request.

    Attributes:
        values: [texts, width] float32.
        tokens: that were read.
    """

    values: np.ndarray
    tokens: int


class Embedder:
    """Compute vectors with one bundle's encoder.

    Args:
        predictor: a bundle of which `gives_embeddings` is true.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._preprocessor = predictor.preprocessor
        self._engine = predictor.open_in_torch()

    def run(self, requests: Sequence[Sequence[str]]) -> list[Vectors]:
        """Return the vectors of the texts of several requests, computed together."""
        texts = [text for request in requests for text in request]
        frame = pl.DataFrame({self._preprocessor.columns[0]: texts})
        values, tokens = list[np.ndarray](), list[np.ndarray]()
        network: Any = self._engine.network
        with silenced(), torch.inference_mode():  # what is cut is told when a file is predicted
            for inputs, _ in self._preprocessor.iter_arrays(frame, Origin("input", Path()), BATCH_SIZE):
                given = {name: torch.from_numpy(array).to(self._engine.device) for name, array in inputs.items()}
                pooled = torch.nn.functional.normalize(network.features(**given).float(), dim=1)
                values.append(pooled.cpu().numpy())
                tokens.append(inputs["attention_mask"].sum(axis=1))
        sizes = np.cumsum([0, *map(len, requests)])
        whole, counts = np.concatenate(values), np.concatenate(tokens)
        return [Vectors(whole[start:end], int(counts[start:end].sum())) for start, end in pairwise(sizes)]
