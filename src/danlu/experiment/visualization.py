"""The pictures of a network: which there are, what each needs, and the files that it becomes.

In: a `Subject`. Out: files in a folder, and the JSON that `danlu visualize --json` prints. Measuring is done by
`inspection`, drawing by `reporting`; a picture is one line of `PICTURES`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.artifacts.files import json_bytes, translate_write_errors, write_bytes
from danlu.core.console import info
from danlu.core.seeds import Seed
from danlu.errors import ArgumentError, ArtifactError
from danlu.experiment.network_pairs import ONNX_SUFFIX
from danlu.reporting.i18n import Translator
from danlu.reporting.sections.network import RESULT as RESULT
from danlu.tasks.classification import ClassTarget

if TYPE_CHECKING:
    from danlu.experiment.network_pairs import NetworkPair
    from danlu.inspection.loss import Batch
    from danlu.inspection.onnx_file import OnnxFile
    from danlu.inspection.subject import Subject

Json = dict[str, Any]
FORMAT = 1
GRAPH_ROWS = 1
LANDSCAPE_ROWS, GRADIENT_ROWS = 32, 128
MOST_CLASSES = 1000  # of labels; more are numbers, and no classes
PAIRS, EXAMPLES = 12, 4  # of confused classes, and rows of each
TOKENS = 48
DRAWN_ROWS = 16  # of inputs, where two files are compared and there are no rows


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

    return _measured_weights(network_weights(subject.network))


def _measured_weights(named: "Iterable[tuple[str, Any]]") -> Measured:
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
    from danlu.inspection.representations import last_features, project, project_by_umap

    features = last_features(subject.network, (inputs for _, inputs, _ in subject.batches()))
    points, explained = project(features)
    arrays = {"features": features, "pca": points.astype(np.float32)}
    by_umap = project_by_umap(features, Seed(0).derive("umap"))
    if by_umap is not None:
        arrays["umap"] = by_umap.astype(np.float32)
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
    return Measured({"rows": len(labels), "wrong": pairs.total(), "pairs": shown})


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
    "activations": Picture(measure_activations),
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


def pictures_of_file(path: Path, names: Sequence[str], is_asked: bool) -> dict[str, Callable[[], Measured]]:
    """Return how the pictures of a file of weights are measured.

    Raises:
        ArgumentError: a picture was asked for that needs a network to run.
    """
    known = {"graph": partial(_file_graph, path), "weights": partial(_file_weights, path)}
    for name in names:
        if is_asked and name not in known:
            raise ArgumentError(f"--only {name}: {path.name} holds no network that could be run", code="DL409")
    return {name: measure for name, measure in known.items() if name in names}


def _file_graph(path: Path) -> Measured:
    from danlu.inspection.onnx_graph import onnx_graph
    from danlu.inspection.weight_files import file_graph

    read = onnx_graph if path.suffix.lower() == ONNX_SUFFIX else file_graph
    return Measured(read(path).as_json())


def _file_weights(path: Path) -> Measured:
    from danlu.inspection.weight_files import file_tensors

    return _measured_weights(file_tensors(path))


def draw_pictures(
    t: Translator, title: str, pictures: Mapping[str, Callable[[], Measured]], folder: Path
) -> tuple[Json, list[Json]]:
    """Measure and draw pictures into a folder.

    Args:
        t: the language of the pictures.
        title: the model's name.
        pictures: how each is measured.
        folder: exists or is made.

    Returns:
        what was measured under each picture's name, and the entries of the files.
    """
    with translate_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    found: Json = {}
    files: list[Json] = []
    for name, measure in pictures.items():
        measured = measure()
        found[name] = measured.data
        files += write_picture(t, folder, name, title, measured)
    return found, files


def write_picture(t: Translator, folder: Path, name: str, title: str, measured: Measured) -> list[Json]:
    """Draw and write what was measured; return the entries of the files."""
    from danlu.reporting.network_pictures import DRAWERS

    contents: dict[str, bytes] = {}
    if name in PAGES:
        contents = PAGES[name](t, title, measured.data)
    else:
        for ending, figure in DRAWERS[name](t, measured.data, measured.arrays).items():
            contents |= figure.files(ending)
    contents[".json"] = json_bytes(measured.data)
    if measured.arrays:
        packed = BytesIO()
        np.savez_compressed(packed, **measured.arrays)  # type: ignore[arg-type]
        contents[".npz"] = packed.getvalue()
    for ending, content in contents.items():
        write_bytes(folder / f"{name}{ending}", content)
    return [
        {"picture": name, "path": str(folder / f"{name}{ending}"), "bytes": len(content)}
        for ending, content in contents.items()
    ]


def _graph_files(t: Translator, title: str, graph: Json) -> dict[str, bytes]:
    from danlu.reporting.figures.graph import graph_picture
    from danlu.reporting.figures.svg import as_file
    from danlu.reporting.graph_page import graph_page
    from danlu.reporting.model_explorer import model_explorer_graph

    return {
        ".html": graph_page(t, title, graph).encode(),
        ".svg": as_file(graph_picture(t, graph)).encode(),
        ".model-explorer.json": json_bytes(model_explorer_graph(title, graph)),
    }


def _difference_files(t: Translator, title: str, difference: Json) -> dict[str, bytes]:
    from danlu.reporting.difference_page import difference_page
    from danlu.reporting.figures.layers import difference_lines

    page = {".html": difference_page(t, title, difference).encode()}
    return {**page, **difference_lines(t, difference).files()} if difference["layers"] else page


def _curve_files(t: Translator, title: str, curves: Json) -> dict[str, bytes]:
    from danlu.reporting.figures.bars import training_curves
    from danlu.reporting.figures.svg import as_file

    return {".svg": as_file(training_curves(t, curves["log"])).encode()}


def _confusion_files(t: Translator, title: str, confusion: Json) -> dict[str, bytes]:
    from danlu.reporting.difference_page import confusion_page

    return {".html": confusion_page(t, title, confusion).encode()}


# Pictures that are a page, or are drawn by another section's figures.
PAGES: dict[str, Callable[[Translator, str, Json], dict[str, bytes]]] = {
    "graph": _graph_files,
    "difference": _difference_files,
    "curves": _curve_files,
    "confusion": _confusion_files,
}


def measure_difference(subject: "Subject", other: "NetworkPair", threshold_db: float) -> Measured:
    """Compare a network with another on the same rows, layer by layer."""
    from danlu.inspection.difference import compare_networks

    found = compare_networks(other.one, other.other, other.batches(subject), threshold_db)
    samples = describe_samples(subject, found.rows)
    apart = [{**sample, "apart": found.answers[row]} for sample, row in zip(samples, found.rows, strict=True)]
    return Measured({**found.as_json(), "against": other.name, "samples": apart})


def measure_file_difference(files: "tuple[OnnxFile, OnnxFile]", threshold_db: float) -> Measured:
    """Compare two ONNX files on drawn inputs, layer by layer."""
    from danlu.inspection.difference import compare_networks

    one, other = files
    inputs: Any = one.drawn(DRAWN_ROWS)
    found = compare_networks(one, other, [(inputs, inputs)], threshold_db)
    drawn = [{"row": row, "fields": {}, "image": "", "apart": found.answers[row]} for row in found.rows]
    return Measured({**found.as_json(), "against": other.path.name, "samples": drawn})


def describe_samples(subject: "Subject", rows: Sequence[int]) -> list[Json]:
    """Describe rows for a reader: what the model reads of each, or its picture."""
    if not rows:
        return []
    inputs, _ = subject.dataset.take(np.array(rows), subject.device)
    fields: list[dict[str, str]] = [{} for _ in rows]
    pictures = [""] * len(rows)
    if subject.predictor is not None and subject.predictor.kind.shows_pictures and "image" in inputs:
        pictures = [_thumbnail(image.permute(1, 2, 0).cpu().numpy()) for image in inputs["image"]]
    elif subject.predictor is not None:
        fields = subject.predictor.preprocessor.describe(inputs)
    return [
        {"row": int(row), "fields": each, "image": picture}
        for row, each, picture in zip(rows, fields, pictures, strict=True)
    ]


def _thumbnail(pixels: np.ndarray) -> str:
    """Return an image, [height, width, channels] uint8, as a PNG's data address."""
    import base64

    from PIL import Image

    from danlu.reporting.figures.svg import PIXELS

    content = BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(content, "png")
    return PIXELS + base64.b64encode(content.getvalue()).decode("ascii")
