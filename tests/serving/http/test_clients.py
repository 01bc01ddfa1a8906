"""Clients of others, unchanged, as programs in an environment of their own: what they get is what the model answers."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import PATIENCE_S, Server

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-clients with tritonclient and kserve: make clients"),
]


def test_tritonclient_and_kserve_work_unchanged(server: Server, tumours: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = tumours[:7]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    wanted = server.post("/predict/tumour", {"rows": rows}).json["answers"]
    program = ROOT / "tests" / "support" / "clients" / "open_inference.py"
    done = subprocess.run(
        [PYTHON, program, server.events[0]["url"], "tumour", tmp_path / "rows.json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 6
    for client, told in found.items():
        assert told["prediction"] == [answer["prediction"] for answer in wanted], client
        assert told["probability"] == pytest.approx([answer["probability"] for answer in wanted], abs=1e-5), client
