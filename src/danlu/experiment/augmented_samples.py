"""Describe training samples unchanged and as each epoch augments them, for pictures."""

from typing import TYPE_CHECKING

import numpy as np

from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.data.text.preprocessor import TextPreprocessor
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
    rows = np.unique(np.linspace(0, len(loader.dataset) - 1, count).astype(np.int64))
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
    if "image" in inputs:
        images = inputs["image"].permute(0, 2, 3, 1).numpy()
        return [SampleVersion(answer, image=image) for answer, image in zip(answers, images, strict=True)]
    fields = (
        _describe_tokens(preprocessing, inputs)
        if "input_ids" in inputs
        else _describe_cells(preprocessing, inputs, len(target))
    )
    return [SampleVersion(answer, fields=field) for answer, field in zip(answers, fields, strict=True)]


def _describe_tokens(preprocessing: FittedPreprocessing, inputs: "Tensors") -> list[dict[str, str]]:
    """Decode tokens one by one, separated by spaces, so that deletions and swaps are visible."""
    assert isinstance(preprocessing.preprocessor, TextPreprocessor)
    tokenizer = preprocessing.preprocessor.tokenizer.open()
    found: list[dict[str, str]] = []
    for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
        pieces = (tokenizer.decode([int(token)], skip_special_tokens=False).strip() for token in ids[mask.bool()])
        found.append({"tokens": " ".join(piece for piece in pieces if piece)})
    return found


def _describe_cells(preprocessing: FittedPreprocessing, inputs: "Tensors", count: int) -> list[dict[str, str]]:
    """Describe table rows by preprocessing numbers and category names."""
    form = preprocessing.preprocessor
    assert isinstance(form, TabularPreprocessor)
    found: list[dict[str, str]] = [{} for _ in range(count)]
    for position, fields in enumerate(found):
        for index, name in enumerate(form.names[: form.inputs.numeric]):
            fields[name] = f"{float(inputs['numeric'][position, index]):.2f}"
        for index, category in enumerate(form.embedded):
            fields[category.column] = category.names[int(inputs["categories"][position, index])]
    return found
