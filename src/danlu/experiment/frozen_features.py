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


def with_frozen_features(fitting: "TrainingSetup", threads: int | None) -> "TrainingSetup":
    """Replace the model by its head and samples by the frozen body's features.

    With augmentation the samples differ in every epoch, so nothing is cached: the frozen body runs in every step, and
    this is logged.

    Raises:
        ArgumentError: the model does not end in one layer over features.
    """
    from danlu.training.cached_features import build_head, compute_features

    opened, device, feed = fitting.context, fitting.accelerator.torch_device, fitting.balanced.loader
    head = build_head(fitting.model, _head_dropout(opened.model), feed.dataset, device, opened.model.name)
    if opened.recipe.data.augment:
        info("data.augment changes samples in every epoch, so their features are recomputed in every epoch")
        return fitting
    splits, team = opened.splits, fitting.team
    shared = _cache_key(fitting)
    if not team.is_main:  # the main process fills the cache, then the others read it
        team.barrier()

    def of(examples: "PreparedDataset", part: Split, name: str) -> "PreparedDataset":
        made_from = {**shared, "part": name, "rows": _rows_digest(part)}
        return compute_features(fitting.model, examples, made_from, device, threads, name)

    train = of(feed.dataset, splits.train, "training")
    judging = None if fitting.validation is None else of(fitting.validation, splits.validation, "validation")
    if team.is_main:
        team.barrier()
    balanced = replace(fitting.balanced, loader=replace(feed, dataset=train))
    return replace(fitting, model=head.to(device), full_model=fitting.model, balanced=balanced, validation=judging)


def _cache_key(fitting: "TrainingSetup") -> dict[str, Any]:
    """Return everything besides the weights that determines the features of both splits."""
    opened = fitting.context
    preparation = json.dumps(fitting.preprocessing.preprocessor.model_dump(mode="json"), sort_keys=True)
    return {
        "inputs_format": FORMAT,
        "model": opened.model.model_dump(mode="json", exclude={"finetune", "dropout"}),
        "preparation": hashlib.sha256(preparation.encode()).hexdigest(),
        "data": data_digest(opened.dataset, opened.dataset.frame.height),
        "balance": opened.recipe.data.balance.model_dump(mode="json"),
        "seed": opened.recipe.seed,
    }


def _rows_digest(part: Split) -> str:
    """Return the SHA-256 of a split's row numbers."""
    return hashlib.sha256(part.rows.astype("int64").tobytes()).hexdigest()


def _head_dropout(model: Model) -> float:
    """Return the dropout rate before the head, as in the complete model."""
    said = getattr(model, "dropout", None)
    if said is not None:
        return float(said)
    from danlu.models.text.sentence_encoder import DEFAULT_DROPOUT

    return DEFAULT_DROPOUT
