"""A folder that answers without danlu: the model in ONNX, a runner of thirty lines, and a page for browsers.

The runner needs onnxruntime and numpy. The page has everything beside it in scripts, so it also works when it is opened
as a file, without any server and offline.
"""

import base64
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from danlu.artifacts.files import write_bytes, write_text
from danlu.data.descriptors import Origin
from danlu.data.splits import Split
from danlu.deployment.subject import Subject
from danlu.errors import ArgumentError, ArtifactError
from danlu.exporters.document import described_files, write_documents
from danlu.exporters.edge.write import answer_of, missing_words
from danlu.exporters.forms import TOLERANCE, write_form
from danlu.models.golden import PREDICTION, golden_inputs
from danlu.models.predictor import Predictor

KINDS = ("tabular", "image")
HERE = Path(__file__).parent / "edge_files"
RUNNER, PAGE = "run.py", "index.html"
# Of the npm package onnxruntime-web: what runs on processors in every browser.
WEB = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
ENGINE, MODEL = "engine.js", "model.js"
PATIENCE_S = 120


def write_edge(subject: Subject, folder: Path, web: Path | None) -> dict[str, Any]:
    """Fill a folder, which exists and is empty, and return its document.

    Args:
        subject: the bundle.
        folder: to fill.
        web: the npm package onnxruntime-web, packed or as a folder; without it no page is written.

    Raises:
        ArgumentError: the model's rows cannot be prepared without danlu, or the package is another.
        ArtifactError: the written files answer otherwise than the bundle.
        MissingExtra: the extra `export` is not installed.
    """
    bundle = subject.bundle
    if bundle.manifest.kind not in KINDS:
        raise ArgumentError(
            f"--edge: rows of the kind {bundle.manifest.kind} need a tokenizer, which a runner without danlu does not "
            "have; danlu export --to onnx, transformers or gguf writes files for other programs",
            code="DL409",
        )
    predictor = Predictor.load(bundle, engine="torch")
    document = write_form("onnx", predictor, bundle, folder, None, TOLERANCE)
    document["runner"] = _runner(predictor, document)
    write_bytes(folder / RUNNER, (HERE / RUNNER).read_bytes())
    write_text(folder / "requirements.txt", f"numpy>=1.24\nonnxruntime>={_engine_version(document)}\n")
    write_documents(document, folder)
    document["runner_check"] = _check(predictor, subject, folder, document["runner"])
    if web is not None:
        _write_page(folder, web, document)
    document["files"] = described_files(folder)
    write_documents(document, folder)
    return document


def _runner(predictor: Predictor, document: dict[str, Any]) -> dict[str, Any]:
    """Return what the runner and the page do around the network."""
    answer, _ = answer_of(predictor)
    names = [str(name) for name in answer["names"]]
    shown = {
        "number": ["prediction"],
        "numbers": [f"prediction_{name}" for name in names],
        "quantiles": ["low", "prediction", "high"],
    }
    several = answer["decides"] == "labels"
    words = list(predictor.manifest.reading.get("missing_values", ["", "NA"]))
    return {
        "inputs": {
            port["name"]: {
                "dtype": "str" if port["dtype"] == "string" else port["dtype"],
                "gap": "" if port["dtype"] == "string" else None,
                "missing_words": ["None", *words, *missing_words(predictor, port["name"])],
                "shape": port["shape"][1:],
            }
            for port in document["inputs"]
        },
        "output": document["outputs"][0]["name"],
        "names": shown.get(answer["decides"], [f"probability_{name}" for name in names]),
        "labels": names if several else list(answer["labels"]),
        "threshold": answer["threshold"],
        "several": several,
    }


def _engine_version(document: dict[str, Any]) -> str:
    """Return the version of ONNX Runtime that has read the file, as 1.32."""
    return ".".join(str(document["check"]["engine"]).split()[-1].split(".")[:2])


