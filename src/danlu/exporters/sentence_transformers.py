"""sentence-transformers' format: an encoder, its pooling and danlu's head, for `SentenceTransformer(FOLDER)`.

Its `encode` gives the model's answers: probabilities of classes, or numbers. The files are written without the library.
"""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from danlu.artifacts.files import write_json
from danlu.data.text.preprocessor import TokenizingPreprocessor
from danlu.exporters.tokenizer_files import log_parsing, tokenizing_steps, write_tokenizer
from danlu.models.answer_folding import (
    Activation,
    Placement,
    Step,
    answer_steps,
    foldable,
    folded_into,
    place_steps,
)
from danlu.models.predictor import Predictor
from danlu.models.text.sentence_encoder import SentenceEncoderClassifier

PACKAGE = "sentence_transformers"
POOLING, HEAD = "1_Pooling", "2_Dense"
# Classes of torch that compute an activation from scores [batch, outputs].
ACTIVATIONS: dict[Activation | None, str] = {
    None: "torch.nn.modules.linear.Identity",
    "softmax": "torch.nn.modules.activation.Softmax",
    "sigmoid": "torch.nn.modules.activation.Sigmoid",
}


def write(predictor: Predictor, folder: Path) -> Placement:
    """Write a pooled encoder with its head as sentence-transformers' folder."""
    model = predictor.model
    assert isinstance(model, SentenceEncoderClassifier)
    assert isinstance(predictor.preprocessor, TokenizingPreprocessor)
    encoder: Any = model.network
    steps = answer_steps(predictor.target)
    folded = foldable(model.classifier, steps.affine)
    encoder.save_pretrained(folder)
    longest = predictor.preprocessor.longest
    log_parsing(predictor.preprocessor.tokenizer)
    write_tokenizer(predictor.preprocessor, folder, longest)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
    write_json(folder / "modules.json", _modules())
    _write_pooling(folder / POOLING, encoder.config.hidden_size, model.pooling)
    with folded_into(model.classifier, folded):
        _write_head(folder / HEAD, model.classifier, ACTIVATIONS.get(steps.activation, ACTIVATIONS[None]))
    prepared, _ = tokenizing_steps(predictor.preprocessor)
    inside, named = (*prepared, "truncation", "pooling"), (Step("labels", list(steps.names)),)
    return place_steps(steps, folded, steps.activation in ACTIVATIONS, inside, named)


def read(predictor: Predictor, folder: Path) -> nn.Module | None:
    """Load a written folder by sentence-transformers; None where it is not installed."""
    if find_spec(PACKAGE) is None:
        return None
    from sentence_transformers import SentenceTransformer

    network = SentenceTransformer(str(folder), local_files_only=True, device=str(predictor.device))
    return _Scores(network, answer_steps(predictor.target).activation)


class _Scores(nn.Module):
    """Call sentence-transformers' modules and give back the scores behind their answers."""

    def __init__(self, network: Any, activation: Activation | None) -> None:
        super().__init__()
        self.network, self.activation = network, activation

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map tokens, [batch, length], to scores [batch, outputs]."""
        with warnings.catch_warnings():
            # The library builds Softmax without a dimension, which torch finds out: the last of two.
            warnings.filterwarnings("ignore", message="Implicit dimension choice for softmax")
            found = self.network({"input_ids": input_ids, "attention_mask": attention_mask})
        answers: Tensor = found["sentence_embedding"]
        if self.activation == "softmax":
            return answers.log()
        return torch.logit(answers) if self.activation == "sigmoid" else answers


def _modules() -> list[dict[str, Any]]:
    parts = (("", "Transformer"), (POOLING, "Pooling"), (HEAD, "Dense"))
    return [
        {"idx": place, "name": str(place), "path": path, "type": f"{PACKAGE}.models.{name}"}
        for place, (path, name) in enumerate(parts)
    ]


def _write_pooling(folder: Path, width: int, pooling: str) -> None:
    folder.mkdir()
    modes = {f"pooling_mode_{name}": False for name in ("max_tokens", "mean_sqrt_len_tokens")}
    modes |= {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
    write_json(folder / "config.json", {"word_embedding_dimension": width, **modes})


def _write_head(folder: Path, layer: nn.Linear, activation: str) -> None:
    folder.mkdir()
    size = {"in_features": layer.in_features, "out_features": layer.out_features, "bias": True}
    write_json(folder / "config.json", {**size, "activation_function": activation})
    tensors = {f"linear.{name}": values.detach().cpu().contiguous() for name, values in layer.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
