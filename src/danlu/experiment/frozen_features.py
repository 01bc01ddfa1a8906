"""Head-only fine-tuning (`finetune.mode: head`): compute body features once, then train the head on them."""

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from danlu.core.console import info
from danlu.data.splits import Split
from danlu.experiment.run_data import data_digest
from danlu.models.base import Model

if TYPE_CHECKING:
    from danlu.data.loader import PreparedDataset
    from danlu.experiment.setup import TrainingSetup

FORMAT = 1  # of what determines features besides the weights; raise it when a sample's preparation changes


def with_frozen_features(setup: "TrainingSetup", threads: int | None) -> "TrainingSetup":
    """Replace the model by its head and samples by the frozen body's features.

    With augmentation the samples differ in every epoch, so nothing is cached: the frozen body runs in every step, and
    this is logged.

    Raises:
        ArgumentError: the model does not end in one layer over features.
    """
    from danlu.training.cached_features import build_head, compute_features

    context, device, loader = setup.context, setup.accelerator.torch_device, setup.balanced.loader
    head = build_head(setup.model, _head_dropout(context.model), loader.dataset, device, context.model.name)
    if context.recipe.data.augment:
        info("data.augment changes samples in every epoch, so their features are recomputed in every epoch")
        return setup
    splits, groups = context.splits, setup.groups
    shared = _cache_key(setup)
    if not groups.is_main:  # the main process fills the cache, then the others read it
        groups.barrier()

    def of(dataset: "PreparedDataset", split: Split, name: str) -> "PreparedDataset":
        made_from = {**shared, "part": name, "rows": _rows_digest(split)}
        return compute_features(setup.model, dataset, made_from, device, threads, name)

    train = of(loader.dataset, splits.train, "training")
    validation = None if setup.validation is None else of(setup.validation, splits.validation, "validation")
    if groups.is_main:
        groups.barrier()
    balanced = replace(setup.balanced, loader=replace(loader, dataset=train))
    return replace(setup, model=head.to(device), full_model=setup.model, balanced=balanced, validation=validation)


def _cache_key(setup: "TrainingSetup") -> dict[str, Any]:
    """Return everything besides the weights that determines the features of both splits."""
    context = setup.context
    preparation = json.dumps(setup.preprocessing.preprocessor.model_dump(mode="json"), sort_keys=True)
    return {
        "inputs_format": FORMAT,
        "model": context.model.model_dump(mode="json", exclude={"finetune", "dropout"}),
        "preparation": hashlib.sha256(preparation.encode()).hexdigest(),
        "data": data_digest(context.dataset, context.dataset.frame.height),
        "balance": context.recipe.data.balance.model_dump(mode="json"),
        "seed": context.recipe.seed,
    }


def _rows_digest(split: Split) -> str:
    """Return the SHA-256 of a split's row numbers."""
    return hashlib.sha256(split.rows.astype("int64").tobytes()).hexdigest()


def _head_dropout(model: Model) -> float:
    """Return the dropout rate before the head, as in the complete model."""
    said = getattr(model, "dropout", None)
    if said is not None:
        return float(said)
    from danlu.models.text.sentence_encoder import DEFAULT_DROPOUT

    return DEFAULT_DROPOUT