def _check(predictor: Predictor, subject: Subject, folder: Path, runner: dict[str, Any]) -> dict[str, Any] | None:
    """Run the written runner on the golden rows, and compare; it has its own process.

    Raises:
        ArtifactError: it does not run, or answers otherwise.
    """
    golden = subject.bundle.golden()
    if golden is None:
        return None
    rows = golden_inputs(golden, predictor.preprocessor.columns)
    place = Origin("golden samples", Path.cwd())
    expected = predictor.target.decode(predictor.outputs(Split.of(rows), place))
    written = rows_for_runner(predictor, rows, runner)
    if written is None:
        return None
    with tempfile.TemporaryDirectory() as aside:
        file = Path(aside) / "rows.jsonl"
        write_text(file, "".join(json.dumps(row, default=str, ensure_ascii=False) + "\n" for row in written))
        command = [sys.executable, "-E", "-s", "-B", str(folder / RUNNER), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if done.returncode:
        raise ArtifactError(f"the written runner does not run: {done.stderr.strip().splitlines()[-1]}", code="DL315")
    said = [json.loads(line) for line in done.stdout.splitlines()]
    apart = [0.0]
    for name in (name for name in expected.columns if name in said[0]):
        before, after = expected[name].to_list(), [row[name] for row in said]
        if name == PREDICTION and not expected.schema[name].is_float():
            if [str(value) for value in before] != [str(value) for value in after]:
                raise ArtifactError("the written runner decides otherwise than the bundle", code="DL315")
        else:
            apart += [abs(a - b) / max(1.0, abs(b)) for a, b in zip(after, before, strict=True)]
    largest = float(np.max(apart))
    if not largest <= TOLERANCE:
        raise ArtifactError(f"the written runner is off by {largest:.2g} (allowed {TOLERANCE})", code="DL315")
    return {"rows": len(said), "max_deviation": largest, "tolerance": TOLERANCE}


def rows_for_runner(predictor: Predictor, rows: pl.DataFrame, runner: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return rows as the runner takes them; None where it takes made columns.

    An image becomes numbers from 0 to 255, [channels, side, side].
    """
    names = list(runner["inputs"])
    if predictor.kind.shows_pictures:
        batches = predictor.preprocessor.iter_arrays(rows, Origin("golden samples", Path.cwd()), rows.height)
        return [{names[0]: image.tolist()} for inputs, _ in batches for image in inputs["image"]]
    if not set(names) <= set(rows.columns):  # parts of dates, topics of texts
        return None
    return rows.select(names).to_dicts()


def _write_page(folder: Path, web: Path, document: dict[str, Any]) -> None:
    """Write the page, with engine and model as scripts that need no server."""
    found = _web_files(web)
    script, glue, code = (found[name] for name in WEB)
    told = json.dumps({"model": document["model"], **document["runner"]}, ensure_ascii=False).replace("</", "<\\/")
    write_text(folder / PAGE, (HERE / PAGE).read_text(encoding="utf-8").replace("/*TOLD*/null", told))
    write_bytes(folder / WEB[0], script)
    write_text(folder / ENGINE, f"const GLUE = {_encoded(glue)}, CODE = {_encoded(code)};\n")
    write_text(folder / MODEL, f"const MODEL = {_encoded((folder / 'model.onnx').read_bytes())};\n")


def _encoded(content: bytes) -> str:
    return json.dumps(base64.b64encode(content).decode())


def _web_files(web: Path) -> dict[str, bytes]:
    """Return the files of onnxruntime-web that a page needs.

    Raises:
        ArgumentError: they are not there.
    """
    try:
        if web.is_dir():
            folder = next(each for each in (web / "dist", web / "package" / "dist", web) if (each / WEB[0]).is_file())
            return {name: (folder / name).read_bytes() for name in WEB}
        with tarfile.open(web) as packed:
            found = {name: packed.extractfile(f"package/dist/{name}") for name in WEB}
            return {name: file.read() for name, file in found.items() if file is not None}
    except (OSError, KeyError, StopIteration, tarfile.TarError):
        raise ArgumentError(
            f"--onnxruntime-web {web}: is not that npm package; `npm pack onnxruntime-web` writes it into a file",
            code="DL402",
        ) from None
