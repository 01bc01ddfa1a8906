"""Build the datasets and the training loader from split rows: preprocessed, balanced, augmented, cached."""

from dataclasses import replace
from typing import TYPE_CHECKING

from danlu.core.seeds import Seed
from danlu.data.augment.base import Augmentation
from danlu.data.balance.base import Balancer
from danlu.data.chats.preprocessor import ChatPreprocessor
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.preprocessing import prepare_split, prepare_training
from danlu.data.splits import Split, TrainSplit
from danlu.data.targets import REFERENCE, ClassTarget, NextTokenTarget, PreferenceTarget, TagTarget
from danlu.data.text.preprocessor import CorpusPreprocessor, TextPreprocessor
from danlu.data.text.tagging import TaggingPreprocessor
from danlu.experiment.data_context import DataContext, FittedPreprocessing

if TYPE_CHECKING:
    import torch

    from danlu.data.augment.host import HostAugment
    from danlu.data.balance.apply import BalancedTraining
    from danlu.data.loader import PreparedDataset


def build_prepared_dataset(
    opened: DataContext, prepared: FittedPreprocessing, part: Split, augment: "HostAugment | None" = None
) -> "PreparedDataset":
    """Preprocess a split into tensors, targets included.

    Args:
        augment: host augmentation, which changes images in every epoch.
    """
    form = prepared.preprocessor
    if isinstance(part, TrainSplit):
        seed = Seed(opened.recipe.seed).derive("preparation")
        examples = prepare_training(form, part, opened.dataset, seed)
    else:
        examples = prepare_split(form, part, opened.origin)
    if augment is not None and isinstance(form, ImagePreprocessor):
        examples = form.transform(part.frame, opened.origin, augment, augment.stored_size)
    if isinstance(form, CorpusPreprocessor | ChatPreprocessor):
        return examples
    if isinstance(prepared.target, TagTarget):
        return TaggingPreprocessor.tagged(examples, prepared.target.codes(part.columns(prepared.target.column)))
    assert not isinstance(prepared.target, NextTokenTarget)
    names = REFERENCE if isinstance(prepared.target, PreferenceTarget) else (prepared.target.column,)
    return replace(examples, target=prepared.target.encode(part.columns(*names)))


def build_train_loader(
    opened: DataContext, prepared: FittedPreprocessing, device: "torch.device", threads: int | None = None
) -> "BalancedTraining":
    """Build the training loader and the loss weighting of its classes.

    Args:
        device: where the model trains.
        threads: number of data-loading threads; None for one per core.

    Raises:
        DataError: a class is too small for the recipe's balancing.
        RecipeError: an augmentation does not fit the data.
    """
    from danlu.data.augment.apply import add_augmentations, host_augment

    seed, inputs = Seed(opened.recipe.seed), prepared.preprocessor.inputs
    steps = tuple(step for step in opened.recipe.data.augment if isinstance(step, Augmentation))
    balanced = _balance_training_split(opened, prepared, seed, host_augment(steps, inputs, seed, device))
    classes = prepared.target.outputs if isinstance(prepared.target, ClassTarget) else None
    tokenizer = prepared.preprocessor.tokenizer if isinstance(prepared.preprocessor, TextPreprocessor) else None
    feed = add_augmentations(balanced.loader, steps, inputs, classes, tokenizer, seed, device)
    return replace(balanced, loader=replace(feed, dataset=feed.dataset.cache(device, threads)))


def _balance_training_split(
    opened: DataContext, prepared: FittedPreprocessing, seed: Seed, augment: "HostAugment | None"
) -> "BalancedTraining":
    """Apply the recipe's class balancing to the training split."""
    from danlu.data.balance.apply import balance, unbalanced

    examples = build_prepared_dataset(opened, prepared, opened.splits.train, augment)
    if not isinstance(prepared.target, ClassTarget):
        return unbalanced(examples, seed)
    balancer = opened.recipe.data.balance
    assert isinstance(balancer, Balancer)
    return balance(balancer, examples, tuple(map(str, prepared.target.labels)), seed)
