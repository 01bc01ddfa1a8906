"""Head-only fine-tuning (`finetune.mode: head`): compute body features once, then train the head on them."""

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from danlu import __version__
from danlu.core.console import say
from danlu.data.splits import Part
from danlu.models.table import Model
from danlu.verbs.prepare import digest_of_data

if TYPE_CHECKING:
    from danlu.data.examples import Examples
    from danlu.verbs.fitting import Fitting


def on_features(fitting: "Fitting", threads: int | None) -> "Fitting":
    """Replace the model by its head and samples by the frozen body's features.

    With augmentation the samples differ in every epoch, so nothing is cached: the frozen body runs in every step, and
    this is logged.

    Raises:
        ArgumentError: the model does not end in one layer over features.
    """
    from danlu.training.head_only import featured, head_of

    opened, device, feed = fitting.opened, fitting.accelerator.torch_device, fitting.balanced.feed
    head = head_of(fitting.model, _dropout(opened.model), feed.examples, device, opened.model.name)
    if opened.recipe.data.augment:
        say("data.augment changes samples in every epoch, so their features are recomputed in every epoch")
        return fitting
    splits, team = opened.splits, fitting.team
    shared = _made_from(fitting)
    if not team.is_main:  # the main process fills the cache, then the others read it
        team.wait_for_all()

    def of(examples: "Examples", part: Part, name: str) -> "Examples":
        made_from = {**shared, "part": name, "rows": _rows(part)}
        return featured(fitting.model, examples, made_from, device, threads, name)

    train = of(feed.examples, splits.train, "training")
    judging = None if fitting.validation is None else of(fitting.validation, splits.validation, "validation")
    if team.is_main:
        team.wait_for_all()
    balanced = replace(fitting.balanced, feed=replace(feed, examples=train))
    return replace(fitting, model=head.to(device), whole=fitting.model, balanced=balanced, validation=judging)


def _made_from(fitting: "Fitting") -> dict[str, Any]:
    """Return everything besides the weights that determines the features of both splits."""
    opened = fitting.opened
    preparation = json.dumps(fitting.prepared.preprocessor.model_dump(mode="json"), sort_keys=True)
    return {
        "danlu": __version__,
        "model": opened.model.model_dump(mode="json", exclude={"finetune", "dropout"}),
        "preparation": hashlib.sha256(preparation.encode()).hexdigest(),
        "data": digest_of_data(opened.dataset, opened.dataset.frame.height),
        "balance": opened.recipe.data.balance.model_dump(mode="json"),
        "seed": opened.recipe.seed,
    }


def _rows(part: Part) -> str:
    """Return the SHA-256 of a split's row numbers."""
    return hashlib.sha256(part.rows.astype("int64").tobytes()).hexdigest()


def _dropout(model: Model) -> float:
    """Return the dropout rate before the head, as in the complete model."""
    said = getattr(model, "dropout", None)
    if said is not None:
        return float(said)
    from danlu.models.pooled import DROPOUT

    return DROPOUT
