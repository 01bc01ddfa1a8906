"""The pictures of a network: which there are, what each needs, and how each is measured.

In: a `Subject`. Out: JSON and arrays by picture, which `picture_files` draws and writes. Measuring is done by
`inspection`; a picture is one line of `PICTURES`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.core.console import info
from danlu.core.seeds import Seed
from danlu.errors import ArgumentError, ArtifactError
from danlu.experiment.shown_rows import describe_samples
from danlu.tasks.classification import ClassTarget

if TYPE_CHECKING:
    from danlu.inspection.loss import Batch
    from danlu.inspection.subject import Subject

Json = dict[str, Any]
GRAPH_ROWS = 1
LANDSCAPE_ROWS, GRADIENT_ROWS = 32, 128
MOST_CLASSES = 1000  # of labels; more are numbers, and no classes
PAIRS, EXAMPLES = 12, 4  # of confused classes, and rows of each
TOKENS = 48


@dataclass(frozen=True)
class Measured:
    """Hold what was measured for a picture.

    Attributes:
        data: as JSON.
        arrays: by name, which JSON refers to.
    """

    data: Json
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """Describe a picture of a network.

    Attributes:
        measure: measures what is drawn.
        lacks: says what a subject lacks for it; empty where nothing.
    """

    measure: "Callable[[Subject], Measured]"
    lacks: "Callable[[Subject], str]" = lambda subject: ""


def measure_graph(subject: "Subject") -> Measured:
    """Trace, measure and replay the network's structure."""
    from danlu.inspection.graph import build_graph

    return Measured(build_graph(subject.network, subject.inputs(GRAPH_ROWS)).as_json())


def measure_weights(subject: "Subject") -> Measured:
    """Describe every tensor of weights."""
    from danlu.inspection.weights import network_weights

    return measured_weights(network_weights(subject.network))


def measured_weights(named: "Iterable[tuple[str, Any]]") -> Measured:
    """Describe named tensors of weights."""
    from danlu.inspection.weights import describe_weights

    tensors, pictures = describe_weights(named)
    arrays = {str(place): picture.values for place, picture in enumerate(pictures)}
    drawn = [
        {"name": picture.name, "form": picture.form, "shape": list(picture.shape), "array": str(place)}
        for place, picture in enumerate(pictures)
    ]
    return Measured({"tensors": tensors, "pictures": drawn}, arrays)


def measure_activations(subject: "Subject") -> Measured:
    """Describe what layers give over all rows, of the kept checkpoints too."""
    from danlu.inspection import activations

    states: dict[str, list[Json]] = {}
    for name, network in _states(subject):
        states[name] = activations.measure_activations(network, (inputs for _, inputs, _ in subject.batches()))
    return Measured({"rows": len(subject.dataset), "states": states})


def _states(subject: "Subject") -> "list[tuple[str, Any]]":
    """Return a run's network with each kept checkpoint's weights, oldest first, then as it is."""
    import copy

    from danlu.artifacts.checkpoints import load_weights, open_checkpoint

    found = []
    for folder in () if subject.run is None else subject.run.checkpoints():
        step = int(folder.name.removeprefix("step-"))
        try:
            weights = dict(open_checkpoint(subject.run, step).evaluated_weights)  # type: ignore[arg-type]
            network = copy.deepcopy(subject.network)
            load_weights(network, weights)
        except (RuntimeError, ArtifactError, KeyError):  # of adapters, of parts of a network, or damaged
            continue
        found.append((f"step {step:,}", network.to(subject.device).eval()))
    return [*found, ("model", subject.network)]


def measure_features(subject: "Subject") -> Measured:
    """Take the maps of one image after convolutions."""
    from danlu.inspection.representations import feature_maps

    maps = feature_maps(subject.network, subject.inputs(1))
    layers = [{"name": name, "array": str(place)} for place, (name, _) in enumerate(maps)]
    return Measured({"layers": layers}, {str(place): values for place, (_, values) in enumerate(maps)})


def measure_embeddings(subject: "Subject") -> Measured:
    """Project what the last layer reads of each row."""
    from danlu.inspection.representations import lacks_for_umap, last_features, project, project_by_umap

    features = last_features(subject.network, (inputs for _, inputs, _ in subject.batches()))
    points, explained = project(features)
    arrays = {"features": features, "pca": points.astype(np.float32)}
    if why := lacks_for_umap(len(features)):
        info(f"no UMAP beside the principal components: {why}")
    else:
        arrays["umap"] = project_by_umap(features, Seed(0).derive("umap")).astype(np.float32)
    return Measured({"explained": explained, "classes": _classes(subject, len(points))}, arrays)


def _classes(subject: "Subject", count: int) -> list[str]:
    """Return the class of each row as read; empty where rows have none."""
    labels = subject.labels
    if labels is None or len(labels) != count or labels.dtype.is_float() or labels.dtype.is_nested():
        return []
    return [] if labels.n_unique() > MOST_CLASSES else [str(value) for value in labels.to_list()]


def measure_attention(subject: "Subject") -> Measured:
    """Take the attention of the first row."""
    from danlu.inspection.representations import attention_weights

    inputs = subject.inputs(1)
    layers = attention_weights(subject.network, inputs)
    names = [str(place) for place in range(len(layers))]
    return Measured({"layers": names, "tokens": _tokens(subject, inputs)}, dict(zip(names, layers, strict=True)))


def _tokens(subject: "Subject", inputs: Mapping[str, Any]) -> list[str]:
    from danlu.data.text.preprocessor import TokenizingPreprocessor

    predictor = subject.predictor
    if predictor is None or not isinstance(predictor.preprocessor, TokenizingPreprocessor) or "input_ids" not in inputs:
        return []
    tokenizer = predictor.preprocessor.tokenizer.open()
    return [str(tokenizer.id_to_token(int(token))) for token in inputs["input_ids"][0][:TOKENS]]


