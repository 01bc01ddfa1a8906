"""Describe training samples unchanged and as each epoch augments them, for pictures."""

from typing import TYPE_CHECKING

import numpy as np

from danlu.data.specs import ImageInputs
from danlu.data.splits import evenly_spaced_rows
from danlu.experiment.data_context import DataContext, FittedPreprocessing, fit_preprocessing
from danlu.tasks.table import task_of

if TYPE_CHECKING:
    from danlu.data.loader import Tensors
    from danlu.reporting.augmentation_preview import AugmentedSample, SampleVersion


def collect_augmented_samples(context: DataContext, count: int, epochs: int) -> "list[AugmentedSample]":
    """Collect training samples, each unchanged and as augmented in each epoch."""
    import torch

    from danlu.experiment.loaders import build_train_loader
    from danlu.reporting.augmentation_preview import AugmentedSample

    preprocessing, cpu = fit_preprocessing(context), torch.device("cpu")
    loader = build_train_loader(context, preprocessing, cpu).loader
    rows = evenly_spaced_rows(len(loader.dataset), count)
    inputs, target = loader.dataset.take(rows, cpu)
    assert target is not None
    versions = [_describe_batch(preprocessing, inputs, target.numpy())]
    for epoch in range(epochs):
        batch = loader.take(rows, epoch, cpu)
        versions.append(_describe_batch(preprocessing, batch.inputs, batch.target.numpy()))
    return [
        AugmentedSample(f"training sample {row + 1}", tuple(column[position] for column in versions))
        for position, row in enumerate(rows)
    ]


def _describe_batch(preprocessing: FittedPreprocessing, inputs: "Tensors", target: np.ndarray) -> "list[SampleVersion]":
    from danlu.reporting.augmentation_preview import SampleVersion

    task = task_of(preprocessing.target)
    answers = [task.describe_encoded(preprocessing.target, value) for value in target]
    if isinstance(preprocessing.preprocessor.inputs, ImageInputs):
        images = inputs["image"].permute(0, 2, 3, 1).numpy()
        return [SampleVersion(answer, image=image) for answer, image in zip(answers, images, strict=True)]
    fields = preprocessing.preprocessor.describe(inputs)
    return [SampleVersion(answer, fields=field) for answer, field in zip(answers, fields, strict=True)]
