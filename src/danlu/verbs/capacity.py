"""A warning if far more weights are trained than the number of samples supports, with remedies."""

from typing import TYPE_CHECKING

from danlu.data.specs import tokens_a_sample
from danlu.models.base import Sized

if TYPE_CHECKING:
    from danlu.verbs.fitting import Fitting

# Weights per sample, or per token of a language model. Below these, early stopping and dropout usually suffice;
# pretrained weights start near their final values, so ten times as many may be trained.
MANY, MANY_OF_PRETRAINED = 100, 1000
# 1/200 of the data that Hoffmann et al. 2022 (https://arxiv.org/abs/2203.15556) find best for a model's size.
MANY_A_TOKEN = 10


def crowded(fitting: "Fitting") -> str | None:
    """Return a warning if the model has enough weights to memorize its samples, else None."""
    from danlu.models.parts import HINT

    opened, options = fitting.opened, fitting.opened.model
    own = (weight for name, weight in fitting.model.named_parameters() if not name.startswith(f"{HINT}."))
    trained = sum(weight.numel() for weight in own if weight.requires_grad)
    length = fitting.balanced.feed.length
    tokens = tokens_a_sample(fitting.prepared.preprocessor.inputs)
    pretrained = bool(getattr(options, "pretrained", None) or getattr(options, "folder", None))
    most = MANY_A_TOKEN * tokens if tokens > 1 else MANY
    if pretrained:
        most *= MANY_OF_PRETRAINED // MANY
    if trained <= most * length:
        return None
    cures = ["training.early_stopping"]
    if pretrained and opened.finetune.mode == "full":
        cures.insert(0, "model.finetune: {mode: head}")
    elif isinstance(options, Sized) and not pretrained and options.size != "small":
        cures.insert(0, "model.size: small")
    if opened.dataset.kind == "image" and not opened.recipe.data.augment:
        cures.append("data.augment")
    counted = f"{length:,} samples" + (f" of {tokens} tokens" if tokens > 1 else "")
    return (
        f"{trained:,} weights are trained on {counted}, {trained / length:,.0f} per sample: the model can memorize "
        f"them; {', '.join(cures)} help"
    )