def measure_landscape(subject: "Subject") -> Measured:
    """Compute the loss on a plane through the weights."""
    from danlu.inspection.loss import loss_plane

    assert subject.head is not None
    batches = _labelled(subject, LANDSCAPE_ROWS)
    places, losses = loss_plane(subject.network, subject.head, batches, Seed(0).derive("landscape"))
    worst = losses[np.isfinite(losses)].max() if np.isfinite(losses).any() else 0.0
    data = {
        "rows": min(LANDSCAPE_ROWS, len(subject.dataset)),
        "loss": float(losses[len(places) // 2, len(places) // 2]),
    }
    return Measured({**data, "highest": float(worst)}, {"places": places, "losses": losses})


def measure_gradients(subject: "Subject") -> Measured:
    """Compute the gradient's norm by tensor."""
    from danlu.inspection.loss import gradient_norms

    assert subject.head is not None
    return Measured({"norms": gradient_norms(subject.network, subject.head, _labelled(subject, GRADIENT_ROWS))})


def measure_curves(subject: "Subject") -> Measured:
    """Read the log of a run."""
    assert subject.run is not None
    return Measured({"log": subject.run.metrics()})


def measure_confusion(subject: "Subject") -> Measured:
    """Collect rows of each pair of a class and a wrong answer."""
    labels, predictions = subject.labels, _predictions(subject)
    assert labels is not None
    pairs = Counter[tuple[str, str]]()
    rows: dict[tuple[str, str], list[int]] = {}
    for row, (truth, answer) in enumerate(zip(labels.to_list(), predictions, strict=True)):
        if str(truth) != str(answer):
            pairs[str(truth), str(answer)] += 1
            rows.setdefault((str(truth), str(answer)), []).append(row)
    shown = [
        {
            "truth": pair[0],
            "answer": pair[1],
            "count": count,
            "samples": describe_samples(subject, rows[pair][:EXAMPLES]),
        }
        for pair, count in pairs.most_common(PAIRS)
    ]
    return Measured({"rows": len(labels), "wrong": pairs.total(), "pairs": shown, "confused_pairs": len(pairs)})


def _predictions(subject: "Subject") -> list[Any]:
    """Return the decoded prediction of every row."""
    import torch

    assert subject.predictor is not None and subject.head is not None
    found = []
    with torch.no_grad():
        for _, inputs, target in subject.batches():
            found.append(subject.head.predict(subject.network(**inputs), target).float().cpu().numpy())
    decide = subject.predictor.target
    answers: list[Any] = decide.decode(decide.calibrate(np.concatenate(found)))["prediction"].to_list()
    return answers


def _lacks_classes(subject: "Subject") -> str:
    if subject.run is None or subject.predictor is None or not isinstance(subject.predictor.target, ClassTarget):
        return "is no run of a classification"
    return "" if subject.labels is not None else "has no labelled rows"


def _lacks_log(subject: "Subject") -> str:
    return "" if subject.run is not None and subject.run.metrics() else "has no log of a training"


def _labelled(subject: "Subject", most: int) -> "list[Batch]":
    return [(inputs, target) for _, inputs, target in subject.batches(most) if target is not None]


def _lacks_weights(subject: "Subject") -> str:
    return "" if any(True for _ in subject.network.parameters()) else "has no weights that are learned by gradients"


def _lacks_layers(subject: "Subject") -> str:
    from danlu.inspection.activations import measure_activations as measure

    return "" if measure(subject.network, [subject.inputs(1)]) else "has no layers with outputs of their own"


def _lacks_labels(subject: "Subject") -> str:
    if subject.head is None or not _labelled(subject, 1):
        return "has no labelled rows here; give the run that it came from"
    return _lacks_weights(subject)


def _lacks_convolutions(subject: "Subject") -> str:
    from torch import nn

    is_image = any(values.ndim == 4 for values in subject.inputs(1).values())
    has = any(isinstance(module, nn.Conv2d) for module in subject.network.modules())
    return "" if is_image and has else "is no convolutional network of images"


def _lacks_attention(subject: "Subject") -> str:
    from danlu.inspection.representations import attention_weights

    return "" if attention_weights(subject.network, subject.inputs(1)) else "has no attention"


PICTURES: dict[str, Picture] = {
    "graph": Picture(measure_graph),
    "features": Picture(measure_features, _lacks_convolutions),
    "activations": Picture(measure_activations, _lacks_layers),
    "weights": Picture(measure_weights, _lacks_weights),
    "attention": Picture(measure_attention, _lacks_attention),
    "embeddings": Picture(measure_embeddings),
    "curves": Picture(measure_curves, _lacks_log),
    "gradients": Picture(measure_gradients, _lacks_labels),
    "landscape": Picture(measure_landscape, _lacks_labels),
    "confusion": Picture(measure_confusion, _lacks_classes),
}


def pictures_of(subject: "Subject", names: Sequence[str], is_asked: bool) -> dict[str, Callable[[], Measured]]:
    """Return how each picture of a subject is measured.

    Args:
        subject: what is looked at.
        names: of the pictures, keys of `PICTURES`.
        is_asked: whether the user named them.

    Raises:
        ArgumentError: a picture was asked for that this model cannot have.
    """
    missing = {name: why for name in names if (why := PICTURES[name].lacks(subject))}
    if missing and is_asked:
        name, why = next(iter(missing.items()))
        raise ArgumentError(f"--only {name}: {subject.name} {why}", code="DL409")
    for name, why in missing.items():
        info(f"no {name}: {subject.name} {why}")
    return {name: partial(PICTURES[name].measure, subject) for name in names if name not in missing}
