"""A bundle's network and rows for forms that take prepared inputs: pixels, tokens, features."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from danlu.data.descriptors import Origin
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.loader import PreparedDataset
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.data.text.preprocessor import BlockPreprocessor, TokenizingPreprocessor
from danlu.errors import ArgumentError
from danlu.models.answer_folding import Step
from danlu.models.predictor import Predictor
from danlu.models.text.hf_wrapper import HFModelWrapper
from danlu.models.text.preference import AnswerLikelihood

Arrays = dict[str, np.ndarray]
LARGEST_FILE = 2**31 - 2**24  # of protobuf, with room for the nodes


class TokenLogits(nn.Module):
    """Give a language model's logits, whatever it was trained for."""

    def __init__(self, model: HFModelWrapper) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Any:
        """Map tokens, [batch, length], to logits [batch, length, vocabulary]."""
        return HFModelWrapper.forward(self.model, input_ids)


def require_one_file(network: nn.Module, form: str) -> None:
    """Raise ArgumentError for a network that is larger than one file of ONNX may be."""
    size = sum(values.numel() * 4 for values in network.parameters())
    if size > LARGEST_FILE:
        raise ArgumentError(
            f"the network's weights are {size / 2**30:.1f} GiB in float32, and a file of {form} holds 2; --to "
            "torch-export takes them",
            code="DL409",
        )


def torch_network(predictor: Predictor) -> nn.Module:
    """Return a copy of a bundle's network on the CPU in float32."""
    network = deepcopy(predictor.model).cpu().float().eval()
    return TokenLogits(network) if isinstance(network, AnswerLikelihood) else network


def prepared_outside(predictor: Predictor) -> tuple[tuple[str, ...], tuple[Step, ...]]:
    """Return the steps of the preparation that a network holds, and the others."""
    preprocessor = predictor.preprocessor
    if isinstance(preprocessor, TabularPreprocessor):
        return (), (Step("preparation", preprocessor.model_dump(mode="json")),)
    if isinstance(preprocessor, ImagePreprocessor):
        size = {"channels": preprocessor.channels, "size": preprocessor.size}
        levels = [] if preprocessor.levels is None else [Step("gray-levels", list(preprocessor.levels))]
        return ("normalization",), (Step("decode", size), *levels)
    assert isinstance(preprocessor, TokenizingPreprocessor)
    tokenizer = preprocessor.tokenizer
    told = {"file": "tokenizer.json", "pad": tokenizer.pad, "end": tokenizer.end, "longest": preprocessor.longest}
    return (), (Step("tokenizer", told),)


def prepared_batches(
    predictor: Predictor, frame: pl.DataFrame, place: Origin
) -> Iterator[tuple[Arrays, Tensor | None]]:
    """Yield the prepared inputs of rows in batches, with the targets that tokens bring along."""
    preprocessor: Any = predictor.preprocessor
    examples: PreparedDataset = (
        preprocessor.transform_each(frame)[0]
        if isinstance(preprocessor, BlockPreprocessor)
        else preprocessor.transform(frame, place)
    )
    for _, inputs, target in examples.iter_batches(predictor.manifest.batch_size, torch.device("cpu")):
        flat = {name: _flat(predictor, values).numpy() for name, values in inputs.items() if name != "answers"}
        yield flat, target


def _flat(predictor: Predictor, values: Tensor) -> Tensor:
    """Put both answers of a pair below one another."""
    is_pair = isinstance(predictor.model, AnswerLikelihood)
    return values.reshape(-1, values.shape[-1]) if is_pair else values
