"""The edge folder answers the golden rows without danlu: its runner in Python, its page in an offline browser."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxruntime", reason="the extra [export] is not installed")

import danlu
from danlu.deployment.edge import rows_for_runner, write_edge
from danlu.deployment.edge_files import __path__ as edge_files
from danlu.deployment.subject import Subject
from danlu.errors import ArgumentError
from danlu.models.golden import ANSWER, PREDICTION, golden_inputs
from danlu.models.predictor import Predictor
from tests.support.browser import Browser, chromium
from tests.support.processes import REPOSITORY

WEB = REPOSITORY / ".venv-clients" / "onnxruntime-web.tgz"
ALONE = (
    "import runpy, sys\n"
    "sys.modules.update(dict.fromkeys(('danlu', 'torch', 'polars', 'onnx', 'pydantic', 'safetensors', 'sklearn')))\n"
    "sys.argv = sys.argv[1:]\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')\n"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = {
        "name": "tumour",
        "data": {"source": "builtin:breast-cancer"},
        "model": {"name": "mlp", "hidden": [16]},
        "training": {"epochs": 2},
        "evaluation": {"baselines": False},
    }
    return danlu.run(recipe, output=tmp_path_factory.mktemp("runs")).path


def golden(bundle: Path, folder: Path) -> tuple[list[dict[str, Any]], list[Any], list[list[float]]]:
    """Golden rows as the runner takes them, and what was recorded of them."""
    predictor = Predictor.load(danlu.load(bundle).bundle)
    kept = predictor.bundle.golden()
    assert kept is not None
    runner = json.loads((folder / "danlu.json").read_text(encoding="utf-8"))["runner"]
    rows = rows_for_runner(predictor, golden_inputs(kept, predictor.preprocessor.columns), runner)
    assert rows
    return rows, kept[PREDICTION].to_list(), kept[ANSWER].to_list()


def answered_alone(folder: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    (folder.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = [sys.executable, "-c", ALONE, folder / "run.py", folder.parent / "rows.jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_as_recorded(found: list[dict[str, Any]], decided: list[Any], answers: list[list[float]]) -> None:
    assert [row["prediction"] for row in found] == decided
    for row, expected in zip(found, answers, strict=True):
        assert [value for name, value in row.items() if name != "prediction"] == pytest.approx(expected, abs=1e-4)


def test_the_runner_has_thirty_lines() -> None:
    (folder,) = edge_files
    lines = (Path(folder) / "run.py").read_text(encoding="utf-8").splitlines()
    assert len(list(filter(None, lines))) <= 30


def test_the_runner_answers_where_danlu_is_not_installed(run: Path, tmp_path: Path) -> None:
    danlu.deploy(run, edge=True, output=tmp_path / "out")
    folder = tmp_path / "out" / "edge"
    rows, decided, answers = golden(run, folder)
    assert_as_recorded(answered_alone(folder, rows), decided, answers)
    assert not (folder / "index.html").exists()


def test_an_image_is_answered_as_numbers(image_run: Path, tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    write_edge(Subject.open(image_run, "auto", None), tmp_path / "edge", None)
    rows, decided, answers = golden(image_run, tmp_path / "edge")
    assert_as_recorded(answered_alone(tmp_path / "edge", rows), decided, answers)


def test_texts_are_refused_and_nothing_is_left(text_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="tokenizer"):
        danlu.deploy(text_run, edge=True, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(chromium() is None, reason="no Chromium here")
@pytest.mark.skipif(not WEB.exists(), reason="make clients fetches onnxruntime-web")
def test_the_page_answers_in_a_browser_that_is_offline(run: Path, tmp_path: Path) -> None:
    danlu.deploy(run, edge=True, onnxruntime_web=WEB, output=tmp_path / "out")
    folder = tmp_path / "out" / "edge"
    rows, decided, answers = golden(run, folder)
    with Browser(tmp_path / "browser") as browser:
        browser.ask(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        )
        browser.open(folder / "index.html")
        browser.wait("document.body.dataset.ready")
        assert_as_recorded(browser.run(f"answer({json.dumps(rows)})"), decided, answers)
        for name, value in rows[0].items():
            field = f"document.getElementById({json.dumps(f'field {name}')})"
            browser.run(f"{field}.value = {json.dumps(str(value))}")
        browser.run("document.getElementById('form').requestSubmit()")
        shown = browser.wait("document.getElementById('answer').textContent")
        assert shown.startswith(f"prediction{decided[0]}")
        assert browser.complaints() == []
        assert all(url.startswith(("file:", "blob:")) for url in browser.requests())
