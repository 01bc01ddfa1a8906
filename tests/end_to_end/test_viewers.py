"""Viewers of others open what danlu writes: netron every ONNX file, Model Explorer the graph's JSON.

Their commands are looked for on the PATH, or where DANLU_NETRON and DANLU_MODEL_EXPLORER point: both have pins of their
own, so they are best installed apart (`pip install netron`, `pip install ai-edge-model-explorer`). Screenshots are kept
in the folder that DANLU_SCREENSHOTS names.
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import danlu
from tests.support.browser import Browser, chromium

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium, or put one on the PATH"),
]
PATIENCE_S = 60
NETRON = os.environ.get("DANLU_NETRON") or shutil.which("netron")
EXPLORER = os.environ.get("DANLU_MODEL_EXPLORER") or shutil.which("model-explorer")
# netron counts its nodes by operators; constants stand within the nodes that read them.
DRAWN = "document.querySelectorAll('#target .graph-node').length"
TOLD = "document.body.innerText"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@contextmanager
def served(command: list[str]) -> Iterator[str]:
    """Start a viewer on a free port; the address where it answers."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: answers(port))
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def wait_for(met: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < end, "the viewer does not answer"
        time.sleep(0.2)


def keep(browser: Browser, name: str) -> None:
    if folder := os.environ.get("DANLU_SCREENSHOTS"):
        browser.picture(Path(folder) / f"{name}.png", whole=False)


def netron_draws(browser: Browser, file: Path, name: str) -> None:
    onnx = pytest.importorskip("onnx")
    with served([str(NETRON), str(file), "--verbosity", "quiet"]) as address:
        browser.ask("Network.setCookie", name="consent", value="1", url=address)
        browser.open(address)
        wait_for(lambda: "default" in browser.run("document.body.className"))
        wait_for(lambda: browser.run(DRAWN) > 0)
        keep(browser, f"netron-{name}")
        operators = [node for node in onnx.load(file).graph.node if node.op_type != "Constant"]
        assert browser.run(DRAWN) >= len(operators), name
        assert not browser.run("document.getElementById('message-text')?.textContent ?? ''")


@pytest.mark.skipif(NETRON is None, reason="no netron here: pip install netron, apart, and set DANLU_NETRON")
@pytest.mark.parametrize("model", ["linear", "mlp", "resnet", "ft-transformer", "tabm", "additive", "tree", "boosting"])
def test_netron_opens_every_family_of_tables(
    model: str, table_recipe: dict[str, Any], browser: Browser, tmp_path: Path
) -> None:
    training = {} if model in ("tree", "boosting") else {"epochs": 1}
    run = danlu.run({"data": table_recipe["data"], "model": model, "training": training}, output=tmp_path)
    danlu.export(run.path, tmp_path / "onnx", to="onnx")
    netron_draws(browser, tmp_path / "onnx" / "model.onnx", model)
    if model == "mlp":
        danlu.export(run.path, tmp_path / "into", to="onnx", into=True)
        netron_draws(browser, tmp_path / "into" / "model.onnx", "into")


@pytest.mark.skipif(NETRON is None, reason="no netron here: pip install netron, apart, and set DANLU_NETRON")
@pytest.mark.parametrize("kind", ["image_run", "text_run", "corpus_run"])
def test_netron_opens_networks_of_images_and_texts(
    kind: str, request: pytest.FixtureRequest, browser: Browser, tmp_path: Path
) -> None:
    danlu.export(request.getfixturevalue(kind), tmp_path / "onnx", to="onnx")
    netron_draws(browser, tmp_path / "onnx" / "model.onnx", kind)


@pytest.mark.skipif(
    EXPLORER is None,
    reason="no Model Explorer here: pip install ai-edge-model-explorer, apart, and set DANLU_MODEL_EXPLORER",
)
@pytest.mark.parametrize("kind", ["table_run", "image_run", "corpus_run"])
def test_model_explorer_reads_the_graph(
    kind: str, request: pytest.FixtureRequest, browser: Browser, tmp_path: Path
) -> None:
    found = danlu.visualize(request.getfixturevalue(kind), only="graph", output=tmp_path / "look")
    file = (tmp_path / "look" / "graph.model-explorer.json").resolve()
    named = json.loads(file.read_text(encoding="utf-8"))["label"]
    asked = urllib.parse.quote(json.dumps({"models": [{"url": str(file)}]}))
    with served([str(EXPLORER), str(file), "--no_open_in_browser"]) as address:
        browser.open(f"{address}?data={asked}")
        wait_for(lambda: "op node count" in str(browser.run(TOLD)))
        keep(browser, f"explorer-{kind}")
        count = f"{len(found.json['graph']['nodes'])} nodes"
        assert named in browser.run(TOLD) and count in browser.run(TOLD).replace(",", "")
