"""Build the datasets and the training loader from split rows: preprocessed, balanced, augmented, cached."""

from dataclasses import replace
from typing import TYPE_CHECKING

from danlu.core.seeds import Seed
from danlu.data.augment.base import Augmentation
from danlu.data.balance.base import Balancer
from danlu.data.images.preprocessor import ImagePreprocessor
from danlu.data.preprocessing import prepare_split, prepare_training
from danlu.data.splits import Split, TrainSplit
from danlu.data.text.preprocessor import TokenizingPreprocessor
from danlu.data.text.tagging import TaggingPreprocessor
from danlu.experiment.data_context import DataContext, FittedPreprocessing
from danlu.tasks.classification import ClassTarget
from danlu.tasks.tagging import TagTarget

if TYPE_CHECKING:
    import torch

    from danlu.data.augment.host import HostAugment
    from danlu.data.balance.apply import BalancedTraining
    from danlu.data.loader import PreparedDataset


def build_prepared_dataset(
    context: DataContext, preprocessing: FittedPreprocessing, split: Split, augment: "HostAugment | None" = None
) -> "PreparedDataset":
    """Preprocess a split into tensors, targets included.

    Args:
        augment: host augmentation, which changes images in every epoch.
    """
    preprocessor, target = preprocessing.preprocessor, preprocessing.target
    if isinstance(split, TrainSplit):
        seed = Seed(context.recipe.seed).derive("preparation")
        dataset = prepare_training(preprocessor, split, context.dataset, seed)
    else:
        dataset = prepare_split(preprocessor, split, context.origin)
    if augment is not None and isinstance(preprocessor, ImagePreprocessor):
        dataset = preprocessor.transform(split.frame, context.origin, augment, augment.stored_size)
    if not target.columns:  # the preprocessor makes inputs and targets in one go
        return dataset
    rows = split.columns(*target.columns)
    if isinstance(target, TagTarget):
        return TaggingPreprocessor.tagged(dataset, target.codes(rows))
    return replace(dataset, target=target.encode(rows))


def build_train_loader(
    context: DataContext, preprocessing: FittedPreprocessing, device: "torch.device", threads: int | None = None
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

    seed, preprocessor, target = Seed(context.recipe.seed), preprocessing.preprocessor, preprocessing.target
    inputs = preprocessor.inputs
    steps = tuple(map(Augmentation.of, context.recipe.data.augment))
    balanced = _balance_training_split(context, preprocessing, seed, host_augment(steps, inputs, seed, device))
    classes = context.dataset.task.num_classes(target)
    tokenizer = preprocessor.tokenizer if isinstance(preprocessor, TokenizingPreprocessor) else None
    loader = add_augmentations(balanced.loader, steps, inputs, classes, tokenizer, seed, device)
    return replace(balanced, loader=replace(loader, dataset=loader.dataset.cache(device, threads)))


def _balance_training_split(
    context: DataContext, preprocessing: FittedPreprocessing, seed: Seed, augment: "HostAugment | None"
) -> "BalancedTraining":
    """Apply the recipe's class balancing to the training split."""
    from danlu.data.balance.apply import balance, unbalanced

    dataset = build_prepared_dataset(context, preprocessing, context.splits.train, augment)
    if not isinstance(preprocessing.target, ClassTarget):
        return unbalanced(dataset, seed)
    balancer = Balancer.of(context.recipe.data.balance)
    return balance(balancer, dataset, tuple(map(str, preprocessing.target.labels)), seed)
