"""What an exported folder says of itself: `danlu.json`, for programs, and `README.md`, for people."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.artifacts.bundle import GOLDEN, files_in
from danlu.artifacts.files import sha256, write_json, write_text
from danlu.data.descriptors import Origin
from danlu.data.reference import trained_quantiles
from danlu.data.specs import ImageInputs, TokenInputs
from danlu.data.splits import Split
from danlu.models.answer_folding import Placement, answer_steps
from danlu.models.golden import PREDICTION, golden_inputs
from danlu.models.predictor import GOLDEN_TOLERANCE, Predictor

DOCUMENT, CARD = "danlu.json", "README.md"
FORMAT = 1
SHOWN_VALUE = 60  # characters of a step's value in the card


def compare_answers(predictor: Predictor, written: Predictor, package: str, golden: pl.DataFrame) -> dict[str, Any]:
    """Return how far the written model's answers are from the bundle's on its golden samples.

    Args:
        predictor: of the bundle.
        written: the same with the model as its library read it.
        package: the library.
        golden: the bundle's samples.
    """
    rows = Split.of(golden_inputs(golden, predictor.preprocessor.columns))
    place = Origin(GOLDEN, Path.cwd())
    before, after = predictor.outputs(rows, place), written.outputs(rows, place)
    apart = np.abs(after.astype(np.float64) - before) / np.maximum(1.0, np.abs(before))
    return {
        "engine": f"{package} {version(package.replace('_', '-'))}",
        "rows": golden.height,
        "max_deviation": float(apart.max()),
        "mean_deviation": float(apart.mean()),
        "agreement": _agreement(predictor.target.decode(before), written.target.decode(after)),
        "tolerance": GOLDEN_TOLERANCE,
    }


def _agreement(before: pl.DataFrame, after: pl.DataFrame) -> float:
    """Return the share of rows with the same decision; 1 for numbers."""
    if PREDICTION not in before.columns or before.schema[PREDICTION].is_float():
        return 1.0
    both = zip(before[PREDICTION].to_list(), after[PREDICTION].to_list(), strict=True)
    return float(np.mean([one == other for one, other in both]))


def describe_export(
    predictor: Predictor, to: str, folder: Path, placement: Placement, check: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the document of a written folder.

    Args:
        predictor: of the bundle.
        to: the format's name.
        folder: holds the files.
        placement: what they hold of preparation and answers.
        check: how the library answered the golden samples; None where nothing could be compared.
    """
    return {
        "format": FORMAT,
        "to": to,
        "model": predictor.manifest.name,
        "task": predictor.manifest.task,
        "bundle": predictor.manifest.digest,
        "files": described_files(folder),
        "inputs": _inputs(predictor),
        "outputs": _outputs(predictor),
        "inside": list(placement.inside),
        "outside": [{"what": step.what, "value": step.value, "file": DOCUMENT} for step in placement.outside],
        "check": check,
        "ranges": _ranges(predictor),
    }


def _ranges(predictor: Predictor) -> dict[str, list[float]]:
    """Return the quantiles of the training rows' numbers by column, where the bundle keeps them."""
    known = trained_quantiles(predictor.bundle.reference())
    numbers = {column["name"] for column in predictor.manifest.columns if column["type"] == "number"}
    return {name: list(each) for name, each in known.items() if name in numbers}


def described_files(folder: Path) -> list[dict[str, Any]]:
    """Return name, size and checksum of each file below a folder."""
    return [
        {"name": name, "bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in files_in(folder)
    ]


def write_documents(document: dict[str, Any], folder: Path) -> None:
    """Write danlu.json and the card beside the files."""
    write_text(folder / CARD, card_of(document))
    write_json(folder / DOCUMENT, document)


def card_of(document: dict[str, Any]) -> str:
    """Return the card: what is inside, and what to do after the model."""
    lines = [f"# {document['model']}", "", f"A model of the task {document['task']}, in the format {document['to']}."]
    lines += ["", f"Inside the files: {', '.join(document['inside']) or 'nothing but the network'}.", ""]
    if document["outside"]:
        lines += [f"Not inside, with all values in `{DOCUMENT}`:", ""]
        lines += [f"- {step['what']}: {_shorten(step['value'])}" for step in document["outside"]]
    else:
        lines.append("Nothing is left to do after the model.")
    names = [name for output in document["outputs"] for name in output.get("names", ())]
    if names:
        lines += ["", f"Outputs, in order: {', '.join(names)}."]
    return "\n".join(lines) + "\n"


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_VALUE else f"{text[: SHOWN_VALUE - 1]}…"


def _inputs(predictor: Predictor) -> list[dict[str, Any]]:
    inputs: Any = predictor.preprocessor.inputs
    if isinstance(inputs, ImageInputs):
        return [{"name": "image", "dtype": "float32", "shape": ["batch", inputs.channels, inputs.size, inputs.size]}]
    if isinstance(inputs, TokenInputs):
        names = ("input_ids", "attention_mask")
        return [{"name": name, "dtype": "int64", "shape": ["batch", "length"]} for name in names]
    width = inputs.numeric + len(inputs.cardinalities)
    return [{"name": "features", "dtype": "float64", "shape": ["batch", width]}]


def _outputs(predictor: Predictor) -> list[dict[str, Any]]:
    names, per_token = answer_steps(predictor.target).names, isinstance(predictor.preprocessor.inputs, TokenInputs)
    is_sequence = per_token and (predictor.kind.generates_text or predictor.kind.answers_each_word)
    shape = ["batch", *(["length"] if is_sequence else []), predictor.target.outputs]
    return [{"name": "logits", "dtype": "float32", "shape": shape, **({"names": list(names)} if names else {})}]
