"""Clients that danlu did not write, unchanged, as programs: tritonclient, KServe's, curl, schemathesis.

Their pins clash with danlu's, so they have an environment of their own, `make clients`; without it these are skipped.
"""

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.models.predictor import Predictor
from tests.serving.test_v2 import request_of
from tests.support.serving import PATIENCE_S, Server, serving

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("DANLU_CLIENTS", ROOT / ".venv-clients"), "bin", "python")
PROGRAM = ROOT / "tests" / "support" / "clients" / "ask.py"
TOLERANCE = 1e-5
SCHEMATHESIS = PYTHON.with_name("schemathesis")
needs_clients = pytest.mark.skipif(not PYTHON.exists(), reason="the clients are not installed: make clients")
needs_schemathesis = pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="schemathesis is not installed: make clients")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
pytestmark = [pytest.mark.slow, pytest.mark.training]


@pytest.fixture(scope="module")
def rows(table_file: Path) -> pl.DataFrame:
    """Rows without gaps: numbers, a category, a date as text."""
    read = pl.read_csv(table_file, infer_schema_length=None).drop_nulls().head(8)
    return read.drop("cultivar")


@pytest.fixture(scope="module")
def server(table_run: Path) -> Iterator[Server]:
    with serving(f"wine={table_run}", "--engine", "numpy", "--grpc-port", "0") as running:
        yield running


def columns_of(server: Server, rows: pl.DataFrame) -> dict[str, list[Any]]:
    inputs = server.get("/v2/models/wine").json["inputs"]
    return {
        each["name"]: rows[each["name"]].cast(pl.Float64 if each["datatype"] == "FP64" else pl.String).to_list()
        for each in inputs
    }


@needs_clients
@pytest.mark.parametrize("library", ["tritonclient", "kserve"])
def test_other_peoples_clients_are_answered_as_danlu_predicts(
    library: str, server: Server, rows: pl.DataFrame, table_run: Path, tmp_path: Path
) -> None:
    given = {
        "http": "{}:{}".format(*server.address),
        "grpc": server.events[0]["grpc"],
        "model": "wine",
        "columns": columns_of(server, rows),
    }
    (tmp_path / "given.json").write_text(json.dumps(given), encoding="utf-8")
    command = [PYTHON, "-I", PROGRAM, library, tmp_path / "given.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5 * PATIENCE_S)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 6
    answered = Predictor.load(table_run).predict(rows)
    for way, told in found.items():
        assert told["prediction"] == answered["prediction"].to_list(), way
        for place, shares in enumerate(told["probabilities"]):
            expected = [answered[place, name] for name in answered.columns if name.startswith("probability_")]
            assert shares == pytest.approx(expected, abs=TOLERANCE), way


@needs_schemathesis
def test_schemathesis_finds_nothing_against_the_openapi_document(
    table_run: Path, image_run: Path, text_run: Path, tmp_path: Path
) -> None:
    sources = (f"wine={table_run}", f"digits={image_run}", f"eras={text_run}")
    with serving(*sources, "--engine", "torch") as server:
        _run_schemathesis(server.events[0]["url"], tmp_path)


def _run_schemathesis(url: str, tmp_path: Path) -> None:
    shutil.copy(PROGRAM.with_name("schemathesis.toml"), tmp_path)
    how = ["--max-examples", "40", "--seed", "1", "--continue-on-failure", "--no-color"]
    command = [SCHEMATHESIS, "run", f"{url}/openapi.json", *how]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=5 * PATIENCE_S)
    assert done.returncode == 0, done.stdout[-4000:]


def dtype_of(cells: list[Any]) -> type:
    return object if isinstance(cells[0], str) else float


def curl(*arguments: str | Path) -> bytes:
    command = ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "60", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE_S).stdout


@needs_curl
def test_curl_is_answered_in_all_four_ways(server: Server, rows: pl.DataFrame, tmp_path: Path) -> None:
    url = server.events[0]["url"]
    (tmp_path / "rows.json").write_text(json.dumps({"rows": rows.to_dicts()}), encoding="utf-8")
    answers = json.loads(curl("--compressed", "--json", f"@{tmp_path / 'rows.json'}", f"{url}/predict/wine"))["answers"]
    arrays = {
        name: np.array([cell.encode() for cell in cells], dtype=object)
        if isinstance(cells[0], str)
        else np.array(cells)
        for name, cells in columns_of(server, rows).items()
    }
    for asks_in_binary in (False, True):
        for answers_in_binary in (False, True):
            wants = [{"name": "probability", "parameters": {"binary_data": answers_in_binary}}]
            body, length = request_of(arrays, binary=asks_in_binary, wants=wants)
            (tmp_path / "body").write_bytes(body)
            headers = ["--header", "Content-Type: application/octet-stream"]
            if length is not None:
                headers += ["--header", f"Inference-Header-Content-Length: {length}"]
            sent = ["--data-binary", f"@{tmp_path / 'body'}", "--dump-header", tmp_path / "head"]
            found = curl(*headers, *sent, f"{url}/v2/models/wine/infer")
            head = (tmp_path / "head").read_text().lower()
            assert ("inference-header-content-length" in head) == answers_in_binary
            if answers_in_binary:
                shares = list(struct.unpack(f"<{len(rows)}f", found[-4 * len(rows) :]))
            else:
                shares = json.loads(found)["outputs"][0]["data"]
            assert shares == pytest.approx([answer["probability"] for answer in answers], abs=TOLERANCE)
