"""Compare pretrained models by a linear probe on their frozen features of the user's samples.

The accuracy of a linear model on frozen features predicts the accuracy after fine-tuning (Kornblith et al. 2019,
https://arxiv.org/abs/1805.08974) and costs one pass over a thousand samples. In: a recipe and model names. Out: one
`Candidate` per name, one of them recommended.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.core.component import components
from danlu.core.devices import open_device
from danlu.core.devices.setup import make_deterministic
from danlu.core.seeds import Seed
from danlu.core.text import suggestion
from danlu.data.splits import Splits, TrainSplit, subsample
from danlu.errors import ArgumentError
from danlu.evaluation.intervals import Resampling, values_with_intervals
from danlu.evaluation.predictions import pair_with_truth
from danlu.experiment.data_context import DataContext, FittedPreprocessing, fit_preprocessing, load_data
from danlu.experiment.loaders import build_prepared_dataset
from danlu.models.base import Model
from danlu.recipe.schema import Recipe
from danlu.tasks.classification import ClassTarget
from danlu.tasks.metric_table import get_metric
from danlu.tasks.regression import NumericTarget
from danlu.tasks.table import all_tasks

if TYPE_CHECKING:
    from danlu.data.loader import PreparedDataset

MAX_SAMPLES = 1000  # at most, per split
RESAMPLES = 500


@dataclass(frozen=True)
class Candidate:
    """Hold the probe results of one pretrained model.

    Attributes:
        name: as given by the user.
        parameters: number of parameters.
        width: size of the feature vector.
        metric: validation metric of the probe.
        value, low, high: the metric and its 95 % interval.
        seconds: time to compute the features of a thousand samples on this device.
        take: recommended: the fastest model that is not clearly worse than the best.
    """

    name: str
    parameters: int
    width: int
    metric: str
    value: float
    low: float
    high: float
    seconds: float
    take: bool = False


def probe_models(recipe: Recipe, names: Sequence[str]) -> list[Candidate]:
    """Probe models on a recipe's data.

    Args:
        names: as `model.name`; for timm the weights follow after `=`: `timm:resnet18=weights.safetensors`.

    Returns:
        the best first.

    Raises:
        ArgumentError: a name is unknown, a model gives no features per sample, or the task is not supported.
        DataError, MissingExtra: as training would.
    """
    found = [_probe(recipe, name) for name in names]
    found.sort(key=lambda candidate: -candidate.value)
    good = [candidate for candidate in found if candidate.high >= found[0].value]
    taken = min(good, key=lambda candidate: candidate.seconds)
    return [replace(candidate, take=candidate is taken) for candidate in found]


def _probe(recipe: Recipe, name: str) -> Candidate:
    import torch

    opened = load_data(recipe.model_copy(update={"model": _parse_model(name)}))
    if opened.dataset.task.probe_metric is None:
        able = ", ".join(task.name for task in all_tasks() if task.probe_metric is not None)
        raise ArgumentError(f"--candidates: {opened.dataset.task} is not supported (supported: {able})", code="DL409")
    train, validation, test = (subsample(part, MAX_SAMPLES) for _, part in opened.splits.items())
    opened = replace(opened, splits=Splits(TrainSplit(train.rows, train.table), validation, test))
    make_deterministic()
    prepared, device = fit_preprocessing(opened), open_device(opened.recipe.training.device).torch_device
    torch.manual_seed(Seed(opened.recipe.seed).derive("weights").value)
    network: Any = opened.model.build(prepared.preprocessor.inputs, prepared.target.outputs).to(device)
    if not hasattr(network, "features"):
        raise ArgumentError(
            f"--candidates: {name} gives no features per sample, so it cannot be probed; train it to compare it",
            code="DL409",
        )
    parts = [build_prepared_dataset(opened, prepared, part) for part in (opened.splits.train, opened.splits.validation)]
    begun = time.perf_counter()
    features = [_extract_features(network, examples, device) for examples in parts]
    seconds = (time.perf_counter() - begun) * 1000 / sum(map(len, features))
    metric, figure = _fit_probe(opened, prepared, *features)
    parameters = sum(weight.numel() for weight in network.parameters())
    bounds = figure.get("low", figure["value"]), figure.get("high", figure["value"])
    return Candidate(name, parameters, features[0].shape[1], metric, figure["value"], *bounds, seconds)


def _parse_model(said: str) -> Model:
    """Parse `NAME` or `NAME=WEIGHTS` into model options."""
    name, _, weights = said.partition("=")
    table = components("model")
    family = name.split(":")[0]
    if family not in table:
        raise ArgumentError(f"--candidates: no model {name!r}{suggestion(name, table)}", code="DL402")
    options = Model.of(table[family].model_validate({"name": name, **({"pretrained": weights} if weights else {})}))
    # Mean pooling for every text model, so that their features are comparable.
    own_pooling = hasattr(options, "pooling") and options.pooling is None
    return options.model_copy(update={"pooling": "mean"}) if own_pooling else options


def _extract_features(network: Any, examples: "PreparedDataset", device: Any) -> np.ndarray:
    """Compute the features of the model's body, [samples, width]."""
    from danlu.models.infer import eval_mode
    from danlu.training.cached_features import FEATURE_BATCH_SIZE

    found = []
    with eval_mode(network):
        for _, inputs, _ in examples.iter_batches(FEATURE_BATCH_SIZE, device):
            found.append(network.features(**inputs).float().flatten(1).cpu().numpy())
    return np.concatenate(found)


def _fit_probe(
    opened: DataContext, prepared: FittedPreprocessing, train: np.ndarray, validation: np.ndarray
) -> tuple[str, dict[str, float]]:
    """Fit a linear model on the features; return the metric and its value with interval."""
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    target, splits = prepared.target, opened.splits
    name = opened.dataset.task.probe_metric
    assert name is not None
    if isinstance(target, ClassTarget):
        codes = target.codes(splits.train.columns(target.column))
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(train, codes)
        answers = np.zeros((len(validation), len(target.labels)))
        answers[:, model.classes_] = model.predict_proba(validation)
    else:
        assert isinstance(target, NumericTarget)
        values = splits.train.column(target.column).cast(float).to_numpy()
        ridge = RidgeCV(alphas=np.logspace(-2, 5, 15))
        answers = make_pipeline(StandardScaler(), ridge).fit(train, values).predict(validation)
    truth = pair_with_truth(splits.validation, target, answers)
    how = Resampling(Seed(opened.recipe.seed).derive("probe"), 0.95, RESAMPLES)
    return name, values_with_intervals({name: get_metric(name)}, truth, how)[name]
