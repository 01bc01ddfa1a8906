"""Build the datasets and the training loader from split rows: preprocessed, balanced, augmented, cached."""

from dataclasses import replace
from typing import TYPE_CHECKING

from danlu.core.seeds import Seed
from danlu.data.augment.base import Augmentation
from danlu.data.balance.balancer import Balancer
from danlu.data.chats.preprocessor import ChatPreprocessor
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.prepare import prepare_part, prepare_training
from danlu.data.splits import Part, TrainSplit
from danlu.data.targets import REFERENCE, Classes, NextToken, PreferredAnswer, TokenTags
from danlu.data.texts import CorpusPreprocessor, TextPreprocessor
from danlu.data.words import WordsPreprocessor
from danlu.verbs.prepare import Opened, Prepared

if TYPE_CHECKING:
    import torch

    from danlu.data.augment.host import HostAugment
    from danlu.data.balance.apply import Balanced
    from danlu.data.examples import Examples


def examples_of_part(
    opened: Opened, prepared: Prepared, part: Part, augment: "HostAugment | None" = None
) -> "Examples":
    """Preprocess a split into tensors, targets included.

    Args:
        augment: host augmentation, which changes images in every epoch.
    """
    form = prepared.preprocessor
    if isinstance(part, TrainSplit):
        seed = Seed(opened.recipe.seed).derive("preparation")
        examples = prepare_training(form, part, opened.dataset, seed)
    else:
        examples = prepare_part(form, part, opened.place)
    if augment is not None and isinstance(form, ImagePreprocessor):
        examples = form.transform(part.frame, opened.place, augment, augment.stored_size)
    if isinstance(form, CorpusPreprocessor | ChatPreprocessor):
        return examples
    if isinstance(prepared.target, TokenTags):
        return WordsPreprocessor.tagged(examples, prepared.target.codes(part.columns(prepared.target.column)))
    assert not isinstance(prepared.target, NextToken)
    names = REFERENCE if isinstance(prepared.target, PreferredAnswer) else (prepared.target.column,)
    return replace(examples, target=prepared.target.encode(part.columns(*names)))


def training_feed(opened: Opened, prepared: Prepared, device: "torch.device", threads: int | None = None) -> "Balanced":
    """Build the training loader and the loss weighting of its classes.

    Args:
        device: where the model trains.
        threads: number of data-loading threads; None for one per core.

    Raises:
        DataError: a class is too small for the recipe's balancing.
        RecipeError: an augmentation does not fit the data.
    """
    from danlu.data.augment.feed import augmented, on_host

    seed, inputs = Seed(opened.recipe.seed), prepared.preprocessor.inputs
    steps = tuple(step for step in opened.recipe.data.augment if isinstance(step, Augmentation))
    balanced = _balanced(opened, prepared, seed, on_host(steps, inputs, seed, device))
    classes = prepared.target.outputs if isinstance(prepared.target, Classes) else None
    tokenizer = prepared.preprocessor.tokenizer if isinstance(prepared.preprocessor, TextPreprocessor) else None
    feed = augmented(balanced.feed, steps, inputs, classes, tokenizer, seed, device)
    return replace(balanced, feed=replace(feed, examples=feed.examples.settle(device, threads)))


def _balanced(opened: Opened, prepared: Prepared, seed: Seed, augment: "HostAugment | None") -> "Balanced":
    """Apply the recipe's class balancing to the training split."""
    from danlu.data.balance.apply import as_it_is, balance

    examples = examples_of_part(opened, prepared, opened.splits.train, augment)
    if not isinstance(prepared.target, Classes):
        return as_it_is(examples, seed)
    balancer = opened.recipe.data.balance
    assert isinstance(balancer, Balancer)
    return balance(balancer, examples, tuple(map(str, prepared.target.labels)), seed)
