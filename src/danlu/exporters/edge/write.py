"""Write a bundle's table model as files of plain numpy, run them in a process of their own, compare the answers.

In: an open bundle. Out: a folder with the weights, danlu.json and three files of Python. What these compute is not said
here a second time: networks and activations are copies of danlu's own files.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.artifacts.bundle import WEIGHTS, Bundle
from danlu.data.descriptors import Origin
from danlu.data.specs import TabularInputs
from danlu.data.splits import Split
from danlu.data.tabular.categories import CategoryState
from danlu.data.tabular.preprocessor import TabularPreprocessor
from danlu.errors import ArtifactError
from danlu.exporters.document import FORMAT, described_files, write_documents
from danlu.models.answer_folding import UNBEND, Step, answer_steps
from danlu.models.engines.numpy_engine import NumpyEngine, network_spec, read_weights
from danlu.models.golden import PREDICTION, golden_inputs
from danlu.models.predictor import Predictor
from danlu.tasks.calibrations import Temperature

RUNNER = "answer.py"
COPIED = {
    RUNNER: "danlu/exporters/edge/answer.py",
    "preparation.py": "danlu/exporters/edge/preparation.py",
    "networks.py": "danlu/models/engines/numpy_networks.py",
    "activations.py": "danlu/tasks/activations.py",
    "bends.py": "danlu/tasks/bends.py",
    "word_spelling.py": "danlu/data/reading/word_spelling.py",
}
UNSEEN = "danlu: a value that no row had"
PATIENCE_S = 120


def write_edge(bundle: Bundle, folder: Path) -> dict[str, Any]:
    """Fill a folder, which exists and is empty, and return its document.

    Raises:
        ArgumentError: the numpy engine computes no such model.
        ArtifactError: the written files answer something else than the bundle.
    """
    from safetensors.numpy import save

    predictor = Predictor.load(bundle, engine=NumpyEngine.name)
    preparation, options, target = predictor.preprocessor, predictor.options, predictor.target
    assert isinstance(preparation, TabularPreprocessor)
    inputs = preparation.inputs
    assert isinstance(inputs, TabularInputs)
    weights = read_weights(bundle.require(options.weights_file), target.outputs)
    # A transposed array would be written as other numbers.
    written = save({name: np.ascontiguousarray(values) for name, values in weights.items()})
    (folder / WEIGHTS).write_bytes(written)
    source = Path(__file__).parents[3]
    for name, path in COPIED.items():
        (folder / name).write_bytes((source / path).read_bytes())
    numbers, prepared = _numbers(preparation)
    answer, decisions = answer_of(predictor)
    outside = (*prepared, *_ways_of_writing(predictor, numbers), *decisions)
    runner = {
        "network": network_spec(options, inputs, target.outputs),
        "numbers": numbers,
        "categories": [_category(state, predictor) for state in preparation.embedded],
        "missing_words": list(bundle.manifest.reading.get("missing_values", ["", "NA"])),
        "answer": answer,
    }
    for told in numbers:
        told["missing_words"] = missing_words(predictor, told["column"])
    document: dict[str, Any] = {
        "format": FORMAT,
        "to": "numpy",
        "model": bundle.manifest.name,
        "task": bundle.manifest.task,
        "bundle": bundle.manifest.digest,
        "files": described_files(folder),
        "inputs": [{"name": name, "dtype": "any", "shape": ["batch"]} for name in _columns(runner)],
        "outputs": [
            {"name": "answer", "dtype": "float32", "shape": ["batch", target.outputs], "names": answer["names"]}
        ],
        "inside": _inside(runner),
        "outside": [{"what": step.what, "value": step.value, "file": "danlu.json"} for step in outside],
        "check": None,
        "runner": runner,
    }
    write_documents(document, folder)
    document["check"] = _check(predictor, bundle, folder, runner)
    write_documents(document, folder)
    return document


def _numbers(preparation: TabularPreprocessor) -> tuple[list[dict[str, Any]], list[Step]]:
    """Return how each numeric feature is made, and which come prepared."""
    made: list[dict[str, Any]] = []
    for state in preparation.numbers:
        scaling = state.scaling
        if state.part is not None or preparation.filler is not None or scaling.bend == "yeo-johnson":
            made.append({"is": "prepared", "column": state.name})
            continue
        shown = scaling.model_dump(mode="json", include={"bend", "offset", "scale", "quantiles"})
        made.append({"is": "number", "column": state.column, "fill": state.fill, "limits": state.limits, **shown})
    made += [{"is": "gap", "column": column} for column in preparation.indicators]
    made += [{"is": "prepared", "column": "outlier"}] if preparation.flags else []
    made += [{"is": "prepared", "column": name} for state in preparation.derived for name in state.names]
    kept = preparation.selection
    if kept is not None and kept.directions is not None:
        made = [{"is": "prepared", "column": name} for name in preparation.names[: kept.width]]
    elif kept is not None:
        made = [made[position] for position in kept.numeric]
    left = [told["column"] for told in made if told["is"] == "prepared"]
    return made, [Step("preparation of", left)] if left else []


def _category(state: CategoryState, predictor: Predictor) -> dict[str, Any]:
    words = {"values": list(state.values), "merged": state.merged}
    return {"column": state.column, **words, "missing_words": missing_words(predictor, state.column)}


def missing_words(predictor: Predictor, column: str) -> list[str]:
    """Return the words that stand for a missing value in one column alone."""
    return list(_reading(predictor, column).get("missing_words", ()))


def _reading(predictor: Predictor, column: str) -> dict[str, Any]:
    return next((each.get("reading", {}) for each in predictor.manifest.columns if each["name"] == column), {})


def _ways_of_writing(predictor: Predictor, numbers: Sequence[dict[str, Any]]) -> list[Step]:
    """Return the columns whose numbers are not written as in Python: `1.234,50 €`, `01:30`."""
    columns = dict.fromkeys(told["column"] for told in numbers if told["is"] == "number")
    readings = {column: _reading(predictor, column) for column in columns}
    return [
        Step(
            "numbers-as-written",
            {"column": column, **{name: found[name] for name in ("number", "spans") if found.get(name)}},
        )
        for column, found in readings.items()
        if found.get("number") or found.get("spans")
    ]


def answer_of(predictor: Predictor) -> tuple[dict[str, Any], list[Step]]:
    """Return what a runner does with outputs, and the decisions that it does not make."""
    target: Any = predictor.target
    steps = answer_steps(target)
    calibration = getattr(target, "calibration", None)
    labels = getattr(target, "labels", None)
    done = {"temperature", "threshold", "labels", UNBEND}
    affine = None if labels is not None or steps.affine is None else steps.affine
    if steps.activation == "exp":  # the mean that the logarithm's offset stands for
        scale, offset = [float(target.mean)], [0.0]
    else:
        scale = [1.0] if affine is None else affine.scale.tolist()
        offset = [0.0] if affine is None else affine.offset.tolist()
    decides = {"softmax": "class", "ordinal": "class", "sigmoid": "labels", "sort": "quantiles"}
    number = "numbers" if hasattr(target, "names") else "number"
    threshold = next((step.value for step in steps.decisions if step.what == "threshold"), None)
    answer = {
        "activation": steps.activation or "identity",
        "temperature": calibration.temperature if isinstance(calibration, Temperature) else None,
        "scale": scale,
        "offset": offset,
        "bend": getattr(target, "bend", "none"),
        "exponent": getattr(target, "exponent", 1.0),
        "decides": decides.get(steps.activation or "", number),
        "names": [str(name) for name in (labels or steps.names)],
        "labels": list(labels or ()),
        "threshold": threshold,
    }
    return answer, [step for step in steps.decisions if step.what not in done]


def _columns(runner: dict[str, Any]) -> list[str]:
    """Return the columns that a row needs, each once."""
    return list(dict.fromkeys(told["column"] for told in (*runner["numbers"], *runner["categories"])))


def _inside(runner: dict[str, Any]) -> list[str]:
    """Return the steps that the runner makes."""
    answer, kinds = runner["answer"], {told["is"] for told in runner["numbers"]}
    inside = [*(["impute", "clip", "scale"] if "number" in kinds else []), *(["gaps"] if "gap" in kinds else [])]
    inside += ["codes"] if runner["categories"] else []
    inside += [answer["activation"]] if answer["activation"] != "identity" else []
    inside += [UNBEND] if answer["bend"] != "none" else []
    inside += ["temperature"] if answer["temperature"] is not None else []
    inside += ["threshold"] if answer["threshold"] is not None else []
    return [*inside, *(["deviation", "mean"] if answer["decides"] in ("number", "numbers", "quantiles") else [])]


def _check(predictor: Predictor, bundle: Bundle, folder: Path, runner: dict[str, Any]) -> dict[str, Any] | None:
    """Run the written files on kept rows, gaps and unseen categories; compare.

    Raises:
        ArtifactError: they answer something else.
    """
    frames = [
        golden_inputs(golden, predictor.preprocessor.columns) for golden in [bundle.golden()] if golden is not None
    ]
    reference = bundle.reference_rows()
    frames += [] if reference is None else [reference.select(predictor.preprocessor.columns)]
    if not frames:
        return None
    frame = _with_odd_rows(pl.concat(frames, how="vertical_relaxed"), [told["column"] for told in runner["categories"]])
    expected = predictor.target.decode(predictor.outputs(Split.of(frame), Origin("the rows compared", Path.cwd())))
    said = _run(folder, _rows(predictor, frame, runner))
    apart, agree = [0.0], []
    for name in (name for name in expected.columns if name in said[0]):
        before, after = expected[name].to_list(), [row[name] for row in said]
        if expected.schema[name].is_float():
            apart += [abs(a - b) / max(1.0, abs(b)) for a, b in zip(after, before, strict=True)]
        elif name == PREDICTION:
            agree += [a == b for a, b in zip(after, before, strict=True)]
    largest = float(np.max(apart))
    check: dict[str, Any] = {
        "engine": f"numpy {np.__version__}",
        "rows": frame.height,
        "max_deviation": largest,
        "mean_deviation": float(np.mean(apart)),
        "agreement": float(np.mean(agree)) if agree else 1.0,
        "tolerance": NumpyEngine.tolerance,
    }
    if not largest <= NumpyEngine.tolerance:
        raise ArtifactError(
            f"the written files answer something else than the bundle: off by {largest:.2g} (allowed "
            f"{NumpyEngine.tolerance}); export to another format, and report this",
            code="DL311",
        )
    return check


def _with_odd_rows(frame: pl.DataFrame, categories: Sequence[str]) -> pl.DataFrame:
    """Add rows: of gaps, of unseen categories, of known ones between blanks."""
    gaps = pl.DataFrame({name: pl.Series([None], dtype=dtype) for name, dtype in frame.schema.items()})
    unseen = frame.head(1).with_columns(
        pl.lit(UNSEEN).alias(name) for name in categories if frame.schema[name] == pl.String
    )
    spaced = frame.head(1).with_columns(
        pl.concat_str(pl.lit(" "), name, pl.lit(" ")).alias(name)
        for name in categories
        if frame.schema[name] == pl.String
    )
    return pl.concat([frame, gaps, unseen, spaced])


def _rows(predictor: Predictor, frame: pl.DataFrame, runner: dict[str, Any]) -> list[dict[str, Any]]:
    """Return rows as the runner takes them; prepared features by their own names."""
    preparation: Any = predictor.preprocessor
    numeric, _ = preparation.arrays(frame, "the rows compared")
    rows = [{name: row[name] for name in _columns(runner) if name in row} for row in frame.to_dicts()]
    for position, told in enumerate(runner["numbers"]):
        if told["is"] == "prepared":
            for row, value in zip(rows, numeric[:, position].tolist(), strict=True):
                row[told["column"]] = None if np.isnan(value) else value
    return rows


def _run(folder: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answer rows by the written runner, in a process of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps(row, default=str, ensure_ascii=False) + "\n" for row in rows)
        file.flush()
        command = [sys.executable, "-E", "-s", "-B", str(folder / RUNNER), file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if done.returncode:
        raise ArtifactError(f"the written files do not run: {done.stderr.strip().splitlines()[-1]}", code="DL311")
    return [json.loads(line) for line in done.stdout.splitlines()]
