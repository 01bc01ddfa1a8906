"""The head of a folder's classifier: its rows in the order of the data's labels, or new weights."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from danlu.models.head_labels import names_by_row, rows_of_labels, say_head_kept, say_head_new
from danlu.models.task_model import is_in_head
from danlu.models.text.hf_wrapper import HFModelWrapper
from danlu.models.text.sentence_encoder import SentenceEncoderClassifier

INDEX, SAFETENSORS, PICKLED = "model.safetensors.index.json", "model.safetensors", "pytorch_model.bin"
USUAL_STD = 0.02  # of new weights, where the config says none


def order_head(model: nn.Module, folder: Path, labels: Sequence[str] | None) -> None:
    """Order the rows of a folder's classifier as the labels, or draw new ones.

    Either is said.

    Args:
        model: as built from the folder.
        folder: holds the pretrained classifier; of a folder without one nothing is done.
        labels: of the data, by output; None for a number.
    """
    config: Mapping[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    built = config.get("architectures") or []
    if not any("Classification" in str(name) for name in built):
        return
    named = names_by_row(config.get("id2label"))
    if isinstance(model, SentenceEncoderClassifier):
        say_head_new(folder, named, labels, "is not one linear layer over pooled texts")
        return
    if not isinstance(model, HFModelWrapper):
        return
    found = _last_linear(model)
    if found is None:
        return
    name, layer = found
    kept = _tensors(folder, (f"{name}.weight", f"{name}.bias"))
    rows = rows_of_labels(labels, named) if type(model.network).__name__ in built else None
    weight = kept.get(f"{name}.weight")
    if (
        rows is not None
        and weight is not None
        and len(weight) == len(named)
        and weight.shape[1:] == layer.weight.shape[1:]
    ):
        _copy_rows(layer, weight, kept.get(f"{name}.bias"), rows)
        say_head_kept(folder, labels or ())
        return
    _draw_anew(layer, getattr(model.network.config, "initializer_range", USUAL_STD))
    say_head_new(folder, named, labels)


def _last_linear(model: HFModelWrapper) -> tuple[str, nn.Linear] | None:
    """Return the last linear layer of the head, with its name within the network."""
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    in_head = [(name.removeprefix("network."), module) for name, module in linear if is_in_head(model, name)]
    return in_head[-1] if in_head else None


@torch.no_grad()
def _copy_rows(layer: nn.Linear, weight: Tensor, bias: Tensor | None, rows: list[int]) -> None:
    layer.weight.copy_(weight[rows])
    if layer.bias is not None:
        layer.bias.copy_(torch.zeros(len(rows)) if bias is None else bias[rows])


def _draw_anew(layer: nn.Linear, std: float) -> None:
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _tensors(folder: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """Read single weights of a folder, without the others; absent ones are left out."""
    from safetensors import safe_open

    if (folder / INDEX).is_file():
        files = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        places = {name: folder / files[name] for name in names if name in files}
    else:
        places = dict.fromkeys(names, folder / SAFETENSORS)
    found: dict[str, Tensor] = {}
    for name, file in places.items():
        if file.is_file():
            with safe_open(file, "pt") as opened:
                found |= {name: opened.get_tensor(name)} if name in opened.keys() else {}  # noqa: SIM118
    if not found and (folder / PICKLED).is_file():
        whole = torch.load(folder / PICKLED, map_location="cpu", weights_only=True, mmap=True)
        found = {name: whole[name] for name in names if name in whole}
    return found
