"""What is looked at: a network with rows to run it on, from a bundle, a run, or a folder of another library.

In: a path. Out: a `Subject`. Files that hold weights and no network are read by `weight_files`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from danlu.artifacts.files import read_json
from danlu.artifacts.run import RunDirectory
from danlu.core.devices import open_device
from danlu.core.imports import patch_torchvision, require_extra, silence_libraries
from danlu.core.seeds import Seed
from danlu.data.descriptors import Origin
from danlu.data.loader import PreparedDataset, TensorColumn, Tensors
from danlu.errors import DataError
from danlu.models.bundle_form import open_checked
from danlu.models.golden import LABEL, golden_inputs
from danlu.models.predictor import Predictor
from danlu.models.text.pretrained_folder import requires_remote_code
from danlu.tasks.base import Head

if TYPE_CHECKING:
    import torch
    from torch import nn

DRAWN_ROWS = 8  # inputs that are drawn for a network without data
DRAWN_TOKENS = 32
BATCH_BYTES = 1 << 25  # of inputs at a time, so that memory does not grow with the rows
MOST_BATCH = 32


@dataclass(frozen=True)
class Subject:
    """Hold a network and rows to run it on.

    Attributes:
        name: for titles.
        network: in evaluation mode, on `device`.
        dataset: prepared rows, with targets where these are known.
        device: where the network is.
        rows: the raw rows; None where the inputs were drawn.
        head: makes losses and answers of the network's outputs; None where no task is known.
        predictor: of a bundle.
        labels: of the rows, as read; None where unknown.
        run: that the network was trained in; None for all else.
    """

    name: str
    network: "nn.Module"
    dataset: PreparedDataset
    device: "torch.device"
    rows: pl.DataFrame | None = None
    head: Head | None = None
    predictor: Predictor | None = None
    labels: pl.Series | None = None
    run: RunDirectory | None = None

    @property
    def has_real_rows(self) -> bool:
        """Whether the rows are data, and not drawn."""
        return self.rows is not None

    def inputs(self, count: int) -> Tensors:
        """Return the inputs of the first rows."""
        return self.dataset.take(np.arange(min(count, len(self.dataset))), self.device)[0]

    def batches(self, most: int | None = None) -> Iterator[tuple[np.ndarray, Tensors, "torch.Tensor | None"]]:
        """Yield positions, inputs and targets of the rows, a few at a time.

        Args:
            most: rows in all; None for every row.
        """
        count = len(self.dataset) if most is None else min(most, len(self.dataset))
        one = sum(values.numel() * values.element_size() for values in self.inputs(1).values())
        size = max(1, min(MOST_BATCH, BATCH_BYTES // max(1, one)))
        for start in range(0, count, size):
            rows = np.arange(start, min(start + size, count))
            yield rows, *self.dataset.take(rows, self.device)


def bundle_subject(path: Path, own_code: bool = False) -> Subject:
    """Open a bundle with the rows that it keeps: reference rows, else golden samples.

    Raises:
        ArtifactError: the bundle is damaged, or its model needs code that is not allowed.
        DataError: it keeps no rows.
    """
    bundle = open_checked(path)
    predictor = Predictor.load(bundle, own_code=own_code)
    columns, golden, labels = predictor.preprocessor.columns, bundle.golden(), None
    rows = bundle.reference_rows()
    if rows is None and golden is not None:
        rows, labels = golden_inputs(golden, columns), golden[LABEL] if LABEL in golden.columns else None
    if rows is None:
        raise DataError(
            f"{path}: the bundle keeps neither reference rows nor golden samples, so there is nothing to run its "
            "network on; give the run it came from, with --rows",
            code="DL203",
        )
    return predictor_subject(predictor, rows, Origin("the bundle's rows", Path.cwd()), bundle.manifest.name, labels)


def predictor_subject(
    predictor: Predictor, rows: pl.DataFrame, place: Origin, name: str, labels: pl.Series | None = None
) -> Subject:
    """Prepare rows for a bundle's network.

    Args:
        rows: with the columns that the model reads, as the training read them.
        place: names them in errors.
    """
    dataset = predictor.preprocessor.transform(rows.select(predictor.preprocessor.columns), place)
    return Subject(name, predictor.model, dataset, predictor.device, rows, predictor.head, predictor, labels)


def is_library_folder(path: Path) -> bool:
    """Return whether a folder holds a model as transformers or timm writes it."""
    return (path / "config.json").is_file() and not (path / "bundle.json").is_file()


def folder_subject(path: Path) -> Subject:
    """Open a folder of transformers or timm; its inputs are drawn from a seed.

    Raises:
        DataError: the library cannot read it, or it needs code to be run.
        MissingExtra: the library is not installed.
    """
    config = read_json(path / "config.json")
    try:
        with silence_libraries():
            network, inputs = _timm(path, config) if "architecture" in config else _transformers(path)
    except (RuntimeError, ValueError, OSError, KeyError, TypeError, ImportError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: is no model that transformers or timm can read: {first}", code="DL272") from error
    device = open_device().torch_device
    dataset = PreparedDataset(tuple(TensorColumn(name, values) for name, values in inputs.items()))
    return Subject(path.resolve().name, network.to(device).eval(), dataset, device)


def _timm(path: Path, config: Mapping[str, Any]) -> "tuple[nn.Module, Tensors]":
    require_extra("image", f"timm's folder {path}")
    patch_torchvision()
    import timm
    import torch

    network: Any = timm.create_model(f"local-dir:{path.resolve()}", pretrained=True)
    size = (config.get("pretrained_cfg") or {}).get("input_size") or network.default_cfg["input_size"]
    drawn = torch.randn(DRAWN_ROWS, *size, generator=_generator())
    return network, {"x": drawn}


def _transformers(path: Path) -> "tuple[nn.Module, Tensors]":
    require_extra("text", f"transformers' folder {path}")
    requires_remote_code(path, allowed=False)
    patch_torchvision()
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config: Any = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
    named = [name for name in config.architectures or () if hasattr(transformers, name)]
    family: Any = getattr(transformers, named[0]) if named else transformers.AutoModel
    network: Any = family.from_pretrained(path, local_files_only=True, dtype="auto")
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    if not getattr(text, "vocab_size", None):
        size, channels = getattr(config, "image_size", 224), getattr(config, "num_channels", 3)
        return network, {"pixel_values": torch.randn(DRAWN_ROWS, channels, size, size, generator=_generator())}
    length = min(DRAWN_TOKENS, getattr(text, "max_position_embeddings", None) or DRAWN_TOKENS)
    ids = torch.randint(0, text.vocab_size, (DRAWN_ROWS, length), generator=_generator())
    drawn = {"input_ids": ids}
    if getattr(config, "is_encoder_decoder", False):
        drawn["decoder_input_ids"] = ids
    return network, drawn


def _generator() -> "torch.Generator":
    import torch

    return torch.Generator().manual_seed(Seed(0).derive("inspection", "inputs").value % 2**63)
